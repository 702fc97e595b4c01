-- Agents whose journal has not been shown in this epoch.
SELECT agent_id FROM agents
WHERE kind = 'sync' AND (inventoried = 0 OR epoch <> (SELECT epoch FROM server_state)) ORDER BY agent_id
