-- The first ready commands of a lane: highest priority, then oldest. :lane, :limit.
SELECT command_id, type, priority, spec, secrets, status, available_at_ms, attempt, granted_attempt, granted_count, crash_count,
  cancel, result, result_truncated, error, created_at_ms, started_at_ms, finished_at_ms
FROM commands WHERE ready = 1 AND lane = :lane ORDER BY priority DESC, command_id LIMIT :limit
