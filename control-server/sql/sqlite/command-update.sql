-- Writes what the lifecycle decided about a command; what was submitted never changes, but that the secrets are forgotten
-- with the end. 1 row, 0 where it is final: final is final. An upsert would be shorter and takes several times as long.
UPDATE commands SET status = :status, phase = :phase, ready = :ready, available_at_ms = :availableAtMs,
  due_at_ms = :dueAtMs, attempt = :attempt, granted_attempt = :grantedAttempt, agent_id = :agentId,
  granted_count = :grantedCount, crash_count = :crashCount, cancel = :cancel, result = :result,
  result_truncated = :resultTruncated, error = :error, started_at_ms = :startedAtMs, finished_at_ms = :finishedAtMs,
  secrets = CASE WHEN :finishedAtMs IS NULL THEN secrets END
WHERE command_id = :commandId AND finished_at_ms IS NULL
