/**
 * The original simple API: `GET /commands/next` and `PUT /commands/:id/result`, over the same transitions. `next`
 * offers, accepts and grants in one step, so a client that dies with the answer on its way has a command whose outcome
 * is unknown; it becomes LOST when the lease, the command's own timeout, is over.
 */
import {
  type ApiErrorCode,
  attemptId,
  type CommandType,
  type Outcome,
  type SimpleReport,
} from '@agent-executor/protocol'
import { type Agent, agentLeaseOver, createLedger, type Turn, type TurnDecision } from './agent.ts'
import { type Command, newestAttempt, phaseOf } from './command.ts'
import { serverLeaseMs } from './lease-policy.ts'
import { attemptTimeoutMs, failure, type LifecyclePolicy } from './transition.ts'

/** What its clients have always known; a RUN_AGENT outlives whoever began it, which needs a journal. */
export const SIMPLE_TYPES: readonly CommandType[] = ['DELAY', 'HTTP_GET_JSON']

type Refused = { ok: false; code: ApiErrorCode; message: string }
export type Next = { ok: true; command: Command | null } | Refused
export type Reported = { ok: true } | Refused

type Context = { agentId: string; nowMs: number; policy: LifecyclePolicy; leaseMs: number }

export function nextCommand(turn: Turn, context: Context): TurnDecision<Next> {
  const { agentId, nowMs } = context
  const agent = renewed(turn, context)
  if (agent === null)
    return refuse('IDENTITY_CONFLICT', `Agent id ${agentId} is held by an agent that syncs, and its lease is not over.`)
  const ledger = createLedger(context.policy)
  // Another agent than the one that synced under this id: it must not renew the lease of what that one held.
  if (turn.agent?.kind === 'sync')
    for (const owned of turn.owned)
      if (phaseOf(owned) === 'OFFERED') ledger.apply(owned, { type: 'withdraw', nowMs, reason: 'agentChanged' })
      else ledger.apply(owned, { type: 'lose', nowMs, reason: 'agentChanged' })
  const left = ledger.changes.length
  const best = turn.server.recovering === null ? bestOf(turn.ready) : undefined
  let command: Command | null = null
  if (best !== undefined) {
    const leaseMs = serverLeaseMs(attemptTimeoutMs(best, nowMs))
    const offered = ledger.apply(best, { type: 'offer', nowMs, agentId })
    const granted = offered.ok
      ? ledger.apply(offered.command, { type: 'grant', nowMs, agentId, incarnation: agent.incarnation, leaseMs })
      : offered
    if (granted.ok) command = granted.command
  }
  const changes = command === null ? ledger.changes.slice(0, left) : ledger.changes
  return { agent, changes, evidence: [], answer: { ok: true, command } }
}

export function simpleReport(
  turn: Turn,
  commandId: string,
  report: SimpleReport,
  context: Context & { random: number; outcomeSha256: string; outcome: Outcome },
): TurnDecision<Reported> {
  const { agentId, nowMs, outcome, outcomeSha256 } = context
  const command = turn.asked.get(commandId)
  if (command === undefined) return refuse('COMMAND_NOT_FOUND', `There is no command ${commandId}.`)
  const agent = turn.agent?.kind === 'simple' ? renewed(turn, context) : null
  const newest = newestAttempt(command)
  const phase = phaseOf(command)
  const runs = phase === 'RUNNING' || phase === 'LOST'
  const current = runs && newest?.agentId === agentId && (report.attempt ?? newest.number) === newest.number
  if (!current) {
    const known = command.attempts.some(
      (attempt) =>
        attempt.agentId === agentId &&
        attempt.outcomeSha256 === outcomeSha256 &&
        (report.attempt ?? attempt.number) === attempt.number,
    )
    if (known) return { ...(agent ? { agent } : {}), changes: [], evidence: [], answer: { ok: true } }
    return runs
      ? refuse('NOT_YOUR_COMMAND', `Command ${commandId} is held by another agent or attempt.`)
      : refuse('COMMAND_NOT_RUNNING', `Command ${commandId} is ${command.status}, not RUNNING.`)
  }
  // Whoever synced under this id before may still be at work on what it was granted: its outcome is its own to tell.
  if (agent === null || newest.incarnation !== agent.incarnation)
    return refuse('NOT_YOUR_COMMAND', `Agent ${agentId} was granted it through sync, and reports so.`)

  const ledger = createLedger(context.policy)
  const event = { type: 'finish', nowMs, agentId, attempt: newest.number, outcome, outcomeSha256 } as const
  ledger.apply(command, { ...event, random: context.random })
  return { agent, changes: ledger.changes, evidence: [], answer: { ok: true } }

  function refuse(code: ApiErrorCode, message: string): TurnDecision<Reported> {
    const number = report.attempt ?? command?.attempts.findLast((attempt) => attempt.agentId === agentId)?.number
    const evidence =
      command === undefined || number === undefined
        ? []
        : [{ attemptId: attemptId(commandId, number), agentId, verdict: 'rejected' as const, outcome, outcomeSha256 }]
    return { changes: [], evidence, answer: { ok: false, code, message } }
  }
}

/** What a simple client's report means. `error` may be a sentence or an object with a code. */
export const outcomeOf = (report: SimpleReport): Outcome => {
  if (report.error === undefined)
    return { state: 'SUCCEEDED', result: (report.result ?? null) as NonNullable<Outcome['result']> }
  if (typeof report.error === 'string') return { state: 'FAILED', error: failure('EXECUTION_FAILED', report.error) }
  const { message, code, retryable, details } = report.error
  return {
    state: 'FAILED',
    error: {
      ...failure('EXECUTION_FAILED', message, details),
      ...(code ? { code } : {}),
      retryable: retryable ?? false,
    },
  }
}

const refuse = (code: ApiErrorCode, message: string) =>
  ({ changes: [], evidence: [], answer: { ok: false, code, message } }) as const

/** The agent after this call, which renews its lease; null where the id is that of an agent that syncs, and lives or is awaited. */
function renewed(turn: Turn, { agentId, nowMs, leaseMs }: Context): Agent | null {
  const { agent, server } = turn
  if (agent?.kind === 'sync' && (server.recovering !== null || !agentLeaseOver(agent, nowMs))) return null
  const fresh: Agent = {
    agentId,
    kind: 'simple',
    journalId: null,
    nonce: null,
    incarnation: agent?.kind === 'simple' ? agent.incarnation : (agent?.incarnation ?? 0) + 1,
    trustedSince: 0,
    logSeq: 0,
    seq: 0,
    epoch: server.epoch,
    inventoried: true,
    renewedAtMs: nowMs,
    lastSeenAtMs: nowMs,
    leaseMs,
    mode: 'ready',
    version: null,
    types: [...SIMPLE_TYPES],
    labels: [],
    slots: {},
    engines: {},
    clockSkewMs: null,
  }
  return fresh
}

/** Highest priority first, then the oldest: ids are in time order. */
const bestOf = (ready: readonly Command[]): Command | undefined =>
  [...ready].sort((a, b) => b.priority - a.priority || (a.commandId < b.commandId ? -1 : 1))[0]
