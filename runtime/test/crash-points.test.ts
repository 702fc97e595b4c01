import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { crashSettings, createCrashPoints, readSettings, refuseInProduction, SettingsError } from '../src/index.ts'
import { run } from './fixtures/run.ts'

const names = ['a', 'b'] as const
const off = { names, randomFailures: false, randomSeed: 0, killAfterS: 0, log: { warn() {} } }

class Killed extends Error {}

function kill(): never {
  throw new Killed('killed')
}

/** At which of `count` hits a process with this seed would be killed. */
function deaths(seed: number, count: number, chance?: number): number[] {
  const points = createCrashPoints({
    ...off,
    randomFailures: true,
    randomSeed: seed,
    kill,
    ...(chance ? { chance } : {}),
  })
  return Array.from({ length: count }, (_, hit) => hit).filter((hit) => {
    try {
      points.at(hit % 2 ? 'a' : 'b')
      return false
    } catch {
      return true
    }
  })
}

t.test(
  'a process is killed at the named point, at the hit that was asked for, and nothing runs after it',
  async (t) => {
    const first = await run('crash', '--crash-at', 'b')
    t.equal(first.signal, 'SIGKILL')
    t.match(
      first.lines.map((line) => JSON.parse(line)),
      [{ crashPoint: 'b', hit: 1 }],
    )

    const second = await run('crash', '--crash-at', 'b:2')
    t.equal(second.signal, 'SIGKILL')
    t.match(
      second.lines.map((line) => JSON.parse(line)),
      [{ passed: 1 }, { crashPoint: 'b', hit: 2 }],
    )
    t.equal(second.lines.length, 2)

    const other = await run('crash', '--crash-at', 'a')
    t.match(other, { code: 0, signal: null })
    t.equal(other.lines.length, 3)
  },
)

t.test('a process is killed after the given seconds in the middle of a blocked event loop', async (t) => {
  const startMs = performance.now()
  t.equal((await run('crash', '--kill-after', '1')).signal, 'SIGKILL')
  t.ok(performance.now() - startMs >= 1000)
})

t.test('the limit of seconds does not keep a process alive that has nothing to do', async (t) => {
  const { code, lines } = await run('crash-idle')
  t.strictSame({ code, lines }, { code: 0, lines: [] })
})

t.test('random failures repeat with their seed, come with their chance, and differ without a seed', async (t) => {
  t.strictSame(deaths(7, 1000), deaths(7, 1000))
  t.not(String(deaths(7, 1000)), String(deaths(8, 1000)))
  const rate = deaths(7, 20_000).length / 20_000
  t.ok(rate > 0.09 && rate < 0.11, `one in ten: ${rate}`)
  t.equal(deaths(7, 100, 1).length, 100)

  const logged: object[] = []
  const log = { warn: (facts: object) => logged.push(facts) }
  const { seed } = createCrashPoints({ ...off, randomFailures: true, log })
  t.ok(seed > 0 && Number.isInteger(seed))
  t.match(logged, [{ seed }])
  t.equal(createCrashPoints({ ...off, randomFailures: true, randomSeed: 5 }).seed, 5)
})

t.test('with everything off all crash points share one function that does nothing', async (t) => {
  const points = createCrashPoints({ ...off, kill })
  t.equal(points.at, createCrashPoints({ ...off, crashAt: '', kill }).at)
  t.equal(points.at('a'), undefined)
})

t.test('a file tells a process that runs where to die, and the hits count from then', (t) => {
  const file = join(t.testdir(), 'crash-at')
  const { at } = createCrashPoints({ ...off, crashAt: `@${file}`, kill })
  at('a')
  writeFileSync(file, 'a:2\n')
  at('a')
  at('b')
  t.throws(() => at('a'), { message: 'killed' })
  rmSync(file)
  at('a')
  writeFileSync(file, 'b')
  t.throws(() => at('b'), { message: 'killed' })
  writeFileSync(file, 'c')
  t.throws(() => at('a'), { name: 'SettingsError', message: /one of a, b/ })
  t.end()
})

t.test('an unknown crash point is refused with the names that exist', async (t) => {
  for (const crashAt of ['c', 'a:0', 'a:x', ':1']) {
    t.throws(() => createCrashPoints({ ...off, crashAt }), { name: 'SettingsError', message: /CRASH_AT.*one of a, b/ })
  }
})

t.test('in production none of the crash settings may be on', async (t) => {
  const table = crashSettings(names)
  const valuesOf = (...argv: string[]) => readSettings(table, { argv, env: {} }).values
  const production = { NODE_ENV: 'production' }
  t.doesNotThrow(() => refuseInProduction(valuesOf(), production))
  t.doesNotThrow(() => refuseInProduction(valuesOf('--random-failures'), { NODE_ENV: 'development' }))
  for (const flag of ['--random-failures', '--kill-after=1', '--crash-at=a', '--random-seed=1']) {
    const [name = ''] = flag.split('=')
    t.throws(() => refuseInProduction(valuesOf(flag), production), new SettingsError([]).constructor, name)
    t.throws(() => refuseInProduction(valuesOf(flag), production), { message: new RegExp(name) })
  }
})
