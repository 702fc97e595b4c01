-- Every lease runs anew from :nowMs: while the server was away nobody could renew.
UPDATE agents SET renewed_at_ms = :nowMs
