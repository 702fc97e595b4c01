/** What calls of language models have used: as a gateway books them, as agents bring them, as clients read them. */
import { Instant, oneOf } from './schema.ts'
import { type Static, Type } from './typebox.ts'

const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** Counts of tokens; `inputTokens` is all of the input, with what was read from and written to a cache. */
export const TokenUsage = Type.Object(
  {
    inputTokens: Count,
    cacheReadTokens: Count,
    cacheWriteTokens: Count,
    cacheWrite1hTokens: Count,
    outputTokens: Count,
    webSearches: Count,
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
    status: Type.Union([Type.Integer({ minimum: 0, maximum: 999 }), Type.Null()], {
      description: 'Of the answer; null where there was none',
    }),
    usage: Type.Union([TokenUsage, Type.Null()], { description: 'null: nobody knows; the cost is what was reserved' }),
    costMicroUsd: Type.Union([Count, Type.Null()], {
      description: 'null: the price is not known',
    }),
    rates: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], {
      description: 'USD per million tokens, as it was calculated with',
    }),
  },
  { additionalProperties: true },
)
export type LlmCall = Static<typeof LlmCall>

/** Of the body of `PUT /attempts/:attemptId/usage`. */
export const USAGE_BYTES_MAX = 1_048_576
/** Calls of one request. */
export const USAGE_CALLS_MAX = 500
export const UsageReport = Type.Object(
  {
    gatewayId: Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$' }),
    calls: Type.Array(LlmCall, { maxItems: USAGE_CALLS_MAX }),
  },
  { additionalProperties: true },
)
export type UsageReport = Static<typeof UsageReport>

/** All of them are durable; `stored` were new. */
export const UsageStored = Type.Object({ stored: Count })
export type UsageStored = Static<typeof UsageStored>

/** In what a limit counts. `requests` are calls of a model, which are the turns of an engine. */
export const LIMIT_UNITS = ['costMicroUsd', 'tokens', 'requests'] as const
export type LimitUnit = (typeof LIMIT_UNITS)[number]

/** At most so much; absent: no limit. 0 allows nothing. */
export const UsageLimits = Type.Object(
  {
    costMicroUsd: Type.Optional(Count),
    tokens: Type.Optional(Count),
    requests: Type.Optional(Count),
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

/** Of several calls, whoever made them. */
export const UsageSum = Type.Object({
  calls: Count,
  ...TokenUsage.properties,
  isEstimated: Type.Boolean({ description: 'Some of it was estimated or is not known' }),
  costMicroUsd: Type.Integer({ description: 'Of the calls whose price is known' }),
  unpricedCalls: Type.Integer({ description: 'Calls whose price nobody knows; the cost is without them' }),
})
export type UsageSum = Static<typeof UsageSum>

/** `GET /commands/:commandId/usage`. */
export const CommandUsage = Type.Object({
  commandId: Type.String(),
  total: UsageSum,
  attempts: Type.Array(Type.Object({ attempt: Type.Integer(), ...UsageSum.properties })),
  calls: Type.Array(
    Type.Object({ attempt: Type.Integer(), gatewayId: Type.String(), ...LlmCall.properties, receivedAt: Instant }),
    { description: 'By attempt and in the order in which they were made; at most `limit`' },
  ),
  nextCursor: Type.Union([Type.String(), Type.Null()]),
})
export type CommandUsage = Static<typeof CommandUsage>

export const USAGE_GROUPINGS = ['day', 'profile', 'model', 'engine', 'command', 'agent'] as const
export type UsageGrouping = (typeof USAGE_GROUPINGS)[number]

/** `GET /usage`. */
export const UsageGroups = Type.Object({
  groupBy: oneOf(USAGE_GROUPINGS),
  from: Type.String({ format: 'date', description: 'The first day, in UTC' }),
  to: Type.String({ format: 'date', description: 'The last day' }),
  total: UsageSum,
  groupCount: Type.Integer({ description: 'How many there are; `groups` has the first of them' }),
  groups: Type.Array(
    Type.Object({
      key: Type.Union([Type.String(), Type.Null()], { description: 'null: runs without a profile' }),
      ...UsageSum.properties,
    }),
    { description: 'Days from the newest on, everything else from the dearest on' },
  ),
  isComplete: Type.Boolean({
    description: 'false: there is more in these days than was looked at, the oldest is missing',
  }),
})
export type UsageGroups = Static<typeof UsageGroups>
