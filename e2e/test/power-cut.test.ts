// The power fails at random moments: whatever of the unsynced writes reached the disk, what was acknowledged is there.
// `npm run power-cut -- --images 100000` tries more moments.
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { cutPower } from '../src/power-cut/power-cut.ts'
import { record } from '../src/power-cut/record.ts'
import { needs } from '../src/processes.ts'
import { newSeed } from '../src/random.ts'

const canTrace = spawnSync('strace', ['--seccomp-bpf', '-f', '-o', '/dev/null', 'true']).status === 0
const aTrace = needs('strace (and the right to trace)', canTrace)
const seed = Number(process.env.SEED ?? newSeed())
t.comment(`SEED=${seed}`)

const SIDES = ['server', 'agent'] as const
/** Each of these was acknowledged at least once for every command. */
const ACKNOWLEDGED_MIN = { server: 3 * 60, agent: 3 * 60 }

t.test('after a power cut everything that was acknowledged is there, and the database is whole', aTrace, async (t) => {
  const recording = await record(t.testdir(), { synced: true })
  for (const side of SIDES) {
    const figures = cutPower(recording, side, { images: 150, seed })
    t.comment(JSON.stringify(figures))
    t.match(figures, { images: 150, lost: 0, damaged: 0, examples: { length: 0 } })
    t.ok(figures.acknowledged >= ACKNOWLEDGED_MIN[side], `${figures.acknowledged} acknowledged by the ${side}`)
  }
})

t.test('the same check notices commits that are not synced', aTrace, async (t) => {
  const recording = await record(t.testdir(), { synced: false })
  for (const side of SIDES) {
    const figures = cutPower(recording, side, { images: 50, seed })
    t.comment(JSON.stringify({ ...figures, examples: [] }))
    t.ok(
      figures.imagesWithLoss > 0,
      `${figures.imagesWithLoss} of ${figures.images} images of the ${side} lack something`,
    )
    t.equal(figures.damaged, 0, 'though none is damaged')
  }
})
