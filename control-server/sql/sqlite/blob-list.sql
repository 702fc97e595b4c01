-- Contents that are there, after :after, at most :limit.
SELECT sha256 FROM blobs WHERE sha256 > :after ORDER BY sha256 LIMIT :limit
