/** `npm run soak -- --minutes 30 [--seed 7]`: prints figures; ends with 1 where a promise was broken. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { newSeed } from '../random.ts'
import { soak } from './soak.ts'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '2' }, seed: { type: 'string' } } })
const minutes = Number(values.minutes)
const seed = Number(values.seed ?? newSeed())
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error('usage: npm run soak -- --minutes <number> [--seed <whole number>]')
  process.exit(64)
}

console.log(`SEED=${seed}`)
const dir = mkdtempSync(join(tmpdir(), 'soak-'))
const figures = await soak({ seed, durationMs: minutes * 60_000, dir, tell: console.log })
console.log(JSON.stringify(figures, null, 2))
if (figures.violations.length > 0) {
  console.error(`${figures.violations.length} violations; the data is in ${dir}`)
  process.exit(1)
}
rmSync(dir, { recursive: true })
