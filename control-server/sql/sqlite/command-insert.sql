-- Writes a new command. 1 row.
INSERT INTO commands (command_id, type, priority, lane, labels, metadata, spec, status, phase, ready, available_at_ms,
  due_at_ms, attempt, granted_attempt, agent_id, granted_count, crash_count, cancel, result, result_truncated, error,
  created_at_ms, started_at_ms, finished_at_ms)
VALUES (:commandId, :type, :priority, :lane, :labels, :metadata, :spec, :status, :phase, :ready, :availableAtMs,
  :dueAtMs, :attempt, :grantedAttempt, :agentId, :grantedCount, :crashCount, :cancel, :result, :resultTruncated, :error,
  :createdAtMs, :startedAtMs, :finishedAtMs)
