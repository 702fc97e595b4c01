/** The simulation finds nothing, and finds everything as soon as a guard is missing. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { type Entry, openJournal } from '@agent-executor/agent/journal/journal'
import type { Offer, Outcome } from '@agent-executor/protocol'
import t from 'tap'
import { createRandom, newSeed } from '../src/random.ts'
import { createMemoryJournal, newDisk } from '../src/simulation/memory-journal.ts'
import { MUTANTS } from '../src/simulation/mutants.ts'
import { ALL_STEPS, runWorld } from '../src/simulation/world.ts'

const MAIN = join(import.meta.dirname, '..', 'src', 'simulation', 'main.js')
/** CI lets a million run besides (`.ci/run`), on a machine that does nothing else then. */
const COMMANDS = 100_000
/** Within which a missing guard shows. The slowest takes a tenth of it. */
const STEPS_TO_FIND = 3_000_000

// `env` replaces itself by node, so that the test runner's loader stays out.
const simulate = (...flags: string[]) =>
  new Promise<{ code: number; output: string }>((resolve) =>
    execFile(
      '/usr/bin/env',
      ['-u', 'NODE_OPTIONS', process.execPath, MAIN, ...flags],
      { maxBuffer: 2 ** 28 },
      (error, stdout, stderr) => resolve({ code: Number(error?.code ?? 0), output: stdout + stderr }),
    ),
  )
const summary = (output: string) => output.split('\n').find((line) => line.includes(' worlds, ')) ?? output.slice(-2000)

t.test('many worlds break no promise', async (t) => {
  const { code, output } = await simulate('--commands', String(COMMANDS), '--steps', '0')
  t.equal(code, 0, output.slice(0, 4000))
  t.comment(output.split('\n')[0] ?? '')
  t.comment(summary(output))
  const faults = new Map(
    [...output.matchAll(/^ +(\d+) (.+)$/gm)].map(([, times, name]) => [name as string, Number(times)]),
  )
  // A world in which nothing goes wrong proves nothing.
  for (const name of [
    ...[
      'agent killed',
      'agent without power',
      'server killed',
      'server without power',
      'server dies',
      'server set back',
    ],
    ...['machine suspended', 'machine isolated', 'machine cloned', 'clock set', 'journal lost', 'journal set back'],
    ...['message lost', 'message twice', 'message late', 'answer to another request'],
    ...['start.before-commit', 'start.after-commit', 'effect.begun', 'effect.done', 'finish.after-commit'],
  ])
    t.ok((faults.get(name) ?? 0) > 0, `${name}: ${faults.get(name) ?? 0} times`)
})

t.test('without a guard a promise breaks, and the story of it is told', async (t) => {
  for (const [name, { guard }] of Object.entries(MUTANTS))
    await t.test(`${name}: ${guard}`, async (t) => {
      const { code, output } = await simulate('--without', name, '--steps', String(STEPS_TO_FIND))
      t.equal(code, 1, `the exit code; ${code === 1 ? '' : output.slice(0, 2000)}`)
      t.match(output, /^R\d+: .+$/m, 'the promise')
      t.match(output, /^SEED=\d+/, 'its seed')
      t.match(output, /The shortest story that was found \(world \d+, \d+ steps\)/)
      t.match(output, /VIOLATION/, 'the story ends with it')
      t.comment(summary(output))
    })
})

t.test('a seed tells the same story again, also without some of its steps', async (t) => {
  const seed = newSeed()
  t.comment(`SEED=${seed}`)
  const told = (steps: readonly number[]) => {
    const lines: string[] = []
    const { violation, commands } = runWorld({ seed, steps, tell: (line) => lines.push(line) })
    return { violation, commands, lines }
  }
  const few = ALL_STEPS.filter((number) => number % 3 !== 0)
  t.same(told(ALL_STEPS), told(ALL_STEPS))
  t.same(told(few), told(few))
  t.ok(told(ALL_STEPS).lines.length > 100)
})

t.test('the flags are checked', async (t) => {
  for (const flags of [['--seed', 'x'], ['--steps=-1'], ['--without', 'nothing']])
    t.equal((await simulate(...flags)).code, 64, flags.join(' '))
  t.match((await simulate('--help')).output, /--without/)
})

// What the simulation puts in place of a file has to behave as the file does.
t.test('the journal of the simulation and the one on the disk cannot be told apart', async (t) => {
  const seed = newSeed()
  t.comment(`SEED=${seed}`)
  const random = createRandom(seed)
  const file = join(t.testdir(), 'journal.db')
  const real = openJournal({ file, newAgentId: 'agent', newJournalId: 'journal', nowMs: 0 })
  t.teardown(() => real.close())
  const points: string[] = []
  const memory = createMemoryJournal({ disk: newDisk('agent', 'journal'), crashPoint: (name) => points.push(name) })
  const ids = ['a.1', 'a.2', 'b.1', 'c.1']
  const offerOf = (attemptId: string, timeoutMs: number): Offer => ({
    ...{ attemptId, commandId: attemptId.slice(0, 1), attempt: Number(attemptId.slice(2)), type: 'DELAY', timeoutMs },
    ...{ payload: { ms: 1 }, takeover: 'manual', resultBytesMax: 1000, createdAtMs: 0 },
  })
  const outcomes: Outcome[] = [
    { state: 'SUCCEEDED', result: { n: 1 } },
    { state: 'INTERRUPTED', error: { code: 'INTERRUPTED', message: 'cut', retryable: true } },
  ]
  const attempted = (body: () => void): boolean => {
    try {
      body()
      return true
    } catch {
      return false
    }
  }
  const both = (change: (journal: typeof memory | typeof real) => void): [boolean, boolean] => [
    attempted(() => change(real)),
    attempted(() => change(memory)),
  ]
  const shown = (entry: Entry | undefined) => entry && { ...entry, outcomeBytes: 0, outcome: undefined }
  const seen = ({ open, get, identity, outcome }: typeof memory | typeof real) => ({
    identity: identity(),
    open: open().map(shown),
    entries: ids.map((id) => [shown(get(id)), outcome(id)]),
  })
  let refused = 0
  for (let step = 0; step < 600; step++) {
    const attemptId = random.pick(ids)
    const at = step
    const [one, another] = both((journal) => {
      switch (step % 11) {
        case 0:
        case 1:
          return journal.write([
            { type: 'accept', offer: offerOf(attemptId, at), atMs: at },
            { type: 'seen', rev: at },
          ])
        case 2:
        case 3:
          return journal.write([{ type: 'start', attemptId, atMs: at }])
        case 4:
        case 5: {
          const outcome = outcomes[step % 2] as Outcome
          const finish = { type: 'finish', attemptId, outcome, outcomeSha256: `hash-${step % 2}`, atMs: at } as const
          return step % 3 ? journal.write([finish]) : journal.recovered([finish])
        }
        case 6:
        case 7:
          return journal.write([{ type: 'ack', attemptId, verdict: step % 2 ? 'accepted' : 'dropped', atMs: at }])
        case 8:
          return journal.write([{ type: 'reopen', attemptId }])
        case 9:
          return step % 4 ? journal.registering(`nonce-${step}`) : journal.reopenAll()
        default: {
          const answer = { incarnation: step, epoch: `epoch-${step % 3}`, rev: 600 - step }
          return step % 5 === 0 ? journal.registered(answer as never) : undefined
        }
      }
    })
    if (!one) refused += 1
    t.equal(another, one, `step ${step}: both take it, or both refuse it`)
    t.same(seen(memory), seen(real), `step ${step}`)
    // Begins anew, so that not all attempts come to their end at once.
    if (step % 60 === 59) ids.splice(0, ids.length, ...ids.map((id) => `${id.slice(0, 1)}.${Number(id.slice(2)) + 2}`))
  }
  t.ok(refused > 5, `${refused} writes were refused`)
  t.ok(points.includes('start.after-commit'))
})
