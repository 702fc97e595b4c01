-- A piece has grown. 1 row.
UPDATE log_chunks SET content = :content
WHERE command_id = :commandId AND attempt = :attempt AND stream = :stream AND first_byte = :firstByte
