-- The newest attempt of a command and the newest that was granted. :commandId, :attempt, :grantedAttempt. At most 2 rows.
SELECT * FROM attempts WHERE command_id = :commandId AND number IN (:attempt, :grantedAttempt) ORDER BY number
