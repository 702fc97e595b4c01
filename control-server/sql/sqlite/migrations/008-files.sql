-- Files that go into runs and come out of them. Their contents lie beside the database, named by their SHA-256; a row
-- here says that one is there, whole.

CREATE TABLE blobs (
  sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64),
  bytes INTEGER NOT NULL CHECK (bytes >= 0),
  created_at_ms INTEGER NOT NULL,
  -- When it is looked at whether anybody uses it, to go if not; NULL where somebody did when it was looked at last.
  look_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_look ON blobs (look_at_ms) WHERE look_at_ms IS NOT NULL;

-- What commands bring. Not a reference to blobs: after a restore one may be gone, and the command is still true.
CREATE TABLE command_uploads (
  command_id TEXT NOT NULL REFERENCES commands (command_id) ON DELETE CASCADE,
  sha256 TEXT NOT NULL,
  PRIMARY KEY (command_id, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX command_uploads_blob ON command_uploads (sha256);

-- What attempts have left, whether its content is there or not.
CREATE TABLE artifacts (
  command_id TEXT NOT NULL REFERENCES commands (command_id) ON DELETE CASCADE,
  attempt INTEGER NOT NULL CHECK (attempt >= 1),
  name TEXT NOT NULL,
  bytes INTEGER NOT NULL CHECK (bytes >= 0),
  sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
  -- Its content will not come any more.
  lost INTEGER NOT NULL CHECK (lost BETWEEN 0 AND 1),
  PRIMARY KEY (command_id, attempt, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifacts_blob ON artifacts (sha256);

-- Whoever goes may have been the last who used it.
CREATE TRIGGER command_uploads_gone AFTER DELETE ON command_uploads BEGIN
  UPDATE blobs SET look_at_ms = 0 WHERE sha256 = old.sha256 AND look_at_ms IS NULL;
END;
CREATE TRIGGER artifacts_gone AFTER DELETE ON artifacts BEGIN
  UPDATE blobs SET look_at_ms = 0 WHERE sha256 = old.sha256 AND look_at_ms IS NULL;
END;
