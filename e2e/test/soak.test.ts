// A short soak; `npm run soak -- --minutes 30` is a long one.
import t from 'tap'
import { newSeed } from '../src/random.ts'
import { soak } from '../src/soak/soak.ts'

t.test('under mixed load and random kills and suspensions of everything no promise is broken', async (t) => {
  const seed = Number(process.env.SEED ?? newSeed())
  t.comment(`SEED=${seed}`)
  const figures = await soak({
    ...{ seed, durationMs: 20_000, commandsMin: 40, dir: t.testdir() },
    tell: (line) => t.comment(line),
  })
  t.comment(JSON.stringify(figures))
  t.same(figures.violations, [])
  t.match(figures, { duplicates: 0, lost: 0, unnamed: 0, late: 0 })
  t.ok(figures.kills + figures.suspensions >= 3, `${figures.kills} kills, ${figures.suspensions} suspensions`)
  t.ok(Object.keys(figures.ends).length >= 3, `it saw several ends: ${Object.keys(figures.ends)}`)
})
