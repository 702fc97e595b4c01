-- Attempts and how they fared; what agents were told of them; prices that go before the bundled list; ways out.

CREATE TABLE identity (gateway_id TEXT NOT NULL) STRICT;

-- Every attempt that was ever let in. Its folder is there while it is open.
CREATE TABLE sessions (
  attempt_id TEXT PRIMARY KEY,
  agent_id TEXT NOT NULL,
  command_id TEXT NOT NULL,
  profile TEXT,
  opened_at_ms INTEGER NOT NULL,
  closed_at_ms INTEGER,
  -- Of its newest call, where that failed: status is null where no provider answered.
  error_status INTEGER,
  error_message TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_agent ON sessions (agent_id);

-- Calls that a limit left no room for. unit is empty where nobody knew the price, scope where no limit of its own was named.
CREATE TABLE refusals (
  attempt_id TEXT NOT NULL,
  unit TEXT NOT NULL,
  scope TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (attempt_id, unit, scope)
) STRICT, WITHOUT ROWID;

-- Whether the agent of the attempt has passed it on.
ALTER TABLE calls ADD COLUMN reported INTEGER NOT NULL DEFAULT 0;
CREATE INDEX calls_unreported ON calls (call_id) WHERE reported = 0;

CREATE TABLE prices (
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  effective_from_ms INTEGER NOT NULL,
  price TEXT NOT NULL,
  PRIMARY KEY (provider, model, effective_from_ms)
) STRICT, WITHOUT ROWID;

-- Connections to hosts that are no providers: those that were made, and those that were refused.
CREATE TABLE tunnels (
  tunnel_id INTEGER PRIMARY KEY,
  attempt_id TEXT NOT NULL,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  address TEXT,
  started_at_ms INTEGER NOT NULL,
  -- null where the gateway died meanwhile.
  ended_at_ms INTEGER,
  bytes_up INTEGER NOT NULL DEFAULT 0,
  bytes_down INTEGER NOT NULL DEFAULT 0,
  -- Why it was not made, or ended before its time.
  refused TEXT
) STRICT;

CREATE INDEX tunnels_by_attempt ON tunnels (attempt_id);
