-- Epoch, revision (the newest event) and whether journals are awaited. 1 row.
SELECT epoch, recovering, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS rev FROM server_state
