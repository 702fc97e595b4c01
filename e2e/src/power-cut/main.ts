/** `npm run power-cut -- --images 100000 [--seed 7]`: prints figures; ends with 1 where something was lost. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { newSeed } from '../random.ts'
import { cutPower } from './power-cut.ts'
import { record } from './record.ts'

const { values } = parseArgs({ options: { images: { type: 'string', default: '10000' }, seed: { type: 'string' } } })
const images = Number(values.images)
const seed = Number(values.seed ?? newSeed())
if (!Number.isInteger(images) || images < 2 || !Number.isInteger(seed)) {
  console.error('usage: npm run power-cut -- --images <whole number> [--seed <whole number>]')
  process.exit(64)
}

console.log(`SEED=${seed}`)
const dir = mkdtempSync(join(tmpdir(), 'power-cut-'))
const recording = await record(dir, { synced: true })
rmSync(dir, { recursive: true })
const figures = (['server', 'agent'] as const).map((side) =>
  cutPower(recording, side, { images: Math.ceil(images / 2), seed }),
)
for (const each of figures) console.log(JSON.stringify(each))
process.exit(figures.some(({ lost, damaged }) => lost + damaged > 0) ? 1 : 0)
