-- The sums of each attempt of a command that has any. :commandId. total() of numbers as large as may be cannot fail.
SELECT attempt,
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
FROM usage_attempts WHERE command_id = :commandId GROUP BY attempt ORDER BY attempt
