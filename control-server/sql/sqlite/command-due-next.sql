-- When the sweeper has to look again. 1 row, null where nothing waits for a time.
SELECT min(due_at_ms) AS due_at_ms FROM commands WHERE due_at_ms IS NOT NULL
