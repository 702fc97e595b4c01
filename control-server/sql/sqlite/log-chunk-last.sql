-- The piece that begins last at or before :before. :commandId, :attempt, :stream.
SELECT first_byte, content FROM log_chunks
WHERE command_id = :commandId AND attempt = :attempt AND stream = :stream AND first_byte <= :before
ORDER BY first_byte DESC LIMIT 1
