-- Adds a call to the sums of its attempt. No sum grows beyond what a JavaScript number holds exactly. 1 row.
INSERT INTO usage_attempts (command_id, attempt, day, calls, input_tokens, cache_read_tokens, cache_write_tokens,
  cache_write_1h_tokens, output_tokens, web_searches, is_estimated, cost_micro_usd, unpriced_calls)
VALUES (:commandId, :attempt, :day, 1, :inputTokens, :cacheReadTokens, :cacheWriteTokens,
  :cacheWrite1hTokens, :outputTokens, :webSearches, :isEstimated, :costMicroUsd, :unpricedCalls)
ON CONFLICT DO UPDATE SET calls = calls + 1, is_estimated = max(is_estimated, :isEstimated),
  unpriced_calls = unpriced_calls + :unpricedCalls,
  input_tokens = min(input_tokens + :inputTokens, 9007199254740991),
  cache_read_tokens = min(cache_read_tokens + :cacheReadTokens, 9007199254740991),
  cache_write_tokens = min(cache_write_tokens + :cacheWriteTokens, 9007199254740991),
  cache_write_1h_tokens = min(cache_write_1h_tokens + :cacheWrite1hTokens, 9007199254740991),
  output_tokens = min(output_tokens + :outputTokens, 9007199254740991),
  web_searches = min(web_searches + :webSearches, 9007199254740991),
  cost_micro_usd = min(cost_micro_usd + :costMicroUsd, 9007199254740991)
