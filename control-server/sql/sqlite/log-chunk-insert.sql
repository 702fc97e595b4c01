-- Adds a piece; fails where one begins there. 1 row.
INSERT INTO log_chunks (command_id, attempt, stream, first_byte, content)
VALUES (:commandId, :attempt, :stream, :firstByte, :content)
