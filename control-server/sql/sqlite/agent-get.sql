-- One agent. :agentId. 0 or 1 row.
SELECT * FROM agents WHERE agent_id = :agentId
