/**
 * Commands, agents and turns for the tests of the lifecycle. A command in a phase is made by running `transition`, never
 * written down, so that no test starts from a state that cannot exist. Times count from 0: created at 0, offered at 100,
 * granted at 200, lost at 300.
 */

import { createHash } from 'node:crypto'
import type { CommandError, HeldAttempt, Offer, Outcome, RegisterRequest, SyncRequest } from '@agent-executor/protocol'
import type { Agent, Change, Turn } from '../../src/lifecycle/agent.ts'
import {
  type Attempt,
  type Command,
  type CommandSpec,
  lastGrantedAttempt,
  newestAttempt,
} from '../../src/lifecycle/command.ts'
import { serverLeaseMs } from '../../src/lifecycle/lease-policy.ts'
import { commandOf, commandOfOffer } from '../../src/lifecycle/submission.ts'
import type { SyncContext } from '../../src/lifecycle/sync.ts'
import { type LifecycleEvent, type LifecyclePolicy, transition } from '../../src/lifecycle/transition.ts'

export const policy: LifecyclePolicy = { offerMs: 30_000, lostGraceMs: 1_800_000, poisonAfter: 3 }
export const LEASE_MS = 30_000

export type CommandOptions = Partial<Omit<CommandSpec, 'retry'>> & {
  type?: Command['type']
  priority?: number
  createdAtMs?: number
  /** Of the retry policy. */
  maxAttempts?: number
  backoff?: CommandSpec['retry']['backoff']
  retryOn?: string[] | null
}
export type AttemptOptions = CommandOptions & {
  agentId?: string
  incarnation?: number
  offeredAtMs?: number
  grantedAtMs?: number
  lostAtMs?: number
}

/** What the store gives back of a command: the newest attempt and the newest that was granted. */
export const stored = (command: Command): Command => {
  const kept = new Set([newestAttempt(command)?.number, lastGrantedAttempt(command)?.number])
  return { ...command, attempts: command.attempts.filter(({ number }) => kept.has(number)) }
}

/** The command after the events; throws where one is refused. */
export const after = (command: Command, ...events: LifecycleEvent[]): Command =>
  events.reduce((before, event) => {
    const moved = transition(frozen(before), event, policy)
    if (!moved.ok) throw new Error(`${event.type} was refused: ${moved.reason}`)
    return stored(moved.command)
  }, command)

export function waiting(commandId: string, options: CommandOptions = {}): Command {
  const { type = 'DELAY', priority = 0, createdAtMs = 0, maxAttempts = 1, backoff, retryOn = null, ...spec } = options
  const blank =
    type === 'DELAY'
      ? commandOf({ type, payload: { ms: 1000 } }, commandId, createdAtMs)
      : type === 'RUN_AGENT'
        ? commandOf({ type, payload: { engine: 'shell', prompt: 'true' } }, commandId, createdAtMs)
        : commandOf({ type, payload: { url: 'http://example.test/' } }, commandId, createdAtMs)
  const notBeforeMs = spec.notBeforeMs ?? null
  return {
    ...blank,
    priority,
    availableAtMs: notBeforeMs !== null && notBeforeMs > createdAtMs ? notBeforeMs : null,
    spec: {
      ...blank.spec,
      ...spec,
      retry: { maxAttempts, backoff: backoff ?? { initialMs: 1000, maxMs: 60_000, factor: 2 }, retryOn },
    },
  }
}

export function offered(commandId: string, options: AttemptOptions = {}): Command {
  const { agentId = 'x', incarnation: _i, offeredAtMs = 100, grantedAtMs: _g, lostAtMs: _l, ...rest } = options
  return after(waiting(commandId, rest), { type: 'offer', nowMs: offeredAtMs, agentId })
}

export function running(commandId: string, options: AttemptOptions = {}): Command {
  const { agentId = 'x', incarnation = 1, grantedAtMs = 200 } = options
  const leaseMs = serverLeaseMs(LEASE_MS)
  return after(offered(commandId, options), { type: 'grant', nowMs: grantedAtMs, agentId, incarnation, leaseMs })
}

export const lost = (commandId: string, options: AttemptOptions = {}): Command =>
  after(running(commandId, options), { type: 'lose', nowMs: options.lostAtMs ?? 300, reason: 'absent' })

export const completed = (commandId: string, options: AttemptOptions = {}): Command =>
  after(running(commandId, options), finish({ agentId: options.agentId ?? 'x' }))

export const failed = (commandId: string, options: AttemptOptions = {}): Command =>
  after(running(commandId, options), finish({ agentId: options.agentId ?? 'x', outcome: failure('HTTP_ERROR') }))

export const cancelled = (commandId: string, options: AttemptOptions = {}): Command =>
  after(offered(commandId, options), { type: 'cancel', nowMs: 300, reason: 'no more needed' })

/** Attempt 1 of a takeover-able command was taken over from agent x; the next one waits for `backoffMs`, 0 by default. */
export const takenOver = (commandId: string, options: AttemptOptions & { random?: number } = {}): Command => {
  const { random = 0, ...rest } = options
  const command = running(commandId, { takeover: 'auto', maxAttempts: 2, ...rest })
  return after(command, { type: 'leaseOver', nowMs: 50_000, random })
}

export const failure = (code: string, retryable = false): Outcome => ({
  state: 'FAILED',
  error: { code, message: `It was a ${code}.`, retryable } satisfies CommandError,
})
export const interrupted: Outcome = {
  state: 'INTERRUPTED',
  error: { code: 'INTERRUPTED', message: 'It may have run.', retryable: true },
}
export const succeeded = (result: Outcome['result'] = { ok: true }): Outcome => ({
  state: 'SUCCEEDED',
  ...(result === undefined ? {} : { result }),
})
export const hashOf = (outcome: Outcome): string => createHash('sha256').update(JSON.stringify(outcome)).digest('hex')

export type FinishEvent = Extract<LifecycleEvent, { type: 'finish' }>
export const finish = (change: Partial<FinishEvent> = {}): FinishEvent => {
  const outcome = change.outcome ?? succeeded()
  const outcomeSha256 = hashOf(outcome)
  return { type: 'finish', nowMs: 400, agentId: 'x', attempt: 1, outcomeSha256, random: 0.5, ...change, outcome }
}

export const agent = (agentId: string, change: Partial<Agent> = {}): Agent => ({
  agentId,
  kind: 'sync',
  journalId: `journal-of-${agentId}`,
  nonce: `nonce-1-of-${agentId}`,
  incarnation: 1,
  trustedSince: 0,
  logSeq: 0,
  seq: 0,
  epoch: 'epoch-one',
  inventoried: true,
  renewedAtMs: 0,
  lastSeenAtMs: 0,
  leaseMs: LEASE_MS,
  mode: 'ready',
  version: '0.1.0',
  types: ['DELAY', 'HTTP_GET_JSON'],
  labels: [],
  slots: { DELAY: 10, HTTP_GET_JSON: 10 },
  engines: {},
  clockSkewMs: null,
  ...change,
})

export const simpleAgent = (agentId: string, change: Partial<Agent> = {}): Agent =>
  agent(agentId, { kind: 'simple', journalId: null, nonce: null, version: null, slots: {}, ...change })

/** `owned` and `asked` together are what can be asked for by id. */
export const turn = (change: {
  agent?: Agent | null
  rev?: number
  epoch?: string
  recovering?: readonly string[] | null
  owned?: readonly Command[]
  asked?: readonly Command[]
  ready?: readonly Command[]
}): Turn => {
  const owned = change.owned ?? []
  return frozen({
    server: { epoch: change.epoch ?? 'epoch-one', rev: change.rev ?? 100, recovering: change.recovering ?? null },
    agent: change.agent === undefined ? agent('x') : change.agent,
    owned,
    asked: new Map([...owned, ...(change.asked ?? [])].map((command) => [command.commandId, command])),
    ready: change.ready ?? [],
  })
}

export const heldAccepted = (attemptId: string): HeldAttempt => ({ attemptId, phase: 'accepted' })
export const heldRunning = (attemptId: string): HeldAttempt => ({ attemptId, phase: 'running' })
export const heldFinished = (attemptId: string, outcome: Outcome = succeeded()): HeldAttempt => ({
  attemptId,
  phase: outcome.state === 'INTERRUPTED' ? 'interrupted' : 'finished',
  outcome,
  outcomeSha256: hashOf(outcome),
})
/** The request was full: the outcome comes with the next one. */
export const heldUntold = (attemptId: string): HeldAttempt => ({ attemptId, phase: 'finished' })
/** As an agent shows it to a server that was restored: with the offer. */
export const withOffer = (held: HeldAttempt, change: Partial<Offer> = {}): HeldAttempt => {
  const dot = held.attemptId.lastIndexOf('.')
  const offer: Offer = {
    attemptId: held.attemptId,
    commandId: held.attemptId.slice(0, dot),
    attempt: Number(held.attemptId.slice(dot + 1)),
    type: 'DELAY',
    payload: { ms: 1000 },
    timeoutMs: 61_000,
    takeover: 'manual',
    resultBytesMax: 1_048_576,
    createdAtMs: 0,
    ...change,
  }
  return { ...held, offer }
}

export const syncRequest = (change: Partial<SyncRequest> = {}): SyncRequest => ({
  incarnation: 1,
  seq: 1,
  epoch: 'epoch-one',
  revSeen: 0,
  logSeq: 0,
  mode: 'ready',
  want: {},
  held: [],
  ...change,
})

export const syncContext = (change: Partial<SyncContext> = {}): SyncContext => ({
  agentId: 'x',
  nowMs: 1000,
  random: () => 0.5,
  policy,
  limits: { leaseMs: LEASE_MS, syncMs: 10_000, cancelGraceMs: 5000, resultBytesMax: 1_048_576 },
  newEpoch: 'epoch-two',
  adoptCommand: commandOfOffer,
  ...change,
})

export const registerRequest = (change: Partial<RegisterRequest> = {}): RegisterRequest => ({
  agentId: 'x',
  journalId: 'journal-of-x',
  nonce: 'nonce-2-of-x',
  previousNonces: [],
  previousIncarnation: 1,
  logSeq: 0,
  protocol: { min: 1, max: 1 },
  version: '0.1.0',
  types: ['DELAY', 'HTTP_GET_JSON'],
  labels: [],
  slots: { DELAY: 10, HTTP_GET_JSON: 10 },
  ...change,
})

/** The command as the turn leaves it, or as it was. */
export const afterTurn = (decision: { changes: readonly Change[] }, before: Command): Command =>
  stored(decision.changes.findLast(({ command }) => command.commandId === before.commandId)?.command ?? before)

export const entriesOf = (decision: { changes: readonly Change[] }): string[] =>
  decision.changes.map(({ entry }) => entry.type)

export const stateOf = (
  command: Command,
): { status: Command['status']; attempts: [number, Attempt['state'], string][] } => ({
  status: command.status,
  attempts: command.attempts.map(({ number, state, agentId }) => [number, state, agentId]),
})

/** Frozen all the way down: whoever changes its input instead of answering a new value throws. */
export const frozen = <Value>(value: Value): Value => {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const each of value instanceof Map ? value.values() : Object.values(value)) frozen(each)
  }
  return value
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export const seededRandom = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
