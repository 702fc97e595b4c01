-- Engines are documents as well. SQLite changes no CHECK of a table that is there.

CREATE TABLE documents_2 (
  kind TEXT NOT NULL CHECK (kind = 'profile' OR kind = 'template' OR kind = 'engine'),
  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
  version INTEGER NOT NULL CHECK (version >= 1),
  content TEXT,
  origin TEXT NOT NULL CHECK (origin = 'api' OR origin = 'seed'),
  -- Of the file that it was loaded from.
  seed_sha256 TEXT,
  created_at_ms INTEGER NOT NULL,
  PRIMARY KEY (kind, name, version),
  CHECK ((origin = 'seed') = (seed_sha256 IS NOT NULL)),
  CHECK (origin = 'api' OR content IS NOT NULL)
) STRICT;
INSERT INTO documents_2 SELECT kind, name, version, content, origin, seed_sha256, created_at_ms FROM documents;
DROP TABLE documents;
ALTER TABLE documents_2 RENAME TO documents;
