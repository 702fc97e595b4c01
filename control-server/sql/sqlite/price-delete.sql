-- Forgets a price. 0 or 1 row.
DELETE FROM prices WHERE provider = :provider AND model = :model AND effective_from_ms = :effectiveFromMs
