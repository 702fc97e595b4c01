-- Every price, by provider, model and time.
SELECT * FROM prices ORDER BY provider, model, effective_from_ms
