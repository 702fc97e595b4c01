-- The streams of an attempt. :commandId, :attempt.
SELECT * FROM log_streams WHERE command_id = :commandId AND attempt = :attempt
