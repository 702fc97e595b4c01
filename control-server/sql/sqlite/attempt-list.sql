-- The newest attempts of a command, oldest first, at most 1,000. :commandId.
SELECT * FROM (SELECT * FROM attempts WHERE command_id = :commandId ORDER BY number DESC LIMIT 1000) ORDER BY number
