/**
 * Who may speak as an agent. Registration is a compare-and-swap: the newcomer names the incarnation it believes to be
 * current (or the nonce of a registration whose answer it never saw). A replayed request, a restored or a cloned
 * journal therefore cannot win against a living agent; it can only take over when the lease is over, and then the
 * grants made to the state before it are not trusted any more.
 */
import { type ApiErrorCode, PROTOCOL, type RegisterRequest } from '@agent-executor/protocol'
import { type Agent, agentLeaseOver, createLedger, type Turn, type TurnDecision } from './agent.ts'
import { phaseOf } from './command.ts'
import { keptEngines } from './engines.ts'
import { serverLeaseMs } from './lease-policy.ts'
import type { LifecyclePolicy } from './transition.ts'

export type Registered =
  | { ok: true; incarnation: number; protocol: number; recovery: boolean }
  | { ok: false; code: ApiErrorCode; message: string; retryAfterMs?: number }

export type RegisterLimits = { leaseMs: number }

export function register(
  turn: Turn,
  request: RegisterRequest,
  context: { nowMs: number; policy: LifecyclePolicy; limits: RegisterLimits },
): TurnDecision<Registered> {
  const { nowMs } = context
  const { agent, server } = turn
  const nothing = (answer: Registered): TurnDecision<Registered> => ({ changes: [], evidence: [], answer })

  const protocol = Math.min(PROTOCOL.max, request.protocol.max)
  if (protocol < PROTOCOL.min || protocol < request.protocol.min)
    return nothing({
      ok: false,
      code: 'PROTOCOL_UNSUPPORTED',
      message: `This server speaks protocol ${PROTOCOL.min} to ${PROTOCOL.max}, the agent ${request.protocol.min} to ${request.protocol.max}: update the older of the two.`,
    })

  const recovery = server.recovering !== null
  if (agent?.kind === 'sync' && agent.epoch === server.epoch && agent.nonce === request.nonce)
    return nothing({ ok: true, incarnation: agent.incarnation, protocol, recovery })

  const sameEpoch = agent !== null && agent.epoch === server.epoch
  const sameJournal = agent === null || agent.journalId === request.journalId
  const successor =
    agent !== null &&
    sameJournal &&
    (agent.incarnation === request.previousIncarnation ||
      (agent.nonce !== null && request.previousNonces.includes(agent.nonce)))
  // In a new epoch only the journal that the backup knows is let in at once: what it has run, another one cannot tell.
  if (agent !== null && (sameEpoch ? !successor : !sameJournal) && !agentLeaseOver(agent, nowMs))
    return nothing({
      ok: false,
      code: 'IDENTITY_CONFLICT',
      message: `Agent id ${request.agentId} is held by ${agent.kind === 'simple' ? 'a client of the simple API' : sameJournal ? 'a newer process, or a copy, of this journal' : 'an agent with another journal'}, and its lease is not over.`,
      retryAfterMs: Math.max(1000, agent.renewedAtMs + serverLeaseMs(agent.leaseMs) - nowMs),
    })

  const incarnation = Math.max(agent?.incarnation ?? 0, request.previousIncarnation) + 1
  // After a restore the server's own memory is the older one: a journal that is ahead of it is believed, one that is
  // behind even that is not.
  const journalGoneBack =
    agent !== null &&
    (request.logSeq < agent.logSeq || (!successor && (sameEpoch || request.previousIncarnation < agent.incarnation)))
  const ledger = createLedger(context.policy)
  if (!sameJournal)
    for (const command of turn.owned)
      if (phaseOf(command) === 'OFFERED') ledger.apply(command, { type: 'withdraw', nowMs, reason: 'journalChanged' })
      else ledger.apply(command, { type: 'lose', nowMs, reason: 'journalChanged' })

  const registered: Agent = {
    agentId: request.agentId,
    kind: 'sync',
    journalId: request.journalId,
    nonce: request.nonce,
    incarnation,
    trustedSince: sameJournal && !journalGoneBack ? (agent?.trustedSince ?? 0) : incarnation,
    logSeq: request.logSeq,
    seq: 0,
    epoch: server.epoch,
    inventoried: false,
    renewedAtMs: nowMs,
    lastSeenAtMs: nowMs,
    leaseMs: context.limits.leaseMs,
    mode: 'ready',
    version: request.version,
    types: request.types,
    labels: request.labels,
    slots: request.slots,
    engines: keptEngines(request.engines ?? {}),
    clockSkewMs: null,
  }
  return {
    agent: registered,
    changes: ledger.changes,
    evidence: [],
    answer: { ok: true, incarnation, protocol, recovery },
  }
}
