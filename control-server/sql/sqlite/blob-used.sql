-- Somebody uses it: it is looked at again when somebody ceases to. Number of rows.
UPDATE blobs SET look_at_ms = NULL WHERE sha256 = :sha256 AND look_at_ms <= :nowMs
