-- The same entries with the same rules, said without `IN (…)`: for a list of three or more SQLite builds a table of its own
-- each time a row is written.

CREATE TABLE entries_002 (
  attempt_id TEXT PRIMARY KEY,
  phase TEXT NOT NULL,
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
  CHECK (CASE phase
    WHEN 'ACCEPTED' THEN 1
    WHEN 'STARTED' THEN started_at_ms IS NOT NULL
    WHEN 'FINISHED' THEN outcome IS NOT NULL
    WHEN 'ACKED' THEN 1
    ELSE 0 END),
  CHECK ((outcome IS NULL) = (outcome_state IS NULL) AND (outcome IS NULL) = (outcome_sha256 IS NULL)),
  CHECK ((phase = 'ACKED') = (acked_at_ms IS NOT NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO entries_002
SELECT attempt_id, phase, type, offer, accepted_at_ms, started_at_ms, finished_at_ms, acked_at_ms, outcome_state, outcome,
  outcome_sha256, verdict
FROM entries ORDER BY attempt_id;
DROP TABLE entries;
ALTER TABLE entries_002 RENAME TO entries;

CREATE INDEX entries_open ON entries (attempt_id) WHERE phase <> 'ACKED';
CREATE INDEX entries_acked ON entries (acked_at_ms) WHERE phase = 'ACKED';

-- What was started is never started again, and an outcome never changes.
CREATE TRIGGER entries_forward BEFORE UPDATE ON entries
WHEN (OLD.started_at_ms IS NOT NULL AND NEW.phase = 'ACCEPTED')
  OR (OLD.outcome IS NOT NULL AND NEW.outcome_sha256 IS NOT OLD.outcome_sha256)
BEGIN
  SELECT RAISE(ABORT, 'the journal only goes forward');
END;
