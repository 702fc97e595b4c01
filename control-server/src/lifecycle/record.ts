/** From what the server remembers to what clients read. */
import type { AgentRecord, AttemptRecord, CommandRecord } from '@agent-executor/protocol'
import { type Agent, isOnline } from './agent.ts'
import { type Attempt, type Command, lastGrantedAttempt, newestAttempt } from './command.ts'

export const instant = (timeMs: number): string => new Date(timeMs).toISOString()
const instantOrNull = (timeMs: number | null): string | null => (timeMs === null ? null : instant(timeMs))

/** `attempts` is the whole history; `nowMs` closes the timings of a command that goes on. */
export function commandRecord(command: Command, attempts: readonly Attempt[], nowMs: number): CommandRecord {
  const { spec } = command
  const endMs = command.finishedAtMs ?? nowMs
  const newest = newestAttempt(command)
  // The late outcome of an attempt that was taken over withdraws the offer after it.
  const shown = newest?.state === 'WITHDRAWN' && command.status !== 'PENDING' ? lastGrantedAttempt(command) : newest
  return {
    commandId: command.commandId,
    type: command.type,
    status: command.status,
    priority: command.priority,
    labels: spec.labels,
    pinnedTo: spec.pinnedTo,
    agentId: shown !== undefined && shown.state !== 'WITHDRAWN' ? shown.agentId : null,
    attempt: newest?.number ?? 0,
    payload: spec.payload,
    result: command.result,
    resultTruncated: command.resultTruncated,
    error: command.error,
    cancelRequested: command.cancel !== null,
    takeover: spec.takeover,
    timeoutMs: spec.timeoutMs,
    totalTimeoutMs: spec.totalTimeoutMs,
    lostAfterMs: spec.lostAfterMs,
    retry: {
      maxAttempts: spec.retry.maxAttempts,
      backoff: spec.retry.backoff,
      ...(spec.retry.retryOn === null ? {} : { retryOn: spec.retry.retryOn }),
    },
    metadata: spec.metadata,
    createdAt: instant(command.createdAtMs),
    notBefore: instantOrNull(spec.notBeforeMs),
    expiresAt: instantOrNull(spec.expiresAtMs),
    startedAt: instantOrNull(command.startedAtMs),
    finishedAt: instantOrNull(command.finishedAtMs),
    attempts: attempts.map(attemptRecord),
    timings: {
      queuedMs: Math.max(0, (command.startedAtMs ?? endMs) - command.createdAtMs),
      runMs: command.startedAtMs === null ? null : Math.max(0, endMs - command.startedAtMs),
      totalMs: Math.max(0, endMs - command.createdAtMs),
    },
  }
}

const attemptRecord = (attempt: Attempt): AttemptRecord => ({
  attempt: attempt.number,
  state: attempt.state,
  agentId: attempt.agentId,
  offeredAt: instant(attempt.offeredAtMs),
  grantedAt: instantOrNull(attempt.grantedAtMs),
  finishedAt: instantOrNull(attempt.finishedAtMs),
  error: attempt.error,
})

/** How many attempts of each state an agent has. */
export type AgentLoad = { running: number; offered: number; lost: number }

export function agentRecord(agent: Agent, load: AgentLoad, nowMs: number): AgentRecord {
  return {
    agentId: agent.agentId,
    kind: agent.kind,
    online: isOnline(agent, nowMs),
    mode: agent.mode,
    version: agent.version,
    types: agent.types,
    labels: agent.labels,
    slots: agent.slots,
    engines: agent.engines,
    incarnation: agent.incarnation,
    lastSeenAt: instantOrNull(agent.lastSeenAtMs),
    leaseExpiresAt: instantOrNull(agent.renewedAtMs + agent.leaseMs),
    clockSkewMs: agent.clockSkewMs,
    ...load,
  }
}
