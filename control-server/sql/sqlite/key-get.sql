-- The command an idempotency key made. :key. 0 or 1 row.
SELECT * FROM idempotency_keys WHERE key = :key
