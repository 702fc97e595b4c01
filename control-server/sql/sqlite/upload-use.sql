-- A command brings a content with it. 0 rows where it does already.
INSERT INTO command_uploads (command_id, sha256) VALUES (:commandId, :sha256) ON CONFLICT DO NOTHING
