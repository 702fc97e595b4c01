/** The picture of `docs/command-lifecycle.md`, drawn by running `transition` instead of by hand. */
import type { Outcome } from '@agent-executor/protocol'
import { type Command, PHASES, type Phase, phaseOf } from './command.ts'
import { commandOf } from './submission.ts'
import { failure, type LifecycleEvent, type LifecyclePolicy, transition } from './transition.ts'

const POLICY: LifecyclePolicy = { offerMs: 1000, lostGraceMs: 1000, poisonAfter: 3 }
const FAR_MS = 1_000_000
const FINALS: readonly Phase[] = ['COMPLETED', 'FAILED', 'CANCELLED']

const OUTCOMES: readonly Outcome[] = [
  { state: 'SUCCEEDED', result: null },
  { state: 'FAILED', error: failure('NETWORK_ERROR', '') },
  { state: 'INTERRUPTED', error: failure('INTERRUPTED', '') },
  { state: 'CANCELLED', error: failure('CANCELLED', '') },
]

const EVENTS: readonly LifecycleEvent[] = [0, 2500, FAR_MS].flatMap((nowMs): LifecycleEvent[] => [
  { type: 'offer', nowMs, agentId: 'x' },
  { type: 'grant', nowMs, agentId: 'x', incarnation: 1, leaseMs: 1000 },
  { type: 'regrant', nowMs, agentId: 'x', incarnation: 2, trustedSince: 0 },
  { type: 'regrant', nowMs, agentId: 'x', incarnation: 2, trustedSince: 2 },
  { type: 'return', nowMs, agentId: 'x' },
  ...OUTCOMES.flatMap((outcome) =>
    [1, 2].map(
      (attempt) => ({ type: 'finish', nowMs, agentId: 'x', attempt, outcome, outcomeSha256: '', random: 0.5 }) as const,
    ),
  ),
  { type: 'withdraw', nowMs, reason: '' },
  { type: 'lose', nowMs, reason: '' },
  { type: 'leaseOver', nowMs, random: 0.5 },
  { type: 'cancel', nowMs, reason: '' },
  { type: 'tick', nowMs },
  { type: 'adopt', nowMs, agentId: 'x', attempt: 3, incarnation: 1, leaseMs: 1000, granted: true },
  { type: 'adopt', nowMs, agentId: 'x', attempt: 3, incarnation: 1, leaseMs: 1000, granted: false },
])

/** One command of each kind that takes another way: once or retried, taken over or not, with deadlines or without. */
const submitted = (): Command[] =>
  (['manual', 'auto'] as const).flatMap((takeover) =>
    [{}, { totalTimeoutMs: 5000, expiresAt: new Date(4000).toISOString() }].map((deadlines) =>
      commandOf(
        { type: 'DELAY', payload: { ms: 1 }, timeoutMs: 1, takeover, retry: { maxAttempts: takeover === 'auto' ? 3 : 1 }, ...deadlines },
        'a',
        0,
      ),
    ),
  )

/** What a client can read: a transition from a phase to itself is drawn where this changes. */
const visible = (command: Command): string =>
  JSON.stringify([command.cancel !== null, command.attempts.map(({ number, state }) => [number, state])])

/** A mermaid `stateDiagram-v2` of every phase a command can be in and the events that move it, sorted. */
export function lifecycleDiagram(): string {
  const edges = new Set<string>()
  const seen = new Set<string>()
  const open = submitted()
  for (let command = open.pop(); command !== undefined; command = open.pop())
    for (const event of EVENTS) {
      const moved = transition(command, event, POLICY)
      if (!moved.ok) continue
      const [from, to] = [phaseOf(command), phaseOf(moved.command)]
      if (from !== to || visible(command) !== visible(moved.command)) edges.add(`${from} --> ${to}: ${event.type}`)
      const { takeover, totalTimeoutMs } = moved.command.spec
      const kind = JSON.stringify([takeover, totalTimeoutMs, to, visible(moved.command), moved.command.availableAtMs === null])
      if (!FINALS.includes(to) && !seen.has(kind)) open.push(moved.command)
      seen.add(kind)
    }
  return [
    'stateDiagram-v2',
    '  [*] --> WAITING: submit',
    ...[...edges].sort(byPhase).map((edge) => `  ${edge}`),
    ...FINALS.map((phase) => `  ${phase} --> [*]`),
  ].join('\n')
}

const byPhase = (a: string, b: string): number => {
  const key = (edge: string) => {
    const [from = '', , to = '', event = ''] = edge.replace(':', '').split(' ')
    return [PHASES.indexOf(from as Phase), PHASES.indexOf(to as Phase), event] as const
  }
  const [fromA, toA, eventA] = key(a)
  const [fromB, toB, eventB] = key(b)
  return fromA - fromB || toA - toB || (eventA < eventB ? -1 : 1)
}
