/** `npm run crash-matrix`: every crash and every fault, with real processes; see `--help`. */
import { randomInt } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { hasImage, IMAGE } from '../docker.ts'
import { CELLS, type Cell, QUICK } from './cells.ts'
import { runMatrix } from './matrix.ts'
import { figureText, jsonOf, tables, violationText } from './report.ts'

const HELP = `npm run crash-matrix -- [flags]

  --only TEXT   only cells whose name contains TEXT
  --quick       the slice that npm test runs
  --json FILE   the results for machines
  --part K/N    every Nth cell from the Kth on, for N machines
  --jobs N      cells at a time (10)
  --seed N      repeats the order of an earlier run
  --list        names the cells and runs none

Exit code 0: no promise was broken. 1: one was, or cells did not run. 2: no cell is called so, or Docker is not there.
`

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    part: { type: 'string', default: '1/1' },
    jobs: { type: 'string', default: '10' },
    seed: { type: 'string' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const print = (text: string): void => void process.stdout.write(`${text}\n`)

if (values.help) {
  print(HELP)
  process.exit(0)
}
const [part = 1, parts = 1] = values.part.split('/').map(Number)
const cells = CELLS.filter(
  (cell): cell is Cell =>
    !('skipped' in cell) && cell.name.includes(values.only) && (!values.quick || QUICK.includes(cell.name)),
).filter((_, index) => index % parts === part - 1)
if (values.list) print(cells.map(({ name }) => name).join('\n'))
if (values.list || cells.length === 0) process.exit(cells.length === 0 ? 2 : 0)

if (!hasImage && cells.some(({ type }) => type === 'RUN_AGENT')) {
  print(`The cells of RUN_AGENT need Docker with the image ${IMAGE}; --only DELAY or HTTP_GET_JSON does without.`)
  process.exit(2)
}
const seed = Number(values.seed ?? randomInt(1, 2 ** 31))
print(`SEED=${seed} (the order of the cells; --seed ${seed} repeats it), ${cells.length} cells`)
const dir = await mkdtemp(join(tmpdir(), 'crash-matrix-'))
let done = 0
const { results, figures } = await runMatrix({
  ...{ cells, dir, seed, jobs: Number(values.jobs) },
  onResult: (result) => {
    done += 1
    if (result.violations.length > 0) print(violationText(result))
    else if (done % 50 === 0) print(`${done} of ${cells.length}`)
  },
})
print(tables(results, values.only === '' && !values.quick && parts === 1))
print(figureText(figures))
if (values.json !== undefined) await writeFile(values.json, jsonOf(results, figures, seed))
const green = figures.violations === 0 && results.length === cells.length
if (green) await rm(dir, { recursive: true, force: true })
else print(`the data is in ${dir}`)
process.exit(green ? 0 : 1)
