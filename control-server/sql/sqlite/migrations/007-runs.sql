-- What of a command nobody may read but the agent that runs it; gone when the command is final.
ALTER TABLE commands ADD COLUMN secrets TEXT CHECK (secrets IS NULL OR finished_at_ms IS NULL);

-- What an agent can run of RUN_AGENT, and why not, as it told last.
ALTER TABLE agents ADD COLUMN engines TEXT NOT NULL DEFAULT '{}';
