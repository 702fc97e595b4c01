-- Contents to look at by :nowMs, and whether anybody uses them. At most :limit.
SELECT sha256, EXISTS (SELECT 1 FROM command_uploads AS used WHERE used.sha256 = blobs.sha256)
  OR EXISTS (SELECT 1 FROM artifacts AS used WHERE used.sha256 = blobs.sha256) AS used
FROM blobs WHERE look_at_ms <= :nowMs ORDER BY look_at_ms LIMIT :limit
