-- Remembers an idempotency key. 1 row.
INSERT INTO idempotency_keys (key, body_sha256, command_id, created_at_ms) VALUES (:key, :bodySha256, :commandId, :createdAtMs)
