-- Running commands whose agent has been silent for longer than the lease of the attempt. :nowMs, :limit.
SELECT commands.* FROM agents
JOIN commands ON commands.agent_id = agents.agent_id AND commands.phase IN ('OFFERED', 'RUNNING', 'LOST')
JOIN attempts ON attempts.command_id = commands.command_id AND attempts.number = commands.attempt
WHERE commands.phase = 'RUNNING' AND max(agents.renewed_at_ms, attempts.granted_at_ms) + attempts.lease_ms <= :nowMs
LIMIT :limit
