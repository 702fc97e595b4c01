-- Nobody uses it any more. Number of rows.
DELETE FROM blobs WHERE sha256 = :sha256 AND look_at_ms <= :nowMs
  AND NOT EXISTS (SELECT 1 FROM command_uploads AS used WHERE used.sha256 = blobs.sha256)
  AND NOT EXISTS (SELECT 1 FROM artifacts AS used WHERE used.sha256 = blobs.sha256)
