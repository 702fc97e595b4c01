-- What happened to a command, oldest first. :commandId.
SELECT * FROM events WHERE command_id = :commandId ORDER BY seq
