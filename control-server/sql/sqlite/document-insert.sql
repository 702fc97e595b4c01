-- Adds a version; fails where it exists. 1 row.
INSERT INTO documents (kind, name, version, content, origin, seed_sha256, created_at_ms)
VALUES (:kind, :name, :version, :content, :origin, :seedSha256, :createdAtMs)
