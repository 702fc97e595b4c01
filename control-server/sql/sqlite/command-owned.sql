-- Commands whose newest attempt is offered to, running on or lost by :agentId.
SELECT * FROM commands WHERE agent_id = :agentId AND phase IN ('OFFERED', 'RUNNING', 'LOST') ORDER BY command_id
