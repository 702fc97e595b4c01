-- How many rows of sums the days :from to :to have, :limit at most.
SELECT count(*) AS count FROM (SELECT 1 FROM usage_days WHERE day BETWEEN :from AND :to LIMIT :limit)
