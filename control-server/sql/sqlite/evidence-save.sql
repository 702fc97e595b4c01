-- Keeps a report that changed nothing; the same one again is not a second row.
INSERT INTO evidence (attempt_id, outcome_sha256, agent_id, verdict, outcome, received_at_ms)
VALUES (:attemptId, :outcomeSha256, :agentId, :verdict, :outcome, :receivedAtMs)
ON CONFLICT DO NOTHING
