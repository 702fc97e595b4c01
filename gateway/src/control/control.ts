/** The control API, which an agent has on a Unix socket: lets attempts in, and tells what they used. */
import { randomUUID } from 'node:crypto'
import type { LimitUnit, LlmCall, UsageLimits, UsageTotal } from '@agent-executor/protocol'
import type { Static } from '@agent-executor/protocol/typebox'
import fastify, { type FastifyInstance } from 'fastify'
import type { Unit } from '../allowance.ts'
import type { Call, Ledger, Scope } from '../ledger.ts'
import type { PriceRow } from '../prices.ts'
import { PROVIDERS, type Providers } from '../providers.ts'
import type { AmountLimits, Sessions } from '../sessions.ts'
import { NO_USAGE } from '../wire/wire.ts'
import { ControlError, installErrors } from './errors.ts'
import { AttemptPath, CallsQuery, PricesBody, ReportedBody, SessionBody, UsageQuery } from './schemas.ts'

const BODY_BYTES_MAX = 4 * 2 ** 20
const CALLS_DEFAULT = 500

export type ControlOptions = {
  ledger: Ledger
  sessions: Sessions
  providers: Providers
  version: string
  setPrices: (rows: readonly PriceRow[]) => void
  /** Lets no attempt in any more; what is there may still be asked for. */
  stopping: AbortSignal
  log: (facts: object, message: string) => void
}

export function buildControl({
  ledger,
  sessions,
  providers,
  version,
  setPrices,
  stopping,
  log,
}: ControlOptions): FastifyInstance {
  const app = fastify({
    logger: false,
    genReqId: () => randomUUID(),
    bodyLimit: BODY_BYTES_MAX,
    forceCloseConnections: true,
    // Fastify's own would make "5" a 5, and leave out what is unknown.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } },
  })
  app.removeContentTypeParser('text/plain')
  installErrors(app, log)

  app.get('/health', async () => ({
    gatewayId: ledger.gatewayId,
    version,
    providers: Object.fromEntries(PROVIDERS.map((name) => [name, providers[name] !== undefined])),
  }))

  app.put<{ Params: Static<typeof AttemptPath>; Body: Static<typeof SessionBody> }>(
    '/sessions/:attemptId',
    { schema: { params: AttemptPath, body: SessionBody } },
    async ({ params: { attemptId }, body }) => {
      if (stopping.aborted) throw new ControlError('SHUTTING_DOWN')
      const { agentId, commandId, profile, models = [], egress } = body
      const limits = amountsOf(body.limits)
      const profileLimits = amountsOf(body.profileLimits)
      return sessions.open({ attemptId, agentId, commandId, profile, limits, profileLimits, models, egress })
    },
  )

  app.delete<{ Params: Static<typeof AttemptPath> }>(
    '/sessions/:attemptId',
    { schema: { params: AttemptPath } },
    async ({ params: { attemptId } }, reply) => {
      await sessions.close(attemptId)
      return reply.status(204).send()
    },
  )

  app.get<{ Params: Static<typeof AttemptPath> }>(
    '/sessions/:attemptId/usage',
    { schema: { params: AttemptPath } },
    async ({ params: { attemptId } }) => {
      const session = ledger.session(attemptId)
      if (session === null) throw new ControlError('SESSION_NOT_FOUND')
      const calls = ledger.calls(attemptId)
      const ended = calls.filter(({ state }) => state !== 'started')
      return {
        calls: ended.map(llmCallOf),
        started: calls.length - ended.length,
        refusals: ledger
          .refusals(attemptId)
          .map(({ unit, scope, count }) => ({ unit: unit === null ? null : LIMIT_UNIT_OF[unit], scope, count })),
        total: totalOf(ended),
        costMicroUsd: costOf(ended),
        lastError: session.lastError,
        egress: ledger.tunnels(attemptId).map(({ startedAtMs, endedAtMs, ...tunnel }) => ({
          ...tunnel,
          startedAt: instantOf(startedAtMs),
          endedAt: endedAtMs === null ? null : instantOf(endedAtMs),
        })),
      }
    },
  )

  app.get<{ Querystring: Static<typeof CallsQuery> }>(
    '/calls',
    { schema: { querystring: CallsQuery } },
    async ({ query: { agentId, limit } }) => {
      const calls = ledger.unreported(agentId, limit === undefined ? CALLS_DEFAULT : Number(limit))
      const byAttempt = new Map<string, LlmCall[]>()
      for (const call of calls)
        byAttempt.set(call.attemptId, [...(byAttempt.get(call.attemptId) ?? []), llmCallOf(call)])
      return {
        gatewayId: ledger.gatewayId,
        attempts: [...byAttempt].map(([attemptId, ofAttempt]) => ({ attemptId, calls: ofAttempt })),
      }
    },
  )

  app.post<{ Body: Static<typeof ReportedBody> }>(
    '/calls/reported',
    { schema: { body: ReportedBody } },
    async ({ body }, reply) => {
      ledger.report(body.callIds)
      return reply.status(204).send()
    },
  )

  app.put<{ Body: PricesBody }>('/prices', { schema: { body: PricesBody } }, async ({ body }, reply) => {
    setPrices(body.prices.map(priceRowOf))
    return reply.status(204).send()
  })

  app.get<{ Querystring: Static<typeof UsageQuery> }>(
    '/usage',
    { schema: { querystring: UsageQuery } },
    async ({ query }) => {
      const used = (unit: Unit) => ledger.used(query as Scope, unit)
      const all = { costMicroUsd: used('microUsd'), tokens: used('tokens'), requests: used('requests') }
      const part = (of: 'spent' | 'reserved') =>
        Object.fromEntries(Object.entries(all).map(([unit, amounts]) => [unit, amounts[of]]))
      return { spent: part('spent'), reserved: part('reserved') }
    },
  )

  return app
}

const LIMIT_UNIT_OF: Readonly<Record<Unit, LimitUnit>> = {
  microUsd: 'costMicroUsd',
  tokens: 'tokens',
  requests: 'requests',
}

const amountsOf = ({ costMicroUsd, tokens, requests }: UsageLimits): AmountLimits => ({
  ...(costMicroUsd !== undefined && { microUsd: costMicroUsd }),
  ...(tokens !== undefined && { tokens }),
  ...(requests !== undefined && { requests }),
})

const instantOf = (ms: number): string => new Date(ms).toISOString()

function llmCallOf({ callId, wire, model, startedAtMs, endedAtMs, state, status, usage, costMicroUsd, rates }: Call) {
  return {
    ...{ callId, wire, model, startedAt: instantOf(startedAtMs), endedAt: instantOf(endedAtMs ?? startedAtMs) },
    ...{ state: state as LlmCall['state'], status, usage, costMicroUsd, rates: rates as LlmCall['rates'] },
  } satisfies LlmCall
}

const totalOf = (calls: readonly Call[]): UsageTotal =>
  calls.reduce<UsageTotal>(
    (total, { usage, state }) =>
      ({
        ...Object.fromEntries(
          Object.entries(NO_USAGE).map(([name]) => {
            const key = name as keyof typeof NO_USAGE
            return [key, total[key] + (usage?.[key] ?? 0)]
          }),
        ),
        calls: total.calls + 1,
        isEstimated: total.isEstimated || state !== 'settled',
      }) as UsageTotal,
    { ...NO_USAGE, calls: 0, isEstimated: false },
  )

/** Null where the price of one is not known. */
const costOf = (calls: readonly Call[]): number | null =>
  calls.reduce<number | null>(
    (sum, { costMicroUsd }) => (sum === null || costMicroUsd === null ? null : sum + costMicroUsd),
    0,
  )

function priceRowOf({ effectiveFrom, cacheRead, cacheWrite, cacheWrite1h, ...row }: PricesBody['prices'][number]) {
  return {
    ...{ provider: row.provider, model: row.model, effectiveFromMs: Date.parse(effectiveFrom) },
    ...{ input: Number(row.input), output: Number(row.output) },
    ...(cacheRead !== undefined && { cacheRead: Number(cacheRead) }),
    ...(cacheWrite !== undefined && { cacheWrite: Number(cacheWrite) }),
    ...(cacheWrite1h !== undefined && { cacheWrite1h: Number(cacheWrite1h) }),
  } satisfies PriceRow
}
