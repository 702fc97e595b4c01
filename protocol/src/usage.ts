/** What calls of language models have used: as a gateway books them, as agents bring them, as clients read them. */
import { type Static, Type } from 'typebox'
import { Instant, oneOf } from './schema.ts'

/** Counts of tokens; `inputTokens` is all of the input, with what was read from and written to a cache. */
export const TokenUsage = Type.Object(
  {
    inputTokens: Type.Integer({ minimum: 0 }),
    cacheReadTokens: Type.Integer({ minimum: 0 }),
    cacheWriteTokens: Type.Integer({ minimum: 0 }),
    cacheWrite1hTokens: Type.Integer({ minimum: 0 }),
    outputTokens: Type.Integer({ minimum: 0 }),
    webSearches: Type.Integer({ minimum: 0 }),
  },
  { additionalProperties: true },
)
export type TokenUsage = Static<typeof TokenUsage>

/** `settled`: as the provider told; `estimated`: it broke off before; `unknown`: the gateway died meanwhile. */
export const CALL_STATES = ['settled', 'estimated', 'unknown'] as const
export type CallState = (typeof CALL_STATES)[number]

/** One call that has ended, as it is in the ledger of its gateway. */
export const LlmCall = Type.Object(
  {
    /** Of this gateway alone. */
    callId: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
    wire: Type.String({ pattern: '^[a-z][a-z0-9-]{0,63}$' }),
    model: Type.String({ minLength: 1, maxLength: 200 }),
    startedAt: Instant,
    endedAt: Instant,
    state: oneOf(CALL_STATES),
    status: Type.Union([Type.Integer(), Type.Null()], { description: 'Of the answer; null where there was none' }),
    usage: Type.Union([TokenUsage, Type.Null()], { description: 'null: nobody knows; the cost is what was reserved' }),
    costMicroUsd: Type.Union([Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), Type.Null()], {
      description: 'null: the price is not known',
    }),
    rates: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], {
      description: 'USD per million tokens, as it was calculated with',
    }),
  },
  { additionalProperties: true },
)
export type LlmCall = Static<typeof LlmCall>

/** Calls of one request of `PUT /attempts/:attemptId/usage`. */
export const USAGE_CALLS_MAX = 500
export const UsageReport = Type.Object(
  {
    gatewayId: Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$' }),
    calls: Type.Array(LlmCall, { maxItems: USAGE_CALLS_MAX }),
  },
  { additionalProperties: true },
)
export type UsageReport = Static<typeof UsageReport>

/** In what a limit counts. `requests` are calls of a model, which are the turns of an engine. */
export const LIMIT_UNITS = ['costMicroUsd', 'tokens', 'requests'] as const
export type LimitUnit = (typeof LIMIT_UNITS)[number]

/** At most so much; absent: no limit. 0 allows nothing. */
export const UsageLimits = Type.Object(
  {
    costMicroUsd: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    tokens: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    requests: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  },
  { additionalProperties: false },
)
export type UsageLimits = Static<typeof UsageLimits>

/** What an attempt came to, in its result: the sum of its calls. */
export type UsageTotal = TokenUsage & {
  calls: number
  /** Some of it was estimated or is not known. */
  isEstimated: boolean
}
