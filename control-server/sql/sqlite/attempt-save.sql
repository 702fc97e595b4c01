-- Writes an attempt. 1 row.
INSERT INTO attempts (command_id, number, state, agent_id, incarnation, lease_ms, offered_at_ms, granted_at_ms,
  lost_at_ms, finished_at_ms, outcome_sha256, error)
VALUES (:commandId, :number, :state, :agentId, :incarnation, :leaseMs, :offeredAtMs, :grantedAtMs, :lostAtMs,
  :finishedAtMs, :outcomeSha256, :error)
ON CONFLICT (command_id, number) DO UPDATE SET
  state = excluded.state, incarnation = excluded.incarnation, lease_ms = excluded.lease_ms,
  granted_at_ms = excluded.granted_at_ms, lost_at_ms = excluded.lost_at_ms, finished_at_ms = excluded.finished_at_ms,
  outcome_sha256 = excluded.outcome_sha256, error = excluded.error
