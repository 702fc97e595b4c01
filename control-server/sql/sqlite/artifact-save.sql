-- An attempt has left a file; one that is known can only be lost. 1 row.
INSERT INTO artifacts (command_id, attempt, name, bytes, sha256, lost)
VALUES (:commandId, :attempt, :name, :bytes, :sha256, :lost)
ON CONFLICT DO UPDATE SET lost = max(lost, :lost)
