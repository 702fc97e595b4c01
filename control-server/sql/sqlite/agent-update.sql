-- Writes an agent. 1 row where it is known.
UPDATE agents SET kind = :kind, journal_id = :journalId, nonce = :nonce, incarnation = :incarnation,
  trusted_since = :trustedSince, log_seq = :logSeq, seq = :seq, epoch = :epoch, inventoried = :inventoried,
  renewed_at_ms = :renewedAtMs, last_seen_at_ms = :lastSeenAtMs, lease_ms = :leaseMs, mode = :mode, version = :version,
  types = :types, labels = :labels, slots = :slots, clock_skew_ms = :clockSkewMs,
  engines = :engines
WHERE agent_id = :agentId
