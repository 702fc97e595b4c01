-- The newest attempt of a command and the newest that was granted, and with :agentId all that were granted to that
-- agent. :commandId, :attempt, :grantedAttempt, :agentId (or NULL).
SELECT * FROM attempts WHERE command_id = :commandId
  AND (number IN (:attempt, :grantedAttempt) OR (agent_id = :agentId AND granted_at_ms IS NOT NULL)) ORDER BY number
