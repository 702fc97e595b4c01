-- What attempts write: a row for each stream of an attempt, and its bytes in pieces that follow one another without gap.

CREATE TABLE log_streams (
  command_id TEXT NOT NULL REFERENCES commands (command_id) ON DELETE CASCADE,
  attempt INTEGER NOT NULL CHECK (attempt >= 1),
  stream TEXT NOT NULL CHECK (stream = 'stdout' OR stream = 'stderr'),
  bytes INTEGER NOT NULL CHECK (bytes >= 0),
  -- With its end: of the bytes that are stored, and whether they are all that the attempt wrote.
  sha256 TEXT,
  complete INTEGER CHECK (complete BETWEEN 0 AND 1),
  changed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (command_id, attempt, stream),
  CHECK ((sha256 IS NULL) = (complete IS NULL))
) STRICT, WITHOUT ROWID;

-- With rowids: the pieces are large, and a search should pass over keys alone.
CREATE TABLE log_chunks (
  command_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  stream TEXT NOT NULL,
  first_byte INTEGER NOT NULL CHECK (first_byte >= 0),
  content BLOB NOT NULL CHECK (length(content) > 0),
  PRIMARY KEY (command_id, attempt, stream, first_byte),
  FOREIGN KEY (command_id, attempt, stream) REFERENCES log_streams (command_id, attempt, stream) ON DELETE CASCADE
) STRICT;
