-- Writes where a command is that nobody has cancelled and that has no result and no error yet; it never had them then.
-- 1 row, 0 where it is final: final is final.
UPDATE commands SET status = :status, phase = :phase, ready = :ready, available_at_ms = :availableAtMs,
  due_at_ms = :dueAtMs, attempt = :attempt, granted_attempt = :grantedAttempt, agent_id = :agentId,
  granted_count = :grantedCount, started_at_ms = :startedAtMs
WHERE command_id = :commandId AND finished_at_ms IS NULL
