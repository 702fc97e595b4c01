/** The picture of `docs/command-lifecycle.md`, drawn by running `transition` instead of by hand. */
import type { Outcome } from '@agent-executor/protocol'
import { type Command, lastGrantedAttempt, newestAttempt, PHASES, type Phase, phaseOf } from './command.ts'
import { commandOf } from './submission.ts'
import { failure, type LifecycleEvent, type LifecyclePolicy, transition } from './transition.ts'

const POLICY: LifecyclePolicy = { offerMs: 1000, lostGraceMs: 1000, poisonAfter: 2 }
const FINALS: readonly Phase[] = ['COMPLETED', 'FAILED', 'CANCELLED']

const OUTCOMES: readonly Outcome[] = [
  { state: 'SUCCEEDED', result: null },
  { state: 'FAILED', error: failure('NETWORK_ERROR', '') },
  { state: 'INTERRUPTED', error: failure('INTERRUPTED', '') },
  { state: 'CANCELLED', error: failure('CANCELLED', '') },
]

/** Before every deadline, after that of an offer, after all of them. */
const TIMES_MS = [0, 2500, 1_000_000]

const eventsFor = (command: Command): LifecycleEvent[] => {
  const agentId = 'x'
  const number = newestAttempt(command)?.number ?? 0
  const attempt = lastGrantedAttempt(command)?.number ?? 0
  return TIMES_MS.flatMap((nowMs): LifecycleEvent[] => [
    { type: 'offer', nowMs, agentId },
    { type: 'grant', nowMs, agentId, incarnation: 1, leaseMs: 1000 },
    { type: 'regrant', nowMs, agentId, incarnation: 2, trustedSince: 0 },
    { type: 'regrant', nowMs, agentId, incarnation: 3, trustedSince: 3 },
    { type: 'return', nowMs, agentId },
    ...OUTCOMES.map(
      (outcome) => ({ type: 'finish', nowMs, agentId, attempt, outcome, outcomeSha256: '', random: 0.5 }) as const,
    ),
    { type: 'withdraw', nowMs, reason: '' },
    { type: 'lose', nowMs, reason: '' },
    { type: 'leaseOver', nowMs, random: 0.5 },
    { type: 'cancel', nowMs, reason: '' },
    { type: 'cancel', nowMs, reason: '', recovering: true },
    { type: 'tick', nowMs },
    { type: 'adopt', nowMs, agentId, attempt: number + 1, incarnation: 1, leaseMs: 1000 },
  ])
}

/** One command of each kind that takes another way: tried once or taken over, with deadlines or without. */
const submitted = (): Command[] =>
  [{}, { takeover: 'auto', retry: { maxAttempts: 2 } } as const].flatMap((retries) =>
    [{}, { totalTimeoutMs: 5000, expiresAt: new Date(4000).toISOString() }].map((deadlines) =>
      commandOf({ type: 'DELAY', payload: { ms: 1 }, timeoutMs: 1, ...retries, ...deadlines }, 'a', 0),
    ),
  )

/** What a client can read of it: a transition from a phase to itself is drawn where this changes. */
const visible = (command: Command): string =>
  JSON.stringify([command.cancel !== null, command.attempts.map(({ number, state }) => [number, state])])

/** What decides its further way, so that the search ends though attempt numbers do not. */
const kindOf = ({ spec, cancel, attempts, grantedCount, crashCount, availableAtMs }: Command): string =>
  JSON.stringify([
    spec.takeover,
    spec.totalTimeoutMs,
    cancel !== null,
    attempts.map(({ state }) => state),
    Math.min(grantedCount, spec.retry.maxAttempts),
    Math.min(crashCount, POLICY.poisonAfter),
    availableAtMs !== null,
  ])

/** A mermaid `stateDiagram-v2` of every phase a command can be in and the events that move it, sorted. */
export function lifecycleDiagram(): string {
  const edges = new Set<string>()
  const seen = new Set<string>()
  const open = submitted()
  for (let command = open.pop(); command !== undefined; command = open.pop())
    for (const event of eventsFor(command)) {
      const moved = transition(command, event, POLICY)
      if (!moved.ok) continue
      // As the store keeps them: the newest attempt and the newest that was granted.
      const kept = [lastGrantedAttempt(moved.command), newestAttempt(moved.command)]
      const after = { ...moved.command, attempts: moved.command.attempts.filter((attempt) => kept.includes(attempt)) }
      const [from, to] = [phaseOf(command), phaseOf(after)]
      if (from !== to || visible(command) !== visible(after)) edges.add(`${from} --> ${to}: ${event.type}`)
      if (!FINALS.includes(to) && !seen.has(kindOf(after))) open.push(after)
      seen.add(kindOf(after))
    }
  return [
    'stateDiagram-v2',
    '  [*] --> WAITING: submit',
    ...[...edges].sort(byPhase).map((edge) => `  ${edge}`),
    ...FINALS.map((phase) => `  ${phase} --> [*]`),
  ].join('\n')
}

const byPhase = (a: string, b: string): number => {
  const place = (edge: string): number => {
    const [from, , to] = edge.replace(':', '').split(' ')
    return PHASES.indexOf(from as Phase) * PHASES.length + PHASES.indexOf(to as Phase)
  }
  return place(a) - place(b) || (a < b ? -1 : 1)
}
