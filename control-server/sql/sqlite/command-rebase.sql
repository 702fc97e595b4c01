-- Nobody is given up before the lease of its agent, which runs anew from :nowMs, is over once more.
UPDATE commands SET due_at_ms = max(due_at_ms, coalesce(
  (SELECT :nowMs + (lease_ms * 101 + 99) / 100 + 2000 FROM agents WHERE agents.agent_id = commands.agent_id), :nowMs))
WHERE phase = 'LOST' AND due_at_ms IS NOT NULL
