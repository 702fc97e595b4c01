-- Commands the sweeper has to look at, the most overdue first. :nowMs, :limit.
SELECT * FROM commands WHERE due_at_ms IS NOT NULL AND due_at_ms <= :nowMs ORDER BY due_at_ms LIMIT :limit
