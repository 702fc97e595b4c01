-- How many commands of each type are PENDING and RUNNING.
SELECT type, status, count(*) AS count FROM commands WHERE finished_at_ms IS NULL GROUP BY type, status
