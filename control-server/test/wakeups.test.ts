import t from 'tap'
import type { Agent, Change } from '../src/lifecycle/agent.ts'
import type { Command } from '../src/lifecycle/command.ts'
import { type LifecycleEvent, transition } from '../src/lifecycle/transition.ts'
import { createWakeups, type Wakeups } from '../src/wakeups.ts'
import { agent, type CommandOptions, offered, policy, running, waiting } from './lifecycle/builders.ts'

const LONG_MS = 60_000
const signal = new AbortController().signal

const submitted = (commandId: string, options: CommandOptions = {}): Change => ({
  command: waiting(commandId, options),
  entry: { type: 'submitted', from: null, to: 'WAITING', attempt: null, agentId: null },
})
const changeOf = (command: Command, event: LifecycleEvent): Change => {
  const moved = transition(command, event, policy)
  if (!moved.ok) throw new Error(moved.reason)
  return moved
}

/** The agent has synced, has room for `want`, and waits; answers what the wait has told so far. */
const idle = (
  wakeups: Wakeups,
  agentId: string,
  want: Record<string, number> = { DELAY: 1 },
  change: Partial<Agent> = {},
) => {
  wakeups.syncing(agentId)
  wakeups.synced(agent(agentId, change), want)
  return waits(wakeups, agentId)
}
const waits = (wakeups: Wakeups, agentId: string, abort = signal) => {
  const waiting: { told: boolean | null; over: Promise<boolean> } = { told: null, over: Promise.resolve(false) }
  waiting.over = wakeups.wait(agentId, LONG_MS, abort).then((told) => {
    waiting.told = told
    return told
  })
  return waiting
}
/** Every promise that was resolved has told so. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve))

t.test('a new command wakes one waiting agent, and equal agents take turns', async (t) => {
  const wakeups = createWakeups()
  const agents = ['x', 'y', 'z'].map((agentId) => idle(wakeups, agentId, { DELAY: 5 }))
  for (const count of [1, 2, 3]) {
    wakeups.changed([submitted(`a${count}`)])
    await settled()
    t.equal(agents.filter(({ told }) => told === true).length, count)
  }
  wakeups.close()
})

t.test('as many agents are woken as there are new commands', async (t) => {
  const wakeups = createWakeups()
  const agents = ['x', 'y', 'z'].map((agentId) => idle(wakeups, agentId))
  wakeups.changed([submitted('a'), submitted('b')])
  await settled()
  t.same(
    agents.map(({ told }) => told),
    [true, true, null],
  )
  wakeups.close()
})

t.test('only an agent that may take it is woken: type, labels, pin and a free slot decide', async (t) => {
  const cases: [string, CommandOptions, Record<string, number>, Partial<Agent>, boolean][] = [
    ['has all it needs', {}, { DELAY: 1 }, {}, true],
    ['has no slot for the type', { type: 'HTTP_GET_JSON' }, { DELAY: 1 }, {}, false],
    ['does not know the type', {}, { DELAY: 1 }, { types: ['HTTP_GET_JSON'] }, false],
    ['has no free slot', {}, { DELAY: 0 }, {}, false],
    ['lacks a label', { labels: ['gpu', 'eu'] }, { DELAY: 1 }, { labels: ['gpu'] }, false],
    ['has the labels', { labels: ['gpu', 'eu'] }, { DELAY: 1 }, { labels: ['eu', 'gpu', 'big'] }, true],
    ['is not the one it is pinned to', { pinnedTo: 'y' }, { DELAY: 1 }, {}, false],
    ['is the one it is pinned to', { pinnedTo: 'x' }, { DELAY: 1 }, {}, true],
  ]
  for (const [what, options, want, change, woken] of cases) {
    const wakeups = createWakeups()
    const x = idle(wakeups, 'x', want, change)
    wakeups.changed([submitted('a', options)])
    await settled()
    t.equal(x.told, woken ? true : null, what)
    wakeups.close()
  }
})

t.test('a wake-up takes the slot, so that a second command goes to the next agent', async (t) => {
  const wakeups = createWakeups()
  const x = idle(wakeups, 'x')
  wakeups.changed([submitted('a')])
  t.equal(await x.over, true)
  const y = idle(wakeups, 'y')
  wakeups.changed([submitted('b')])
  t.equal(await y.over, true)
  wakeups.close()
})

t.test('nothing is woken by a command whose time has not come, or that somebody has', async (t) => {
  const wakeups = createWakeups()
  const x = idle(wakeups, 'x')
  wakeups.changed([submitted('a', { notBeforeMs: 5000 })])
  wakeups.changed([changeOf(waiting('b'), { type: 'offer', nowMs: 0, agentId: 'y' })])
  wakeups.changed([changeOf(running('c'), { type: 'lose', nowMs: 1, reason: 'absent' })])
  await settled()
  t.equal(x.told, null)
  wakeups.changed([changeOf(offered('d'), { type: 'withdraw', nowMs: 200, reason: 'notAccepted' })])
  t.equal(await x.over, true, 'an offer that went back is ready again')
  wakeups.close()
})

t.test('a change between sync and wait is not missed', async (t) => {
  const wakeups = createWakeups()
  wakeups.syncing('x')
  wakeups.synced(agent('x'), { DELAY: 1 })
  wakeups.changed([submitted('a')])
  t.equal(await waits(wakeups, 'x').over, true)
  t.equal(await waits(wakeups, 'x').over, true, 'until a sync has told it')
  wakeups.syncing('x')
  wakeups.synced(agent('x'), { DELAY: 1 })
  const x = waits(wakeups, 'x')
  await settled()
  t.equal(x.told, null)
  wakeups.close()
})

t.test('a change while the sync is under way is not missed, though what it leaves free is not known yet', async (t) => {
  const wakeups = createWakeups()
  wakeups.syncing('new')
  wakeups.changed([submitted('a')])
  wakeups.synced(agent('new'), { DELAY: 1 })
  t.equal(await waits(wakeups, 'new').over, true, 'its first sync')

  await idle(wakeups, 'full', { DELAY: 0 })
  wakeups.syncing('full')
  wakeups.changed([submitted('b')])
  wakeups.synced(agent('full'), { DELAY: 1 })
  t.equal(await waits(wakeups, 'full').over, true, 'it had no free slot before')
  wakeups.close()
})

t.test('a sync that is refused takes no wake-up away', async (t) => {
  const wakeups = createWakeups()
  wakeups.syncing('x')
  wakeups.synced(agent('x'), { DELAY: 1 })
  wakeups.changed([submitted('a')])
  wakeups.syncing('x')
  t.equal(await waits(wakeups, 'x').over, true, 'a late one of before, which nobody answers')
  wakeups.close()
})

t.test('cancel wakes the agent that runs it, with or without free slots, also while it syncs', async (t) => {
  const wakeups = createWakeups()
  const wish = changeOf(running('a', { agentId: 'y' }), { type: 'cancel', nowMs: 300, reason: 'no more needed' })
  const x = idle(wakeups, 'x', { DELAY: 5 })
  const y = idle(wakeups, 'y', {})
  wakeups.changed([wish])
  t.equal(await y.over, true)
  t.equal(x.told, null)
  idle(wakeups, 'y', {})
  wakeups.syncing('y')
  wakeups.changed([wish])
  wakeups.synced(agent('y'), {})
  t.equal(await waits(wakeups, 'y').over, true)
  wakeups.changed([changeOf(running('b', { agentId: 'stranger' }), { type: 'cancel', nowMs: 300, reason: '' })])
  wakeups.close()
})

t.test('a second wait of the same agent lets the first go', async (t) => {
  const wakeups = createWakeups()
  const first = idle(wakeups, 'x')
  const second = waits(wakeups, 'x')
  t.equal(await first.over, false)
  wakeups.changed([submitted('a')])
  t.equal(await second.over, true)
  wakeups.close()
})

t.test('a wait ends with false after its time, and when its connection is gone', async (t) => {
  const wakeups = createWakeups()
  t.equal(await wakeups.wait('x', 1, signal), false)
  const gone = new AbortController()
  const x = waits(wakeups, 'x', gone.signal)
  gone.abort()
  t.equal(await x.over, false)
  t.equal(await wakeups.wait('x', LONG_MS, AbortSignal.abort()), false)
  const y = idle(wakeups, 'y')
  wakeups.changed([submitted('a')])
  t.equal(await y.over, true, 'who does not wait any more takes no wake-up from those who do')
})

t.test('close lets all go, and nobody waits after it', async (t) => {
  const wakeups = createWakeups()
  const agents = [idle(wakeups, 'x'), idle(wakeups, 'y')]
  wakeups.close()
  t.same(await Promise.all(agents.map(({ over }) => over)), [false, false])
  t.equal(await wakeups.wait('x', LONG_MS, signal), false)
})
