-- One command. :commandId. 0 or 1 row.
SELECT command_id, type, priority, spec, secrets, status, available_at_ms, attempt, granted_attempt, granted_count, crash_count,
  cancel, result, result_truncated, error, created_at_ms, started_at_ms, finished_at_ms
FROM commands WHERE command_id = :commandId
