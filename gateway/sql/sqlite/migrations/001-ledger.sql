-- What calls of language models have used, and how much of each limit is left. Money is in micro-dollars.

-- Of each limit what is spent, and what calls that are under way may come to.
CREATE TABLE budgets (
  scope TEXT NOT NULL,
  id TEXT NOT NULL,
  unit TEXT NOT NULL,
  spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0),
  reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
  PRIMARY KEY (scope, id, unit)
) STRICT, WITHOUT ROWID;

-- Written before a call goes out: a call that nobody has settled when the gateway begins anew has cost what was reserved.
CREATE TABLE calls (
  call_id INTEGER PRIMARY KEY,
  attempt_id TEXT NOT NULL,
  wire TEXT NOT NULL,
  model TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL,
  ended_at_ms INTEGER,
  -- estimated: the answer broke off before its usage was told; unknown: the gateway died meanwhile.
  state TEXT NOT NULL CHECK (CASE state WHEN 'started' THEN 1 WHEN 'settled' THEN 1 WHEN 'estimated' THEN 1 WHEN 'unknown' THEN 1 ELSE 0 END),
  status INTEGER,
  reserved TEXT NOT NULL,
  usage TEXT,
  cost_micro_usd INTEGER,
  -- Those that the cost was calculated with; null where the price is not known.
  rates TEXT,
  CHECK ((state = 'started') = (ended_at_ms IS NULL))
) STRICT;

CREATE INDEX calls_by_attempt ON calls (attempt_id);
CREATE INDEX calls_started ON calls (call_id) WHERE state = 'started';

-- Which limits a call counts for.
CREATE TABLE call_budgets (
  call_id INTEGER NOT NULL REFERENCES calls (call_id) ON DELETE CASCADE,
  scope TEXT NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (call_id, scope, id)
) STRICT, WITHOUT ROWID;
