-- Writes a command as the lifecycle decided it; what was submitted never changes. 1 row.
INSERT INTO commands (command_id, type, priority, lane, labels, metadata, spec, status, phase, ready, available_at_ms,
  due_at_ms, attempt, granted_attempt, agent_id, granted_count, crash_count, cancel, result, result_truncated, error,
  created_at_ms, started_at_ms, finished_at_ms)
VALUES (:commandId, :type, :priority, :lane, :labels, :metadata, :spec, :status, :phase, :ready, :availableAtMs,
  :dueAtMs, :attempt, :grantedAttempt, :agentId, :grantedCount, :crashCount, :cancel, :result, :resultTruncated, :error,
  :createdAtMs, :startedAtMs, :finishedAtMs)
ON CONFLICT (command_id) DO UPDATE SET
  status = excluded.status, phase = excluded.phase, ready = excluded.ready,
  available_at_ms = excluded.available_at_ms, due_at_ms = excluded.due_at_ms, attempt = excluded.attempt,
  granted_attempt = excluded.granted_attempt, agent_id = excluded.agent_id, granted_count = excluded.granted_count,
  crash_count = excluded.crash_count, cancel = excluded.cancel, result = excluded.result,
  result_truncated = excluded.result_truncated, error = excluded.error, started_at_ms = excluded.started_at_ms,
  finished_at_ms = excluded.finished_at_ms
