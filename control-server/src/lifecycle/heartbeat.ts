/** A renewal and nothing else, sent by the agent's heartbeat thread while its main thread cannot sync. */
import type { ApiErrorCode, HeartbeatRequest } from '@agent-executor/protocol'
import type { Turn, TurnDecision } from './agent.ts'

/** `leaseMs` is the lease the server keeps for it; only a sync or a registration brings another one. */
export type Renewed = { ok: true; leaseMs: number } | { ok: false; code: ApiErrorCode; message: string }

/**
 * Carries no `seq`: a late or repeated one makes the server wait longer than the agent counts on, which is the safe side.
 */
export function heartbeat(
  turn: Turn,
  request: HeartbeatRequest,
  { agentId, nowMs }: { agentId: string; nowMs: number },
): TurnDecision<Renewed> {
  const { agent, server } = turn
  const refused = (code: ApiErrorCode, message: string): TurnDecision<Renewed> => ({
    changes: [],
    evidence: [],
    answer: { ok: false, code, message },
  })
  if (agent === null || agent.kind !== 'sync' || request.incarnation > agent.incarnation)
    return refused('NOT_REGISTERED', `Agent ${agentId} is not registered.`)
  if (request.epoch !== server.epoch || agent.epoch !== server.epoch)
    return refused('EPOCH_CHANGED', 'The server was restored from a backup: register again.')
  if (request.incarnation < agent.incarnation)
    return refused('INCARNATION_SUPERSEDED', `Incarnation ${agent.incarnation} of agent ${agentId} has taken over.`)
  return {
    agent: { ...agent, renewedAtMs: nowMs, lastSeenAtMs: nowMs },
    changes: [],
    evidence: [],
    answer: { ok: true, leaseMs: agent.leaseMs },
  }
}
