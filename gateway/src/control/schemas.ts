/** What the control API takes. Bodies are exact but for prices: what is not named here is refused. */
import { ATTEMPT_ID_PATTERN, UsageLimits } from '@agent-executor/protocol'
import { type Static, Type } from '@agent-executor/protocol/typebox'
import { PROVIDERS } from '../providers.ts'

const Name = Type.String({ minLength: 1, maxLength: 200 })
const closed = { additionalProperties: false }
const oneOf = <const T extends readonly string[]>(values: T) =>
  Type.Unsafe<T[number]>({ type: 'string', enum: [...values] })

export const AttemptPath = Type.Object({ attemptId: Type.String({ pattern: ATTEMPT_ID_PATTERN, maxLength: 111 }) })

export const SessionBody = Type.Object(
  {
    agentId: Name,
    commandId: Name,
    profile: Type.Union([Name, Type.Null()]),
    limits: UsageLimits,
    profileLimits: UsageLimits,
    models: Type.Optional(Type.Array(Name, { maxItems: 100 })),
    egress: Type.Array(Type.Object({ host: Name, port: Type.Integer({ minimum: 1, maximum: 65_535 }) }, closed), {
      maxItems: 100,
    }),
  },
  closed,
)

export const CallsQuery = Type.Object(
  {
    agentId: Name,
    unreported: Type.Optional(oneOf(['1'])),
    limit: Type.Optional(Type.String({ pattern: '^([1-9][0-9]?|[1-4][0-9]{2}|500)$' })),
  },
  closed,
)

export const ReportedBody = Type.Object(
  { callIds: Type.Array(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }), { maxItems: 10_000 }) },
  closed,
)

/** USD for a million tokens: a number, or what reads as one. */
const Amount = Type.Union([
  Type.Number({ minimum: 0, maximum: 1_000_000 }),
  Type.String({ pattern: '^[0-9]{1,7}(\\.[0-9]{1,9})?$' }),
])

export const PricesBody = Type.Object(
  {
    prices: Type.Array(
      Type.Object(
        {
          provider: oneOf(PROVIDERS),
          model: Name,
          effectiveFrom: Type.String({ format: 'date-time' }),
          input: Amount,
          output: Amount,
          cacheRead: Type.Optional(Amount),
          cacheWrite: Type.Optional(Amount),
          cacheWrite1h: Type.Optional(Amount),
        },
        // Those of a server that is newer may say more.
        { additionalProperties: true },
      ),
      { maxItems: 10_000 },
    ),
  },
  closed,
)
export type PricesBody = Static<typeof PricesBody>

export const UsageQuery = Type.Object(
  { scope: oneOf(['command', 'profile', 'day', 'global']), id: Type.String({ maxLength: 200 }) },
  closed,
)
