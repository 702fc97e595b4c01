-- How many rows of sums of attempts the days :from to :to have, :limit at most.
SELECT count(*) AS count FROM (SELECT 1 FROM usage_attempts WHERE day BETWEEN :from AND :to LIMIT :limit)
