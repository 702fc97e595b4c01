// The quick slice of the crash matrix, and the table of its cells against the crash points and faults there are.
import { CRASH_POINT_NAMES as AGENT_POINTS } from '@agent-executor/agent/crash-points'
import { CRASH_POINT_NAMES as SERVER_POINTS } from '@agent-executor/control-server/crash-points'
import { COMMAND_TYPES } from '@agent-executor/protocol'
import t from 'tap'
import { CELLS, type Cell, QUICK, TYPES } from '../src/crash-matrix/cells.ts'
import { runMatrix } from '../src/crash-matrix/matrix.ts'
import { figureText, jsonOf, tables, violationText } from '../src/crash-matrix/report.ts'
import { FAULTS, type Fault } from '../src/faulty-proxy.ts'

const cells = CELLS.filter((cell): cell is Cell => !('skipped' in cell))
const quick = cells.filter(({ name }) => QUICK.includes(name))

t.test('every cell has a name of its own, and the quick ones exist', async (t) => {
  t.equal(new Set(cells.map(({ name }) => name)).size, cells.length)
  t.same([...QUICK].sort(), quick.map(({ name }) => name).sort())
})

t.test('every type, crash point and fault is in the table', async (t) => {
  t.same(Object.keys(TYPES).sort(), [...COMMAND_TYPES].sort())
  const rows = new Set(cells.map(({ row }) => row.replace(/:\d+$/, '')))
  for (const point of [...AGENT_POINTS, ...SERVER_POINTS]) t.ok(rows.has(point), point)
  for (const fault of Object.keys(FAULTS) as Fault[])
    t.ok(
      cells.some(({ column }) => column === fault),
      fault,
    )
  for (const cell of CELLS) if ('skipped' in cell) t.match(cell.skipped, /\.$/, 'a reason')
})

t.test('the quick slice breaks no promise', { timeout: 240_000 }, async (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  t.comment(`SEED=${seed}`)
  const { results, figures } = await runMatrix({ cells: quick, dir: t.testdir(), jobs: 4, seed })
  for (const result of results) t.same(result.violations, [], violationText(result))
  t.match(figures, { cells: QUICK.length, duplicates: 0, lostAcknowledged: 0, unnamed: 0, violations: 0 })
  t.ok(figures.crashes >= 13 && figures.faults >= 12, 'the crashes and faults did happen')
  t.ok(tables(results, false).includes('| effect.begun | HTTP_GET_JSON | INTERRUPTED |'))
  t.match(JSON.parse(jsonOf(results, figures, seed)), { seed, figures: { cells: QUICK.length } })
  t.comment(figureText(figures))
})
