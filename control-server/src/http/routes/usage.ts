/** What language models have cost: agents bring the calls of their attempts, clients read them and their sums. */
import {
  CommandUsage,
  LogUploader,
  parseAttemptId,
  USAGE_BYTES_MAX,
  USAGE_GROUPINGS,
  UsageGroups,
  UsageReport,
  UsageStored,
  type UsageSum,
} from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { instant } from '../../lifecycle/record.ts'
import { daysAsked, takeUsage, usageProblems } from '../../lifecycle/usage.ts'
import type { CallPlace, StoredCall } from '../../store/usage.ts'
import type { App, Context } from '../context.ts'
import { ApiError } from '../errors.ts'
import { createInFlight } from '../in-flight.ts'
import { CommandIdParams, notFound } from './commands.ts'
import { AttemptParams } from './files.ts'

const PAGE_DEFAULT = 100
const Limit = Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 }))
const CallsQuery = Type.Object(
  { limit: Limit, cursor: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{1,200}$' })) },
  { additionalProperties: false },
)
const Day = Type.Optional(Type.String({ format: 'date' }))
const GroupsQuery = Type.Object(
  {
    groupBy: Type.Optional(Type.Unsafe<(typeof USAGE_GROUPINGS)[number]>({ enum: [...USAGE_GROUPINGS] })),
    from: Day,
    to: Day,
    limit: Limit,
  },
  { additionalProperties: false },
)

export function usageRoutes(app: App, { store, usage, metrics, limits, nowMs }: Context): void {
  const inFlight = createInFlight(limits.inFlightBytesMax, USAGE_BYTES_MAX)

  app.put(
    '/attempts/:attemptId/usage',
    {
      onRequest: [inFlight.onRequest],
      onSend: inFlight.onSend,
      bodyLimit: USAGE_BYTES_MAX,
      schema: { params: AttemptParams, querystring: LogUploader, body: UsageReport, response: { 200: UsageStored } },
    },
    async (request) => {
      const { query, body } = request
      const { commandId, number } = parseAttemptId(request.params.attemptId)
      const details = usageProblems(body)
      if (details.length > 0)
        throw new ApiError('INVALID_REQUEST', `${details[0]?.path} ${details[0]?.message}`, { details })
      const { decision, added } = await usage.change(commandId, number, query.agentId, nowMs(), (facts) =>
        takeUsage(facts, query, body),
      )
      if (!decision.answer.ok) throw new ApiError(decision.answer.code, decision.answer.message)
      metrics.used(added)
      return { stored: added.length }
    },
  )

  app.get(
    '/commands/:commandId/usage',
    { schema: { params: CommandIdParams, querystring: CallsQuery, response: { 200: CommandUsage } } },
    async (request) => {
      const { commandId } = request.params
      const { limit = PAGE_DEFAULT, cursor } = request.query
      const after = cursor === undefined ? null : placeOf(cursor)
      const { attempts, calls } = await usage.ofCommand(commandId, after, limit)
      // What was spent stays readable when its command is deleted.
      if (attempts.length === 0 && (await store.get(commandId)) === undefined) throw notFound(commandId)
      const last = calls.length === limit ? calls.at(-1) : undefined
      return {
        commandId,
        total: totalOf(attempts),
        attempts,
        calls: calls.map(callRecord),
        nextCursor: last === undefined ? null : cursorOf(last),
      }
    },
  )

  app.get(
    '/usage',
    { schema: { querystring: GroupsQuery, response: { 200: UsageGroups } } },
    async ({ query: { groupBy = 'day', limit = PAGE_DEFAULT, ...asked } }) => {
      const { from, to, isNone } = daysAsked(asked, nowMs())
      if (isNone) throw invalidQuery('from', `must not be after ${asked.to === undefined ? 'today' : 'to'}, ${to}`)
      return { groupBy, from, to, ...(await usage.groups({ groupBy, from, to, limit })) }
    },
  )
}

const callRecord = ({ startedAtMs, endedAtMs, receivedAtMs, ...call }: StoredCall) => ({
  ...call,
  startedAt: instant(startedAtMs),
  endedAt: instant(endedAtMs),
  receivedAt: instant(receivedAtMs),
})

const totalOf = (sums: readonly UsageSum[]): UsageSum => {
  const of = (field: Exclude<keyof UsageSum, 'isEstimated'>): number =>
    Math.min(
      Number.MAX_SAFE_INTEGER,
      sums.reduce((sum, each) => sum + each[field], 0),
    )
  return {
    calls: of('calls'),
    inputTokens: of('inputTokens'),
    cacheReadTokens: of('cacheReadTokens'),
    cacheWriteTokens: of('cacheWriteTokens'),
    cacheWrite1hTokens: of('cacheWrite1hTokens'),
    outputTokens: of('outputTokens'),
    webSearches: of('webSearches'),
    isEstimated: sums.some(({ isEstimated }) => isEstimated),
    costMicroUsd: of('costMicroUsd'),
    unpricedCalls: of('unpricedCalls'),
  }
}

const cursorOf = ({ attempt, gatewayId, callId }: CallPlace): string =>
  Buffer.from(`${attempt}.${callId}.${gatewayId}`).toString('base64url')

function placeOf(cursor: string): CallPlace {
  const text = Buffer.from(cursor, 'base64url').toString('utf8')
  const [, attempt, callId, gatewayId] = /^(\d{1,10})\.(\d{1,16})\.([A-Za-z0-9-]{1,64})$/.exec(text) ?? []
  if (gatewayId === undefined) throw invalidQuery('cursor', 'is not one that this server made')
  return { attempt: Number(attempt), callId: Number(callId), gatewayId }
}

const invalidQuery = (name: string, message: string): ApiError =>
  new ApiError('INVALID_REQUEST', `query/${name} ${message}`, { details: [{ path: `query/${name}`, message }] })
