/** `npm run fuzz -- --seconds N --seed S`: hostile input for the control server; see `--help`. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { newSeed } from '../random.ts'
import { faultText, fuzz } from './run.ts'

const HELP = `npm run fuzz -- [flags]

  --seconds N  begins rounds of every attack on every route for so long (60)
  --seed N     repeats the choices of an earlier run
  --shot N     only this attack of the seed, over and over

Exit code 0: the server stayed well. 1: it did not.
`

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    shot: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const print = (text: string): void => void process.stdout.write(`${text}\n`)

if (values.help) {
  print(HELP)
  process.exit(0)
}
const seed = Number(values.seed ?? newSeed())
print(`SEED=${seed}`)
const dir = await mkdtemp(join(tmpdir(), 'fuzz-'))
const { faults, figures } = await fuzz(dir, {
  seed,
  seconds: Number(values.seconds),
  ...(values.shot === undefined ? {} : { only: Number(values.shot) }),
})
print(JSON.stringify(figures))
for (const fault of faults) print(faultText(seed, fault))
await rm(dir, { recursive: true, force: true })
process.exit(faults.length === 0 ? 0 : 1)
