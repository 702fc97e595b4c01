-- One command. :commandId. 0 or 1 row.
SELECT * FROM commands WHERE command_id = :commandId
