-- The content of these is gone. Number of rows.
UPDATE artifacts SET lost = 1 WHERE sha256 = :sha256
