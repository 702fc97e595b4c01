-- A content that is there. :sha256. 0 or 1 row.
SELECT * FROM blobs WHERE sha256 = :sha256
