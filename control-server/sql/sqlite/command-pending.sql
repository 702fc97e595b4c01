-- How many commands are PENDING. 1 row.
SELECT count(*) AS depth FROM commands WHERE finished_at_ms IS NULL AND status = 'PENDING'
