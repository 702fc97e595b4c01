-- The container that was made for an attempt, by Docker's id. It is here before the container is started.

ALTER TABLE entries ADD COLUMN container_id TEXT;

DROP TRIGGER entries_forward;

-- What was started is never started again, an outcome never changes, and neither does a container.
CREATE TRIGGER entries_forward BEFORE UPDATE ON entries
WHEN (OLD.started_at_ms IS NOT NULL AND NEW.phase = 'ACCEPTED')
  OR (OLD.outcome IS NOT NULL AND NEW.outcome_sha256 IS NOT OLD.outcome_sha256)
  OR (OLD.container_id IS NOT NULL AND NEW.container_id IS NOT OLD.container_id)
BEGIN
  SELECT RAISE(ABORT, 'the journal only goes forward');
END;
