-- What an attempt has left, and whether its content is there. :commandId, :attempt.
SELECT artifacts.name, artifacts.bytes, artifacts.sha256, artifacts.lost, blobs.sha256 IS NOT NULL AS stored
FROM artifacts LEFT JOIN blobs ON blobs.sha256 = artifacts.sha256
WHERE command_id = :commandId AND attempt = :attempt ORDER BY name
