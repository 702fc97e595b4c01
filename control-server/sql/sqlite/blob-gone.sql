-- Its content is not there, whatever the row says. Number of rows.
DELETE FROM blobs WHERE sha256 = :sha256
