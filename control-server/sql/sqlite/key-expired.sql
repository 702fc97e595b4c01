-- Whether there is a key made before :beforeMs: a look that takes no lock. 0 or 1 row.
SELECT key FROM idempotency_keys WHERE created_at_ms < :beforeMs LIMIT 1
