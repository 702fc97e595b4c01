-- What models cost here, in USD for a million tokens, from a time on. NULL: as input.
CREATE TABLE prices (
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  effective_from_ms INTEGER NOT NULL,
  input REAL NOT NULL CHECK (input >= 0),
  output REAL NOT NULL CHECK (output >= 0),
  cache_read REAL CHECK (cache_read >= 0),
  cache_write REAL CHECK (cache_write >= 0),
  cache_write_1h REAL CHECK (cache_write_1h >= 0),
  PRIMARY KEY (provider, model, effective_from_ms)
) STRICT, WITHOUT ROWID;
