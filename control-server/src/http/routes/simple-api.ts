/**
 * The original simple API for agents: take the next command, report its result. `next` is a GET that changes state, which
 * HTTP does not expect of it; kept for the clients that exist (docs/adr/0001), never cached, and without HEAD.
 */
import { CommandRecord, Id, SimpleReport } from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import { commandRecord } from '../../lifecycle/record.ts'
import { nextCommand, outcomeOf, SIMPLE_TYPES, simpleReport } from '../../lifecycle/simple-api.ts'
import type { App, Context } from '../context.ts'
import { ApiError } from '../errors.ts'
import { keptOutcome } from '../outcome.ts'
import { CommandIdParams } from './commands.ts'

export function simpleApiRoutes(app: App, context: Context): void {
  const { store, policy, limits, nowMs } = context
  const call = (agentId: string, now: number) => ({ agentId, nowMs: now, policy, leaseMs: limits.leaseMs })

  app.get(
    '/commands/next',
    {
      exposeHeadRoute: false,
      schema: {
        querystring: Type.Object({ agentId: Id }, { additionalProperties: false }),
        response: { 200: CommandRecord, 204: Type.Null() },
      },
    },
    async (request, reply) => {
      const { agentId } = request.query
      const now = nowMs()
      const { answer } = await store.lease(
        {
          operation: 'next',
          agentId,
          ask: [],
          want: Object.fromEntries(SIMPLE_TYPES.map((type) => [type, 1])),
          mayTake: ({ labels, pinnedTo }) => labels.length === 0 && (pinnedTo ?? agentId) === agentId,
          nowMs: now,
        },
        (turn) => nextCommand(turn, call(agentId, now)),
      )
      reply.header('cache-control', 'no-store')
      if (!answer.ok) throw new ApiError(answer.code, answer.message)
      if (answer.command === null) return reply.status(204).send(null)
      const { command } = answer
      request.log.info(
        { commandId: command.commandId, attempt: command.attempts.at(-1)?.number, agentId },
        'handed out',
      )
      return commandRecord(command, command.attempts, now)
    },
  )

  // Without it, HEAD would find the route of a command with the id "next".
  app.head('/commands/next', { config: { refused: true } }, async () => {
    throw new ApiError('METHOD_NOT_ALLOWED', 'Taking a command changes it: GET only.', { headers: { allow: 'GET' } })
  })

  app.put(
    '/commands/:commandId/result',
    {
      bodyLimit: limits.syncBytesMax,
      config: { report: true },
      schema: {
        params: CommandIdParams,
        body: SimpleReport,
        response: { 200: Type.Object({ success: Type.Literal(true) }) },
      },
    },
    async (request) => {
      const { commandId } = request.params
      const report = request.body
      if ((report.result === undefined) === (report.error === undefined))
        throw new ApiError('INVALID_REQUEST', 'Exactly one of result and error is required.', {
          details: [{ path: '/result', message: 'exactly one of result and error is required' }],
        })
      const now = nowMs()
      const reported = outcomeOf(report)
      const { answer } = await store.lease(
        { operation: 'result', agentId: report.agentId, ask: [commandId], want: {}, mayTake: () => false, nowMs: now },
        (turn) =>
          simpleReport(turn, commandId, report, {
            ...call(report.agentId, now),
            random: context.random(),
            outcome: keptOutcome(reported, limits.resultBytesMax),
            outcomeSha256: sha256(canonicalJson(reported)),
          }),
      )
      if (!answer.ok) throw new ApiError(answer.code, answer.message)
      request.log.info({ commandId, agentId: report.agentId }, 'result reported')
      return { success: true as const }
    },
  )
}
