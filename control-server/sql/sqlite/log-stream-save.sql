-- Makes a stream, or brings it up to date; one that has ended stays as it is. Number of rows.
INSERT INTO log_streams (command_id, attempt, stream, bytes, sha256, complete, changed_at_ms)
VALUES (:commandId, :attempt, :stream, :bytes, :sha256, :complete, :nowMs)
ON CONFLICT DO UPDATE SET bytes = :bytes, sha256 = :sha256, complete = :complete, changed_at_ms = :nowMs
WHERE sha256 IS NULL
