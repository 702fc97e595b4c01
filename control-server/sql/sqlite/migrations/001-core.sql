-- Commands, their attempts, agents, and the log of every transition. The CHECKs repeat the invariants of
-- src/lifecycle/transition.ts, so that a fault there is a refused write and never a bad row.

CREATE TABLE server_state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  epoch TEXT NOT NULL,
  recovering INTEGER NOT NULL CHECK (recovering IN (0, 1))
) STRICT;

CREATE TABLE commands (
  command_id TEXT PRIMARY KEY CHECK (length(command_id) BETWEEN 1 AND 100),
  type TEXT NOT NULL,
  priority INTEGER NOT NULL,
  lane TEXT NOT NULL,
  labels TEXT NOT NULL,
  metadata TEXT NOT NULL,
  spec TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
  phase TEXT NOT NULL CHECK (phase IN ('WAITING', 'OFFERED', 'RUNNING', 'LOST', 'COMPLETED', 'FAILED', 'CANCELLED')),
  -- WAITING and its time has come: an agent may take it.
  ready INTEGER NOT NULL CHECK (ready IN (0, 1)),
  available_at_ms INTEGER,
  -- When the sweeper has to look at it next.
  due_at_ms INTEGER,
  -- Number and agent of the newest attempt, number of the newest granted one; 0 and null before the first.
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  granted_attempt INTEGER NOT NULL CHECK (granted_attempt BETWEEN 0 AND attempt),
  agent_id TEXT,
  granted_count INTEGER NOT NULL CHECK (granted_count BETWEEN 0 AND attempt),
  crash_count INTEGER NOT NULL CHECK (crash_count BETWEEN 0 AND granted_count),
  cancel TEXT,
  result TEXT,
  result_truncated INTEGER NOT NULL CHECK (result_truncated IN (0, 1)),
  error TEXT,
  created_at_ms INTEGER NOT NULL,
  started_at_ms INTEGER,
  finished_at_ms INTEGER,
  CHECK ((status = 'PENDING') = (phase IN ('WAITING', 'OFFERED'))),
  CHECK ((status = 'RUNNING') = (phase IN ('RUNNING', 'LOST'))),
  CHECK (status IN ('PENDING', 'RUNNING') OR phase = status),
  CHECK (ready = 0 OR phase = 'WAITING'),
  CHECK ((status IN ('COMPLETED', 'FAILED', 'CANCELLED')) = (finished_at_ms IS NOT NULL)),
  CHECK ((status IN ('FAILED', 'CANCELLED')) = (error IS NOT NULL)),
  CHECK (finished_at_ms IS NULL OR due_at_ms IS NULL),
  CHECK ((granted_count > 0) = (started_at_ms IS NOT NULL)),
  CHECK (status NOT IN ('RUNNING', 'COMPLETED') OR granted_count > 0)
) STRICT;

CREATE INDEX commands_ready ON commands (lane, priority DESC, command_id) WHERE ready = 1;
CREATE INDEX commands_due ON commands (due_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX commands_live ON commands (agent_id) WHERE phase IN ('OFFERED', 'RUNNING', 'LOST');

CREATE TRIGGER commands_final BEFORE UPDATE ON commands
WHEN OLD.finished_at_ms IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'final is final');
END;

CREATE TABLE attempts (
  command_id TEXT NOT NULL REFERENCES commands (command_id) ON DELETE CASCADE,
  number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 2147483647),
  state TEXT NOT NULL CHECK (state IN ('OFFERED', 'RUNNING', 'LOST', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'CANCELLED',
    'INTERRUPTED', 'EXPIRED', 'WITHDRAWN')),
  agent_id TEXT NOT NULL,
  incarnation INTEGER,
  lease_ms INTEGER NOT NULL,
  offered_at_ms INTEGER NOT NULL,
  granted_at_ms INTEGER,
  lost_at_ms INTEGER,
  finished_at_ms INTEGER,
  outcome_sha256 TEXT,
  error TEXT,
  PRIMARY KEY (command_id, number),
  CHECK ((state IN ('OFFERED', 'WITHDRAWN')) = (granted_at_ms IS NULL)),
  CHECK ((granted_at_ms IS NULL) = (incarnation IS NULL)),
  CHECK (state <> 'LOST' OR lost_at_ms IS NOT NULL),
  CHECK ((state IN ('OFFERED', 'RUNNING', 'LOST')) = (finished_at_ms IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
  agent_id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('sync', 'simple')),
  journal_id TEXT,
  nonce TEXT,
  incarnation INTEGER NOT NULL CHECK (incarnation >= 1),
  trusted_since INTEGER NOT NULL,
  log_seq INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  epoch TEXT NOT NULL,
  inventoried INTEGER NOT NULL CHECK (inventoried IN (0, 1)),
  renewed_at_ms INTEGER NOT NULL,
  last_seen_at_ms INTEGER NOT NULL,
  lease_ms INTEGER NOT NULL,
  mode TEXT NOT NULL CHECK (mode IN ('ready', 'draining', 'paused')),
  version TEXT,
  types TEXT NOT NULL,
  labels TEXT NOT NULL,
  slots TEXT NOT NULL,
  clock_skew_ms INTEGER,
  CHECK ((kind = 'sync') = (journal_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
  key TEXT PRIMARY KEY,
  body_sha256 TEXT NOT NULL,
  command_id TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at_ms);

-- AUTOINCREMENT: the sequence is also the server's revision, which must never go back, whatever is pruned.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  type TEXT NOT NULL,
  command_id TEXT,
  from_phase TEXT,
  to_phase TEXT,
  attempt INTEGER,
  agent_id TEXT,
  detail TEXT
) STRICT;
CREATE INDEX events_command ON events (command_id, seq) WHERE command_id IS NOT NULL;

-- Reports that changed nothing: of an attempt that is not current, or of a command that is not known.
CREATE TABLE evidence (
  attempt_id TEXT NOT NULL,
  outcome_sha256 TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  verdict TEXT NOT NULL,
  outcome TEXT NOT NULL,
  received_at_ms INTEGER NOT NULL,
  PRIMARY KEY (attempt_id, outcome_sha256)
) STRICT, WITHOUT ROWID;
