-- Calls of language models, as the agents bring them from the ledgers of their gateways. None of the three refers to a
-- command: what was spent stays true when a command is deleted.

CREATE TABLE llm_calls (
  command_id TEXT NOT NULL,
  attempt INTEGER NOT NULL CHECK (attempt >= 1),
  -- With the attempt, so that no agent can be before another with a call of its.
  gateway_id TEXT NOT NULL,
  call_id INTEGER NOT NULL CHECK (call_id >= 1),
  wire TEXT NOT NULL,
  model TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL,
  ended_at_ms INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state = 'settled' OR state = 'estimated' OR state = 'unknown'),
  status INTEGER,
  -- JSON; NULL where nobody knows.
  usage TEXT,
  cost_micro_usd INTEGER CHECK (cost_micro_usd >= 0),
  rates TEXT,
  received_at_ms INTEGER NOT NULL,
  PRIMARY KEY (command_id, attempt, gateway_id, call_id)
) STRICT, WITHOUT ROWID;

-- Their sums, written with each: a question about a month looks at these.
CREATE TABLE usage_attempts (
  command_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  -- In UTC, of the beginning of the calls.
  day TEXT NOT NULL CHECK (length(day) = 10),
  calls INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  cache_write_1h_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  web_searches INTEGER NOT NULL,
  is_estimated INTEGER NOT NULL CHECK (is_estimated BETWEEN 0 AND 1),
  cost_micro_usd INTEGER NOT NULL,
  unpriced_calls INTEGER NOT NULL,
  PRIMARY KEY (command_id, attempt, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_attempts_day ON usage_attempts (day);

CREATE TABLE usage_days (
  day TEXT NOT NULL CHECK (length(day) = 10),
  agent_id TEXT NOT NULL,
  -- '' where a run has none, or of a command that says nothing.
  profile TEXT NOT NULL,
  engine TEXT NOT NULL,
  model TEXT NOT NULL,
  calls INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  cache_write_1h_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  web_searches INTEGER NOT NULL,
  is_estimated INTEGER NOT NULL CHECK (is_estimated BETWEEN 0 AND 1),
  cost_micro_usd INTEGER NOT NULL,
  unpriced_calls INTEGER NOT NULL,
  PRIMARY KEY (day, agent_id, profile, engine, model)
) STRICT, WITHOUT ROWID;
