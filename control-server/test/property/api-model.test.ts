// The HTTP API over a real database against a model of it: random calls, faults and time, shrunk where they disagree.
// FC_RUNS sets the number of runs (with TAP_TIMEOUT=0 for many), FC_SEED repeats those that printed it.
import assert from 'node:assert/strict'
import type { CommandRecord } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import { createState, look, peace, type State, steps, sweepAt } from './steps.ts'
import { createWorld, type World } from './world.ts'

const RUNS = Number(process.env.FC_RUNS ?? 150)
const STEPS_MAX = 50

type LoggedEvent = { seq: number; type: string; from: string | null; to: string; attempt: number | null }

/** What has to be true of whatever was done: the whole record, the log of its way, and that all of it ends. */
async function conclude(state: State, world: World, add: (name: string) => void): Promise<void> {
  const { model } = state
  const before = new Map(
    model.commands
      .filter(({ status }) => status !== 'PENDING' && status !== 'RUNNING')
      .map((each) => [each.commandId, each.text]),
  )
  await peace(state, world)
  // Then everybody is silent for two months.
  for (let count = 0; count < 3; count += 1) await sweepAt(state, world, 20 * 86_400_000)
  await look(state, world, true)
  assert.deepEqual(
    model.commands.filter(({ status }) => status === 'RUNNING').map((each) => each.commandId),
    [],
    'R8',
  )
  const seqs = new Set<number>()
  for (const command of model.commands) {
    const { commandId } = command
    const record = (await world.call('GET', `/commands/${commandId}`)).body as CommandRecord
    assert.deepEqual(
      record.attempts.map(({ attempt, agentId, state }) => [attempt, agentId, state]),
      command.attempts.map(({ number, agentId, state }) => [number, agentId, state]),
      'every attempt is kept, those that came to nothing too',
    )
    if (before.has(commandId)) assert.equal(command.text, before.get(commandId), 'R4')
    const events = (await world.call('GET', `/commands/${commandId}/events`)).body as LoggedEvent[]
    assert.equal(events[0]?.type, 'submitted')
    for (const [index, event] of events.entries()) {
      assert.equal(event.from, events[index - 1]?.to ?? null, 'the events are a path')
      assert.ok(event.seq > (events[index - 1]?.seq ?? 0), 'in the order of their numbers')
      assert.ok(!seqs.has(event.seq), 'each number once')
      seqs.add(event.seq)
      add(event.type)
    }
    const granted = events.filter(({ type }) => type === 'granted').map(({ attempt }) => attempt)
    const attempts = command.attempts.filter(({ grantedAtMs }) => grantedAtMs !== null).map(({ number }) => number)
    assert.deepEqual(granted, attempts, 'each grant is one event')
    const phase = record.status === 'PENDING' ? ['WAITING', 'OFFERED'] : [record.status]
    assert.ok(phase.includes(events.at(-1)?.to as string), 'the path ends where the command is')
  }
}

t.setTimeout(3_600_000)

t.test('whatever happens, the server answers as the model says', async (t) => {
  const world = await createWorld(t)
  const counted: Record<string, number> = { runs: 0, steps: 0, commands: 0 }
  const add = (name: string, more = 1): void => {
    counted[name] = (counted[name] ?? 0) + more
  }
  const property = fc.asyncProperty(steps(STEPS_MAX), async (commands) => {
    await world.begin()
    const state = createState()
    await fc.asyncModelRun(() => ({ model: state, real: world }), commands)
    await conclude(state, world, add)
    add('runs')
    add('steps', state.looks)
    add('commands', state.model.commands.length)
  })
  const { FC_SEED } = process.env
  const details = await fc.check(property, {
    numRuns: RUNS,
    includeErrorInReport: true,
    ...(FC_SEED === undefined ? {} : { seed: Number(FC_SEED) }),
  })
  t.comment(`FC_SEED=${details.seed} FC_RUNS=${RUNS}: ${JSON.stringify(counted)}`)
  if (details.failed) {
    t.comment(fc.defaultReportMessage(details))
    throw details.errorInstance
  }
  t.equal(details.numRuns, RUNS)
})
