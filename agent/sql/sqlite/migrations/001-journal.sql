-- The agent's write-ahead idempotency log. What is in here happened, or may have happened; what is not did not.

CREATE TABLE identity (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  agent_id TEXT NOT NULL,
  -- Made with this file: a copy or a new file under the same agent id is found out by it.
  journal_id TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  epoch TEXT,
  rev_seen INTEGER NOT NULL,
  -- Grows with every write, so that an older copy of this file is found out.
  log_seq INTEGER NOT NULL
) STRICT;

-- Registrations that were sent and whose answer has not been seen.
CREATE TABLE nonces (
  nonce TEXT PRIMARY KEY,
  number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
  attempt_id TEXT PRIMARY KEY,
  phase TEXT NOT NULL CHECK (phase IN ('ACCEPTED', 'STARTED', 'FINISHED', 'ACKED')),
  type TEXT NOT NULL,
  offer TEXT NOT NULL,
  accepted_at_ms INTEGER NOT NULL,
  started_at_ms INTEGER,
  finished_at_ms INTEGER,
  acked_at_ms INTEGER,
  outcome_state TEXT,
  outcome TEXT,
  outcome_sha256 TEXT,
  verdict TEXT,
  CHECK (phase NOT IN ('STARTED') OR started_at_ms IS NOT NULL),
  CHECK (phase <> 'FINISHED' OR outcome IS NOT NULL),
  CHECK ((outcome IS NULL) = (outcome_state IS NULL) AND (outcome IS NULL) = (outcome_sha256 IS NULL)),
  CHECK ((phase = 'ACKED') = (acked_at_ms IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX entries_open ON entries (attempt_id) WHERE phase <> 'ACKED';
CREATE INDEX entries_acked ON entries (acked_at_ms) WHERE phase = 'ACKED';

-- What was started is never started again, and an outcome never changes.
CREATE TRIGGER entries_forward BEFORE UPDATE ON entries
WHEN (OLD.started_at_ms IS NOT NULL AND NEW.phase = 'ACCEPTED')
  OR (OLD.outcome IS NOT NULL AND NEW.outcome_sha256 IS NOT OLD.outcome_sha256)
BEGIN
  SELECT RAISE(ABORT, 'the journal only goes forward');
END;
