-- Every agent with the number of its live attempts.
SELECT agents.*,
  count(*) FILTER (WHERE commands.phase = 'RUNNING') AS running,
  count(*) FILTER (WHERE commands.phase = 'OFFERED') AS offered,
  count(*) FILTER (WHERE commands.phase = 'LOST') AS lost
FROM agents
LEFT JOIN commands ON commands.agent_id = agents.agent_id AND (commands.phase = 'OFFERED' OR commands.status = 'RUNNING')
GROUP BY agents.agent_id ORDER BY agents.agent_id
