-- Writes a new agent. 1 row.
INSERT INTO agents (agent_id, kind, journal_id, nonce, incarnation, trusted_since, log_seq, seq, epoch, inventoried,
  renewed_at_ms, last_seen_at_ms, lease_ms, mode, version, types, labels, slots, clock_skew_ms, engines)
VALUES (:agentId, :kind, :journalId, :nonce, :incarnation, :trustedSince, :logSeq, :seq, :epoch, :inventoried,
  :renewedAtMs, :lastSeenAtMs, :leaseMs, :mode, :version, :types, :labels, :slots, :clockSkewMs, :engines)
