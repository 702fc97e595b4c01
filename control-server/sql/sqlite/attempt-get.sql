-- One attempt. :commandId, :number.
SELECT * FROM attempts WHERE command_id = :commandId AND number = :number
