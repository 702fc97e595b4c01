-- The first ready commands of a lane: highest priority, then oldest. :lane, :limit.
SELECT * FROM commands WHERE ready = 1 AND lane = :lane ORDER BY priority DESC, command_id LIMIT :limit
