-- Profiles and templates: every version a row of its own, written once. A version without content deletes the document;
-- its number is not used again.

CREATE TABLE documents (
  kind TEXT NOT NULL CHECK (kind = 'profile' OR kind = 'template'),
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
