/** The calls of agents, and the list of them. */
import {
  AgentRecord,
  HeartbeatRequest,
  HeartbeatResponse,
  Id,
  parseAttemptId,
  RegisterRequest,
  RegisterResponse,
  SyncRequest,
  SyncResponse,
  WAIT_MS_MAX,
  WaitResponse,
} from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import type { Agent } from '../../lifecycle/agent.ts'
import { heartbeat } from '../../lifecycle/heartbeat.ts'
import { mayTake } from '../../lifecycle/matching.ts'
import { agentRecord } from '../../lifecycle/record.ts'
import { register } from '../../lifecycle/register.ts'
import { commandOfOffer } from '../../lifecycle/submission.ts'
import { answerSync } from '../../lifecycle/sync.ts'
import type { App, Context } from '../context.ts'
import { createEngineDefinitions } from '../engine-definitions.ts'
import { ApiError } from '../errors.ts'
import { keptOutcome } from '../outcome.ts'

/** Offers of one type in one answer; the agent syncs again as soon as it has accepted them. */
const OFFERS_MAX = 100

const AgentIdParams = Type.Object({ agentId: Id })

export function agentRoutes(app: App, context: Context): void {
  const { store, documents, policy, limits, nowMs, wakeups } = context
  /** An agent that holds something syncs at least this often, so that two lost syncs do not cost it the lease. */
  const syncMs = Math.floor(limits.leaseMs / 3)
  const nothingReady = { want: {}, mayTake: () => false }
  const definitions = createEngineDefinitions(documents)

  app.post(
    '/agents/register',
    { schema: { body: RegisterRequest, response: { 200: RegisterResponse } } },
    async (request) => {
      const { agentId } = request.body
      const now = nowMs()
      const { answer, rev } = await store.lease(
        { operation: 'register', agentId, ask: [], ...nothingReady, nowMs: now },
        (turn) => ({
          ...register(turn, request.body, { nowMs: now, policy, limits }),
        }),
      )
      if (!answer.ok)
        throw new ApiError(answer.code, answer.message, {
          headers:
            answer.retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(answer.retryAfterMs / 1000)) },
        })
      const { epoch } = await store.serverState()
      const { incarnation, protocol, recovery } = answer
      request.log.info({ agentId, incarnation }, 'agent registered')
      return { incarnation, epoch, rev, leaseMs: limits.leaseMs, syncMs, protocol, recovery }
    },
  )

  app.post(
    '/agents/:agentId/sync',
    {
      bodyLimit: limits.syncBytesMax,
      config: { report: true },
      schema: { params: AgentIdParams, body: SyncRequest, response: { 200: SyncResponse } },
    },
    async (request) => {
      const { agentId } = request.params
      const sync = withKeptOutcomes(request.body as SyncRequest, limits.resultBytesMax)
      const wanted = sync.mode === 'ready' ? sync.want : {}
      const want = Object.fromEntries(
        Object.entries(wanted).map(([type, count]) => [type, Math.min(count, OFFERS_MAX)]),
      )
      const now = nowMs()
      const begunAt = wakeups.syncing(agentId)
      let synced: Agent | undefined
      const decided = store.lease(
        {
          operation: 'sync',
          agentId,
          ask: [...new Set(sync.held.map((item) => parseAttemptId(item.attemptId).commandId))],
          want,
          // As it is with this sync.
          mayTake: (lane, agent) => agent !== null && mayTake({ ...agent, ...toldIn(sync) }, lane),
          nowMs: now,
        },
        (turn) => {
          const decision = answerSync(
            turn,
            { ...sync, want },
            {
              agentId,
              nowMs: now,
              random: context.random,
              policy,
              limits: { ...limits, syncMs },
              newEpoch: context.newId(),
              adoptCommand: commandOfOffer,
            },
          )
          synced = decision.agent
          return decision
        },
      )
      const { answer, rev } = await decided.catch((error: unknown) => {
        wakeups.refused(agentId)
        throw error
      })
      if (!answer.ok) {
        wakeups.refused(agentId)
        throw new ApiError(answer.code, answer.message)
      }
      const { response } = answer
      if (synced !== undefined) wakeups.synced(synced, unmet(want, response.offers), begunAt)
      for (const attemptId of response.grants) request.log.info({ agentId, attemptId }, 'granted')
      for (const { attemptId, verdict } of response.acks) request.log.info({ agentId, attemptId, verdict }, 'outcome')
      const unseen = await definitions.unseen(sync.definitionsSeen)
      return { ...response, rev, ...(unseen === null ? {} : { definitions: unseen }) }
    },
  )

  app.post(
    '/agents/:agentId/heartbeat',
    { schema: { params: AgentIdParams, body: HeartbeatRequest, response: { 200: HeartbeatResponse } } },
    async (request) => {
      const { agentId } = request.params
      const now = nowMs()
      const { answer } = await store.lease(
        { operation: 'heartbeat', agentId, ask: [], ...nothingReady, nowMs: now },
        (turn) => heartbeat(turn, request.body, { agentId, nowMs: now }),
      )
      if (!answer.ok) throw new ApiError(answer.code, answer.message)
      return { incarnation: request.body.incarnation, leaseMs: answer.leaseMs }
    },
  )

  app.get(
    '/agents/:agentId/wait',
    {
      exposeHeadRoute: false,
      schema: {
        params: AgentIdParams,
        querystring: Type.Object(
          { rev: Type.Optional(Type.Integer({ minimum: 0 })), timeoutMs: Type.Optional(Type.Integer({ minimum: 0 })) },
          { additionalProperties: false },
        ),
        response: { 200: WaitResponse, 204: Type.Null() },
      },
    },
    async (request, reply) => {
      const waitMs = Math.min(WAIT_MS_MAX, request.query.timeoutMs ?? WAIT_MS_MAX)
      const wait = wakeups.wait(request.params.agentId, waitMs)
      reply.raw.once('close', wait.leave)
      const changed = await wait.changed
      reply.header('cache-control', 'no-store')
      if (!changed) return reply.status(204).send(null)
      return { rev: (await store.serverState()).rev }
    },
  )

  app.get('/agents', { schema: { response: { 200: Type.Array(AgentRecord) } } }, async () => {
    const now = nowMs()
    return (await store.agents()).map(({ agent, load }) => agentRecord(agent, load, now))
  })

  app.post(
    '/recovery/end',
    { schema: { response: { 200: Type.Object({ ended: Type.Boolean() }) } } },
    async (request) => {
      const ended = await store.endRecovery(nowMs())
      if (ended) request.log.warn('recovery ended by an operator, journals were missing')
      return { ended }
    },
  )
}

const toldIn = ({ engines }: SyncRequest) => (engines === undefined ? {} : { engines })

const withKeptOutcomes = (sync: SyncRequest, bytesMax: number): SyncRequest => ({
  ...sync,
  held: sync.held.map((item) =>
    item.outcome === undefined ? item : { ...item, outcome: keptOutcome(item.outcome, bytesMax) },
  ),
})

const unmet = (want: Readonly<Record<string, number>>, offers: readonly { type: string }[]): Record<string, number> => {
  const left: Record<string, number> = { ...want }
  for (const { type } of offers) left[type] = (left[type] ?? 0) - 1
  return left
}
