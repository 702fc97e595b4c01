-- The lanes that have a ready command: one index seek a lane, however many commands wait in it.
WITH RECURSIVE lanes (lane) AS (
  SELECT min(lane) FROM commands WHERE ready = 1
  UNION ALL
  SELECT (SELECT min(lane) FROM commands WHERE ready = 1 AND lane > lanes.lane) FROM lanes WHERE lane IS NOT NULL
)
SELECT lane FROM lanes WHERE lane IS NOT NULL
