import t, { type Test } from 'tap'
import type { Change, ServerState } from '../src/lifecycle/agent.ts'
import type { Command } from '../src/lifecycle/command.ts'
import { dueAtMs } from '../src/lifecycle/transition.ts'
import { createSweeper } from '../src/maintenance/sweeper.ts'
import type { Store } from '../src/store/store.ts'
import { after, failure, finish, lost, offered, policy, running, waiting } from './lifecycle/builders.ts'

/** A store that knows some commands and remembers what it was asked; one that is due is due until it is not. */
const fakeStore = (commands: Command[], leasesOver: Command[] = []) => {
  const calls: string[] = []
  const changes: Change[] = []
  const failing: { error: Error | null } = { error: null }
  let recovering: ServerState['recovering'] = null
  let heard = () => {}
  const sweep =
    (name: string, list: () => Command[], at: Command[]) =>
    async (_nowMs: number, limit: number, decide: (command: Command) => Change | null) => {
      calls.push(name)
      if (failing.error !== null) throw failing.error
      const found = list().slice(0, limit)
      for (const command of found) {
        const change = decide(command)
        at.splice(at.indexOf(command), 1, ...(change === null || at === leasesOver ? [] : [change.command]))
        if (change !== null) changes.push(change)
      }
      return found.length
    }
  let nowMs = 0
  const due = (command: Command) => dueAtMs(command, policy) ?? Number.POSITIVE_INFINITY
  const store = {
    serverState: async () => ({ epoch: 'epoch-one', rev: 1, recovering }),
    sweepLeases: sweep('leases', () => leasesOver, leasesOver),
    sweepDue: sweep('due', () => commands.filter((command) => due(command) <= nowMs), commands),
    pruneKeys: async (beforeMs: number) => {
      calls.push(`keys before ${beforeMs}`)
      return 0
    },
    nextDueAtMs: async () => {
      heard()
      const next = Math.min(...commands.map(due))
      return Number.isFinite(next) ? next : null
    },
  } satisfies Partial<Store> as unknown as Store
  return {
    ...{ store, calls, changes, failing },
    clock: {
      set: (ms: number) => {
        nowMs = ms
      },
      nowMs: () => nowMs,
    },
    recover: (list: ServerState['recovering']) => {
      recovering = list
    },
    /** Resolves when a pass has come to its end. */
    passed: () =>
      new Promise<void>((resolve) => {
        heard = resolve
      }),
  }
}

const sweeperOf = (fake: ReturnType<typeof fakeStore>, change: { sweepMs?: number; random?: () => number } = {}) => {
  const errors: unknown[] = []
  const failed: { next: () => void } = { next: () => {} }
  const sweeper = createSweeper({
    store: fake.store,
    policy,
    nowMs: fake.clock.nowMs,
    random: change.random ?? (() => 0.5),
    sweepMs: change.sweepMs ?? 1000,
    idempotencyMs: 86_400_000,
    onError: (error) => {
      errors.push(error)
      failed.next()
    },
  })
  return { sweeper, errors, failed: () => new Promise<void>((resolve) => Object.assign(failed, { next: resolve })) }
}

/** The sweeper's own timer does not keep a process alive. */
const keepAlive = (t: Test) => {
  const timer = setInterval(() => {}, 60_000)
  t.teardown(() => clearInterval(timer))
}

t.test('one pass ends what is over, moves what is due, forgets old keys, and leaves the rest alone', async (t) => {
  const fake = fakeStore(
    [
      waiting('a', { expiresAtMs: 40_000 }),
      offered('b', { offeredAtMs: 15_000 }),
      lost('c', { lostAfterMs: 1000 }),
      waiting('d'),
    ],
    [running('e'), running('f', { takeover: 'auto', maxAttempts: 2 })],
  )
  fake.clock.set(45_000)
  await sweeperOf(fake).sweeper.sweep()
  t.same(
    fake.changes.map(({ command, entry }) => [command.commandId, entry.type]),
    [
      ['e', 'lost'],
      ['f', 'takenOver'],
      ['a', 'expired'],
      ['b', 'withdrawn'],
      ['c', 'givenUp'],
    ],
  )
  t.same(fake.calls, ['leases', 'due', `keys before ${45_000 - 86_400_000}`])
})

t.test('it says when to look again: when the next command is due, sweepMs later at most', async (t) => {
  const fake = fakeStore([waiting('a', { notBeforeMs: 10_400 })])
  fake.clock.set(10_000)
  t.equal(await sweeperOf(fake).sweeper.sweep(), 10_400)
  t.equal(await sweeperOf(fake, { sweepMs: 100 }).sweeper.sweep(), 10_100)
  t.equal(await sweeperOf(fakeStore([])).sweeper.sweep(), 1000, 'also where nothing waits for a time')
})

t.test('every command that is taken over draws its own backoff', async (t) => {
  const options = {
    takeover: 'auto',
    maxAttempts: 2,
    backoff: { initialMs: 10_000, maxMs: 10_000, factor: 1 },
  } as const
  const fake = fakeStore([], [running('a', options), running('b', options), running('c', options)])
  const draws = [0.1, 0.5, 0.9]
  await sweeperOf(fake, { random: () => draws.shift() ?? 0 }).sweeper.sweep()
  t.same(
    fake.changes.map(({ command }) => command.availableAtMs),
    [1000, 5000, 9000],
    'or all that one machine held would come back in the same instant',
  )
})

t.test('nothing is decided before the journals are in, where the server was restored from a backup', async (t) => {
  const fake = fakeStore([lost('a', { lostAfterMs: 0 }), waiting('b', { expiresAtMs: 10 })], [running('c')])
  fake.clock.set(1_000_000)
  fake.recover(['x'])
  const { sweeper } = sweeperOf(fake)
  t.equal(await sweeper.sweep(), 1_001_000)
  t.same(fake.calls, [])
  fake.recover(null)
  await sweeper.sweep()
  t.same(
    fake.changes.map(({ entry }) => entry.type),
    ['lost', 'givenUp', 'expired'],
  )
})

t.test('between two batches others get a turn', async (t) => {
  const commands = Array.from({ length: 250 }, (_, index) => waiting(`a${index}`, { expiresAtMs: 10 }))
  const fake = fakeStore(commands)
  fake.clock.set(20)
  let doneAtTurn = -1
  setImmediate(() => {
    doneAtTurn = fake.changes.length
  })
  await sweeperOf(fake).sweeper.sweep()
  t.equal(fake.changes.length, 250)
  t.ok(doneAtTurn > 0 && doneAtTurn < 250, `somebody else came after ${doneAtTurn}`)
})

t.test('it looks by itself, from the start on, and as soon as a change brings something earlier', async (t) => {
  keepAlive(t)
  const commands = [waiting('a', { expiresAtMs: 10 })]
  const fake = fakeStore(commands)
  fake.clock.set(20)
  const { sweeper } = sweeperOf(fake, { sweepMs: 3_600_000 })
  const first = fake.passed()
  sweeper.start()
  await first
  t.equal(fake.changes.length, 1)
  await new Promise((resolve) => setImmediate(resolve))

  const second = fake.passed()
  const command = waiting('b', { expiresAtMs: 15 })
  commands.push(command)
  const submitted: Change = {
    command,
    entry: { type: 'submitted', from: null, to: 'WAITING', attempt: null, agentId: null },
  }
  sweeper.changed([])
  sweeper.changed([submitted])
  await second
  t.equal(fake.changes.length, 2, 'without waiting for the hour')
  await sweeper.stop()
})

t.test('an error is told and does not end it', async (t) => {
  keepAlive(t)
  const commands = [waiting('a', { expiresAtMs: 10 })]
  const fake = fakeStore(commands)
  fake.clock.set(20)
  fake.failing.error = new Error('the database did not answer')
  const { sweeper, errors, failed } = sweeperOf(fake, { sweepMs: 1 })
  const told = failed()
  sweeper.start()
  await told
  t.same(errors, [fake.failing.error])
  const passed = fake.passed()
  fake.failing.error = null
  await passed
  t.equal(fake.changes.length, 1)
  await sweeper.stop()
})

t.test('stop waits for the pass that is under way, and after it nothing is asked any more', async (t) => {
  keepAlive(t)
  const fake = fakeStore(Array.from({ length: 250 }, (_, index) => waiting(`a${index}`, { expiresAtMs: 10 })))
  fake.clock.set(20)
  const { sweeper } = sweeperOf(fake, { sweepMs: 1 })
  sweeper.start()
  await new Promise((resolve) => setTimeout(resolve, 1))
  await sweeper.stop()
  const { length } = fake.calls
  sweeper.changed([
    {
      command: waiting('b', { expiresAtMs: 1 }),
      entry: { type: 'submitted', from: null, to: 'WAITING', attempt: null, agentId: null },
    },
  ])
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(fake.calls.length, length)
})

t.test('a retry is made ready when its backoff is over', async (t) => {
  const options = { maxAttempts: 2, backoff: { initialMs: 1000, maxMs: 1000, factor: 1 } }
  const retrying = after(running('a', options), finish({ outcome: failure('NETWORK_ERROR', true), random: 0.5 }))
  const fake = fakeStore([retrying])
  const { sweeper } = sweeperOf(fake)
  fake.clock.set(899)
  t.equal(await sweeper.sweep(), 900)
  t.equal(fake.changes.length, 0)
  fake.clock.set(900)
  await sweeper.sweep()
  t.match(fake.changes, [{ entry: { type: 'ready' }, command: { availableAtMs: null } }])
})
