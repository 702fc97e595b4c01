-- When the oldest of the first 1,000 PENDING commands came that an agent may take; NULL where none of them is. 1 row.
SELECT min(created_at_ms) AS oldest_ms FROM (
  SELECT created_at_ms, ready FROM commands
  WHERE finished_at_ms IS NULL AND status = 'PENDING' ORDER BY command_id LIMIT 1000
) WHERE ready = 1
