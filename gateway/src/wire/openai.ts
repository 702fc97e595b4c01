/** What the two formats of OpenAI have in common. */
import { countOf, type JsonObject, NO_USAGE, objectOf, type Refusal, type RefusalCause, type Usage } from './wire.ts'

export function openaiUsage(told: JsonObject, names: { input: string; output: string }): Usage {
  const input = objectOf(told[`${names.input}_details`])
  const inputTokens = countOf(told[names.input])
  const cacheReadTokens = Math.min(inputTokens, countOf(input.cached_tokens))
  return {
    ...NO_USAGE,
    inputTokens,
    cacheReadTokens,
    cacheWriteTokens: Math.min(inputTokens - cacheReadTokens, countOf(input.cache_write_tokens)),
    outputTokens: countOf(told[names.output]),
  }
}

const REFUSALS: Readonly<Record<RefusalCause, { type: string; code: string }>> = {
  spent: { type: 'insufficient_quota', code: 'insufficient_quota' },
  refused: { type: 'invalid_request_error', code: 'request_refused' },
  unavailable: { type: 'server_error', code: 'provider_unavailable' },
}

export function openaiRefusal(cause: RefusalCause, message: string, spentStatus: number): Refusal {
  const status = cause === 'spent' ? spentStatus : cause === 'refused' ? 400 : 503
  return { status, headers: {}, body: { error: { message, param: null, ...REFUSALS[cause] } } }
}
