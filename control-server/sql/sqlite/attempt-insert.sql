-- Writes a new attempt. 1 row.
INSERT INTO attempts (command_id, number, state, agent_id, incarnation, lease_ms, offered_at_ms, granted_at_ms,
  lost_at_ms, finished_at_ms, outcome_sha256, error)
VALUES (:commandId, :number, :state, :agentId, :incarnation, :leaseMs, :offeredAtMs, :grantedAtMs, :lostAtMs,
  :finishedAtMs, :outcomeSha256, :error)
