-- Calls of a command after :attempt, :gatewayId, :callId, in this order; at most :limit.
SELECT * FROM llm_calls
WHERE command_id = :commandId AND (attempt, gateway_id, call_id) > (:attempt, :gatewayId, :callId)
ORDER BY attempt, gateway_id, call_id LIMIT :limit
