-- The commands that are not final, by status and age: lists of them do not pass over those that are. Final rows are not
-- in it.
CREATE INDEX commands_open ON commands (status, command_id) WHERE finished_at_ms IS NULL;
