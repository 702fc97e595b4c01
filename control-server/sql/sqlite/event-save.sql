-- Appends to the event log. 1 row.
INSERT INTO events (at_ms, type, command_id, from_phase, to_phase, attempt, agent_id, detail)
VALUES (:atMs, :type, :commandId, :from, :to, :attempt, :agentId, :detail)
