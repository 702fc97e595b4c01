/** What the two formats of OpenAI have in common. */
import {
  countIn,
  countOf,
  hasCounts,
  INPUT_TOKENS_MAX,
  type JsonObject,
  NO_USAGE,
  objectOf,
  type Refusal,
  type RefusalCause,
  type Usage,
} from './wire.ts'

/** gpt-4o-mini counts 48,169 for the largest. */
const IMAGE_TOKENS_MAX = 50_000

export const openaiMediaTokens = (json: string): number =>
  countIn(json, /"type":"(?:input_image|image_url|computer_screenshot)"/g) * IMAGE_TOKENS_MAX +
  countIn(json, /"type":"(?:input_file|file|input_audio)"/g) * INPUT_TOKENS_MAX

/** Null where it does not say what was used. `input` and `output` are what the format calls the two. */
export function openaiUsage(told: JsonObject, input: string, output: string): Usage | null {
  if (!hasCounts(told, `${input}_tokens`, `${output}_tokens`)) return null
  const details = objectOf(told[`${input}_tokens_details`])
  const inputTokens = countOf(told[`${input}_tokens`])
  const cacheReadTokens = Math.min(inputTokens, countOf(details.cached_tokens))
  return {
    ...NO_USAGE,
    inputTokens,
    cacheReadTokens,
    cacheWriteTokens: Math.min(inputTokens - cacheReadTokens, countOf(details.cache_write_tokens)),
    outputTokens: countOf(told[`${output}_tokens`]),
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
