-- Writes an agent. 1 row.
INSERT INTO agents (agent_id, kind, journal_id, nonce, incarnation, trusted_since, log_seq, seq, epoch, inventoried,
  renewed_at_ms, last_seen_at_ms, lease_ms, mode, version, types, labels, slots, clock_skew_ms)
VALUES (:agentId, :kind, :journalId, :nonce, :incarnation, :trustedSince, :logSeq, :seq, :epoch, :inventoried,
  :renewedAtMs, :lastSeenAtMs, :leaseMs, :mode, :version, :types, :labels, :slots, :clockSkewMs)
ON CONFLICT (agent_id) DO UPDATE SET
  kind = excluded.kind, journal_id = excluded.journal_id, nonce = excluded.nonce, incarnation = excluded.incarnation,
  trusted_since = excluded.trusted_since, log_seq = excluded.log_seq, seq = excluded.seq, epoch = excluded.epoch,
  inventoried = excluded.inventoried, renewed_at_ms = excluded.renewed_at_ms,
  last_seen_at_ms = excluded.last_seen_at_ms, lease_ms = excluded.lease_ms, mode = excluded.mode,
  version = excluded.version, types = excluded.types, labels = excluded.labels, slots = excluded.slots,
  clock_skew_ms = excluded.clock_skew_ms
