import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type { Agent, Change } from '../src/lifecycle/agent.ts'
import type { Command } from '../src/lifecycle/command.ts'
import { laneOf, mayTake, parseLane } from '../src/lifecycle/matching.ts'
import { type LifecycleEvent, transition } from '../src/lifecycle/transition.ts'
import { createWakeups, type Wakeups } from '../src/wakeups.ts'
import { agent, type CommandOptions, offered, policy, running, waiting } from './lifecycle/builders.ts'

const LONG_MS = 60_000

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
  wakeups.synced(agent(agentId, change), want, wakeups.syncing(agentId))
  return waits(wakeups, agentId)
}
const waits = (wakeups: Wakeups, agentId: string) => {
  const { changed, leave } = wakeups.wait(agentId, LONG_MS)
  const waiting = { told: null as boolean | null, over: changed, leave }
  void changed.then((told) => {
    waiting.told = told
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
  wakeups.synced(agent('x'), { DELAY: 1 }, wakeups.syncing('x'))
  wakeups.changed([submitted('a')])
  t.equal(await waits(wakeups, 'x').over, true)
  t.equal(await waits(wakeups, 'x').over, true, 'until a sync has told it')
  wakeups.synced(agent('x'), { DELAY: 1 }, wakeups.syncing('x'))
  const x = waits(wakeups, 'x')
  await settled()
  t.equal(x.told, null)
  wakeups.close()
})

t.test('a change while the sync is under way is not missed, though what it leaves free is not known yet', async (t) => {
  const wakeups = createWakeups()
  const first = wakeups.syncing('new')
  wakeups.changed([submitted('a')])
  wakeups.synced(agent('new'), { DELAY: 1 }, first)
  t.equal(await waits(wakeups, 'new').over, true, 'its first sync')

  idle(wakeups, 'full', { DELAY: 0 })
  const second = wakeups.syncing('full')
  wakeups.changed([submitted('b')])
  wakeups.synced(agent('full'), { DELAY: 1 }, second)
  t.equal(await waits(wakeups, 'full').over, true, 'it had no free slot before')
  wakeups.close()
})

t.test('a sync that is refused takes no wake-up away', async (t) => {
  const wakeups = createWakeups()
  wakeups.synced(agent('x'), { DELAY: 1 }, wakeups.syncing('x'))
  wakeups.changed([submitted('a')])
  wakeups.syncing('x')
  const x = waits(wakeups, 'x')
  wakeups.refused('x')
  t.equal(await x.over, true)
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
  const begunAt = wakeups.syncing('y')
  wakeups.changed([wish])
  wakeups.synced(agent('y'), {}, begunAt)
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
  t.equal(await wakeups.wait('x', 1).changed, false)
  const x = idle(wakeups, 'x')
  x.leave()
  t.equal(await x.over, false)
  const y = idle(wakeups, 'y')
  wakeups.changed([submitted('a')])
  t.equal(await y.over, true, 'who does not wait any more takes no wake-up from those who do')
})

t.test('close lets all go, and nobody waits after it', async (t) => {
  const wakeups = createWakeups()
  const agents = [idle(wakeups, 'x'), idle(wakeups, 'y')]
  wakeups.close()
  t.same(await Promise.all(agents.map(({ over }) => over)), [false, false])
  t.equal(await wakeups.wait('x', LONG_MS).changed, false)
})

t.test('ten thousand wait, and each command wakes one of them, in turn', async (t) => {
  const wakeups = createWakeups()
  const agents = Array.from({ length: 10_000 }, (_, index) =>
    idle(wakeups, `a${index}`, { DELAY: 100 }, { labels: [`host=${index}`, index % 2 === 0 ? 'even' : 'odd'] }),
  )
  const woken = async (change: Change): Promise<number> => {
    const before = agents.map(({ told }) => told)
    wakeups.changed([change])
    await settled()
    const changed = agents.flatMap(({ told }, index) => (told === before[index] ? [] : [index]))
    t.equal(changed.length, 1, 'one')
    return changed[0] as number
  }
  t.equal(await woken(submitted('a')), 0)
  t.equal(await woken(submitted('b')), 1)
  t.equal(await woken(submitted('c', { labels: ['odd'] })), 3)
  t.equal(await woken(submitted('d', { labels: ['even', 'host=7000'] })), 7000)
  t.equal(await woken(submitted('e', { pinnedTo: 'a9000' })), 9000)
  wakeups.changed([submitted('f', { labels: ['even', 'odd'] }), submitted('g', { pinnedTo: 'somebody else' })])
  wakeups.changed(Array.from({ length: 1000 }, (_, index) => submitted(`h${index}`)))
  await settled()
  t.equal(agents.filter(({ told }) => told === true).length, 1005, 'what nobody can take wakes nobody')
  wakeups.close()
})

t.test('what was taken in the same commit wakes nobody', async (t) => {
  const wakeups = createWakeups()
  const x = idle(wakeups, 'x')
  wakeups.changed([submitted('a'), changeOf(waiting('a'), { type: 'offer', nowMs: 0, agentId: 'y' })])
  await settled()
  t.equal(x.told, null)
  wakeups.close()
})

t.test(
  'what nobody waits for wakes the first who comes, and no more once a sync has found the lane empty',
  async (t) => {
    const wakeups = createWakeups()
    wakeups.changed([submitted('a'), submitted('b'), submitted('c')])
    wakeups.synced(agent('x'), { DELAY: 0 }, wakeups.syncing('x'))
    const x = waits(wakeups, 'x')
    const y = idle(wakeups, 'y', { DELAY: 0 })
    wakeups.syncing('y')
    wakeups.refused('y')
    await settled()
    t.same([x.told, y.told], [null, null], 'who has no slot is not told')
    const begunAt = wakeups.syncing('y')
    wakeups.changed([submitted('d')])
    wakeups.synced(agent('y'), { DELAY: 1 }, begunAt)
    t.equal(await y.over, true, 'd is younger than its sync')
    const z = idle(wakeups, 'z')
    await settled()
    t.equal(z.told, null, 'it has just seen that there is nothing')
    wakeups.close()
  },
)

t.test('who was woken and came back full with something else hands its errand on', async (t) => {
  const wakeups = createWakeups()
  const x = idle(wakeups, 'x', { DELAY: 1 }, { labels: ['gpu'] })
  const y = idle(wakeups, 'y', { DELAY: 1 }, { labels: ['gpu'] })
  wakeups.changed([submitted('a', { labels: ['gpu'] })])
  t.equal(await x.over, true)
  const begunAt = wakeups.syncing('x')
  wakeups.changed([changeOf(waiting('b'), { type: 'offer', nowMs: 0, agentId: 'x' })])
  wakeups.synced(agent('x', { labels: ['gpu'] }), { DELAY: 0 }, begunAt)
  t.equal(await y.over, true)

  const z = idle(wakeups, 'z', { DELAY: 1 }, { labels: ['gpu'] })
  const again = wakeups.syncing('y')
  wakeups.changed([changeOf(waiting('a', { labels: ['gpu'] }), { type: 'offer', nowMs: 0, agentId: 'y' })])
  wakeups.synced(agent('y', { labels: ['gpu'] }), { DELAY: 0 }, again)
  await settled()
  t.equal(z.told, null, 'y got what it came for')
  wakeups.close()
})

t.test(
  'lanes that nobody serves are forgotten when there are too many, and then whoever comes is told once',
  async (t) => {
    const wakeups = createWakeups()
    wakeups.synced(agent('x'), { DELAY: 1 }, wakeups.syncing('x'))
    const waiter = idle(wakeups, 'y')
    for (let index = 0; index <= 100; index += 1) wakeups.changed([submitted(`a${index}`, { labels: [`l${index}`] })])
    await settled()
    t.equal(waiter.told, null, 'who waited cannot take any of them')
    t.equal(await waits(wakeups, 'x').over, true)
    const x = idle(wakeups, 'x')
    await settled()
    t.equal(x.told, null)
    wakeups.close()
  },
)

/** Commands that are ready, in the order of their age, and agents that sync and wait: what the store and the route do. */
type Plan = {
  act: 'submit' | 'begin' | 'commit' | 'answer' | 'wait' | 'leave' | 'free' | 'cancel'
  who: number
  lane: number
}
const LANES: CommandOptions[] = [
  {},
  { labels: ['gpu'] },
  { labels: ['eu', 'gpu'] },
  { type: 'HTTP_GET_JSON' },
  { labels: ['nobody has it'] },
  { pinnedTo: 'a0' },
]
const LABELS = [['gpu', 'eu'], ['gpu'], ['gpu', 'eu'], [], []]

const createPlant = () => {
  const wakeups = createWakeups()
  const ready = new Map<string, Command>()
  let commands = 0
  const agents = LABELS.map((labels, index) => ({
    agent: agent(`a${index}`, { labels, types: index === 4 ? ['HTTP_GET_JSON'] : ['DELAY', 'HTTP_GET_JSON'] }),
    free: { DELAY: 1, HTTP_GET_JSON: 2 } as Record<string, number>,
    /** Of the sync under way: when it began, and what its commit left unmet. */
    begunAt: null as number | null,
    unmet: null as Record<string, number> | null,
    wait: null as ReturnType<typeof waits> | null,
    /** What a wait has told, and no sync has answered since. */
    told: false,
  }))
  type Member = (typeof agents)[number]
  const may = ({ agent }: Member, command: Command) => mayTake(agent, parseLane(laneOf(command)))

  const acts: Record<Plan['act'], (member: Member, lane: number) => void> = {
    submit(_, lane) {
      const change = submitted(`c${commands++}`, LANES[lane % LANES.length])
      ready.set(change.command.commandId, change.command)
      wakeups.changed([change])
    },
    cancel() {
      const [command] = ready.values()
      if (command === undefined) return
      ready.delete(command.commandId)
      wakeups.changed([changeOf(command, { type: 'cancel', nowMs: 1, reason: '' })])
    },
    begin(member) {
      if (member.begunAt !== null) return
      member.begunAt = wakeups.syncing(member.agent.agentId)
      member.told = false
    },
    commit(member) {
      if (member.begunAt === null || member.unmet !== null) return
      const taken: Change[] = []
      for (const command of ready.values()) {
        const free = member.free[command.type] ?? 0
        if (free === 0 || !may(member, command)) continue
        member.free[command.type] = free - 1
        taken.push(changeOf(command, { type: 'offer', nowMs: 1, agentId: member.agent.agentId }))
      }
      for (const { command } of taken) ready.delete(command.commandId)
      member.unmet = { ...member.free }
      wakeups.changed(taken)
    },
    answer(member) {
      if (member.begunAt === null || member.unmet === null) return
      wakeups.synced(member.agent, member.unmet, member.begunAt)
      Object.assign(member, { begunAt: null, unmet: null })
    },
    wait(member) {
      if (member.wait !== null || member.told) return
      const wait = waits(wakeups, member.agent.agentId)
      member.wait = wait
      void wait.over.then((told) => {
        member.wait = null
        member.told ||= told
      })
    },
    leave(member) {
      member.wait?.leave()
    },
    /** A run has ended, and the agent says so at once. */
    free(member) {
      if (member.begunAt !== null) return
      member.free = { DELAY: 1, HTTP_GET_JSON: 2 }
      acts.begin(member, 0)
    },
  }
  const sync = (member: Member) => {
    acts.begin(member, 0)
    acts.commit(member, 0)
    acts.answer(member, 0)
  }
  for (const member of agents) sync(member)
  return { wakeups, ready, agents, acts, may, sync }
}

const ACTS: Plan['act'][] = ['submit', 'submit', 'begin', 'commit', 'answer', 'wait', 'leave', 'free', 'cancel']

t.test(
  'no wake-up is lost: when all who were told have synced, nothing is ready that somebody waits for',
  async (t) => {
    const plan = fc.record({
      act: fc.constantFrom(...ACTS),
      who: fc.nat(LABELS.length - 1),
      lane: fc.nat(LANES.length - 1),
    })
    let found = 0
    const property = fc.asyncProperty(fc.array(plan, { minLength: 20, maxLength: 60, size: 'max' }), async (plans) => {
      const { wakeups, ready, agents, acts, may, sync } = createPlant()
      for (const { act, who, lane } of plans) {
        acts[act](agents[who] as (typeof agents)[number], lane)
        await settled()
      }
      // All syncs under way end, all come to wait, and whoever is told syncs, until nobody is told any more.
      for (const member of agents) if (member.begunAt !== null) sync(member)
      for (let told = agents; told.length > 0; told = agents.filter((member) => member.told)) {
        for (const member of told) if (member.told) sync(member)
        for (const member of agents) acts.wait(member, 0)
        await settled()
        found += agents.filter((member) => member.told).length > 0 ? ready.size : 0
      }
      const missed = agents.flatMap((member) =>
        [...ready.values()].filter((command) => may(member, command) && member.free[command.type] !== 0),
      )
      assert.deepEqual(missed, [])
      wakeups.close()
    })
    await fc.assert(property, { numRuns: 3000 })
    t.ok(found > 1000, `those who were told found ${found} commands`)
  },
)
