-- Reports on attempts of a command that changed nothing. :prefix = its id and a dot.
SELECT * FROM evidence WHERE attempt_id >= :prefix AND attempt_id < :prefix || '~' ORDER BY attempt_id, received_at_ms
