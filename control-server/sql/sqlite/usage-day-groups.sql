-- The sums of the days :from to :to by :groupBy, of the newest :rowsMax rows; at most :limit groups, how many there are.
WITH looked AS (SELECT * FROM usage_days WHERE day BETWEEN :from AND :to ORDER BY day DESC LIMIT :rowsMax)
SELECT CASE :groupBy WHEN 'day' THEN day WHEN 'profile' THEN profile WHEN 'model' THEN model WHEN 'engine' THEN engine
    WHEN 'agent' THEN agent_id ELSE '' END AS key,
  count(*) OVER () AS groups,
  sum(calls) AS calls,
  CAST(min(total(input_tokens), 9007199254740991.0) AS INTEGER) AS input_tokens,
  CAST(min(total(cache_read_tokens), 9007199254740991.0) AS INTEGER) AS cache_read_tokens,
  CAST(min(total(cache_write_tokens), 9007199254740991.0) AS INTEGER) AS cache_write_tokens,
  CAST(min(total(cache_write_1h_tokens), 9007199254740991.0) AS INTEGER) AS cache_write_1h_tokens,
  CAST(min(total(output_tokens), 9007199254740991.0) AS INTEGER) AS output_tokens,
  CAST(min(total(web_searches), 9007199254740991.0) AS INTEGER) AS web_searches,
  max(is_estimated) AS is_estimated,
  CAST(min(total(cost_micro_usd), 9007199254740991.0) AS INTEGER) AS cost_micro_usd,
  sum(unpriced_calls) AS unpriced_calls
FROM looked GROUP BY key
ORDER BY CASE :groupBy WHEN 'day' THEN key END DESC, cost_micro_usd DESC, calls DESC, key
LIMIT :limit
