-- A call, as it came first: a repetition changes nothing. 1 row where it is new.
INSERT INTO llm_calls (command_id, attempt, gateway_id, call_id, wire, model, started_at_ms, ended_at_ms, state, status,
  usage, cost_micro_usd, rates, received_at_ms)
VALUES (:commandId, :attempt, :gatewayId, :callId, :wire, :model, :startedAtMs, :endedAtMs, :state, :status,
  :usage, :costMicroUsd, :rates, :receivedAtMs)
ON CONFLICT DO NOTHING
