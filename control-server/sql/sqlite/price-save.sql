-- What a model costs from a time on, in place of what was said of the same time. 1 row.
INSERT INTO prices (provider, model, effective_from_ms, input, output, cache_read, cache_write, cache_write_1h)
VALUES (:provider, :model, :effectiveFromMs, :input, :output, :cacheRead, :cacheWrite, :cacheWrite1h)
ON CONFLICT DO UPDATE SET input = :input, output = :output, cache_read = :cacheRead, cache_write = :cacheWrite,
  cache_write_1h = :cacheWrite1h
