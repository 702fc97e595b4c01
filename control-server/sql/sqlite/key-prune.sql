-- Forgets keys made before :beforeMs, at most :limit. Number of rows.
DELETE FROM idempotency_keys WHERE key IN (
  SELECT key FROM idempotency_keys WHERE created_at_ms < :beforeMs ORDER BY created_at_ms LIMIT :limit
)
