-- A content is there, and is kept until :lookAtMs whoever uses it. 1 row.
INSERT INTO blobs (sha256, bytes, created_at_ms, look_at_ms) VALUES (:sha256, :bytes, :nowMs, :lookAtMs)
ON CONFLICT DO UPDATE SET look_at_ms = max(:lookAtMs, ifnull(look_at_ms, 0))
