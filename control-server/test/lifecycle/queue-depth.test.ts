import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type { Change } from '../../src/lifecycle/agent.ts'
import type { Command } from '../../src/lifecycle/command.ts'
import { depthAfter } from '../../src/lifecycle/queue-depth.ts'
import { type LifecycleEvent, transition } from '../../src/lifecycle/transition.ts'
import { failure, finish, policy, waiting } from './builders.ts'

const EVENTS: LifecycleEvent[] = [
  { type: 'offer', nowMs: 100, agentId: 'x' },
  { type: 'withdraw', nowMs: 100, reason: 'notAccepted' },
  { type: 'grant', nowMs: 200, agentId: 'x', incarnation: 1, leaseMs: 30_000 },
  { type: 'lose', nowMs: 300, reason: 'absent' },
  { type: 'leaseOver', nowMs: 400, random: 0 },
  { type: 'return', nowMs: 400, agentId: 'x' },
  { type: 'cancel', nowMs: 400, reason: 'no more needed' },
  { type: 'tick', nowMs: 100_000 },
  ...[1, 2, 3].flatMap((attempt) => [
    finish({ attempt }),
    finish({ attempt, outcome: failure('NETWORK_ERROR', true), random: 0 }),
  ]),
]

t.test('whatever happens to commands, the depth is the number of those that are PENDING', async (t) => {
  const reached = new Set<string>()
  const step = fc.record({ who: fc.nat(3), event: fc.constantFrom(...EVENTS) })
  const property = fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
    const commands = new Map<number, Command>()
    let depth = 0
    for (const { who, event } of steps) {
      const known = commands.get(who)
      const submitted = waiting(`a${who}`, { maxAttempts: 3, takeover: 'auto' })
      const moved: Change | { ok: false } =
        known === undefined
          ? {
              command: submitted,
              entry: { type: 'submitted', from: null, to: 'WAITING', attempt: null, agentId: null },
            }
          : transition(known, event, policy)
      if (!('command' in moved)) continue
      commands.set(who, moved.command)
      depth = depthAfter(depth, [moved])
      reached.add(moved.entry.to)
      assert.equal(depth, [...commands.values()].filter(({ status }) => status === 'PENDING').length)
    }
  })
  fc.assert(property, { numRuns: 3000 })
  t.equal(reached.size, 7, 'every phase was reached')
})
