-- Running commands whose agent has been silent for longer than the lease of the attempt, as `leaseExpiresAtMs` in
-- src/lifecycle/lease-policy.ts counts it. :nowMs, :limit.
SELECT commands.* FROM agents
JOIN commands ON commands.agent_id = agents.agent_id AND (commands.phase = 'OFFERED' OR commands.status = 'RUNNING')
JOIN attempts ON attempts.command_id = commands.command_id AND attempts.number = commands.attempt
WHERE commands.phase = 'RUNNING' AND :nowMs >= CASE agents.kind
  WHEN 'sync' THEN max(attempts.granted_at_ms, agents.renewed_at_ms)
    + max(attempts.lease_ms, (agents.lease_ms * 101 + 99) / 100 + 2000)
  ELSE max(attempts.granted_at_ms, min(agents.renewed_at_ms, attempts.granted_at_ms + attempts.lease_ms))
    + attempts.lease_ms
END
LIMIT :limit
