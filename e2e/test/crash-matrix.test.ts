// The quick slice of the crash matrix, and the table of its cells against the crash points and faults there are.
import { CRASH_POINT_NAMES as AGENT_POINTS } from '@agent-executor/agent/crash-points'
import { CRASH_POINT_NAMES as SERVER_POINTS } from '@agent-executor/control-server/crash-points'
import { COMMAND_TYPES } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { CELLS, type Cell, NOT_HERE, QUICK, TYPES } from '../src/crash-matrix/cells.ts'
import { judge } from '../src/crash-matrix/judge.ts'
import { runMatrix } from '../src/crash-matrix/matrix.ts'
import { figureText, jsonOf, tables, violationText } from '../src/crash-matrix/report.ts'
import { nothing, type Observed } from '../src/crash-matrix/run-cell.ts'
import { needsDocker } from '../src/docker.ts'
import { type Exchange, FAULTS, type Fault } from '../src/faulty-proxy.ts'

const cells = CELLS.filter((cell): cell is Cell => !('skipped' in cell))
const quick = cells.filter(({ name }) => QUICK.includes(name))

t.test('every cell has a name of its own, and the quick ones exist', async (t) => {
  t.equal(new Set(cells.map(({ name }) => name)).size, cells.length)
  t.same([...QUICK].sort(), quick.map(({ name }) => name).sort())
})

t.test('every type, crash point and fault is in the table', async (t) => {
  t.same(Object.keys(TYPES).sort(), [...COMMAND_TYPES].sort())
  const rows = new Set(cells.map(({ row }) => row.replace(/:\d+$/, '')))
  for (const [point, why] of Object.entries(NOT_HERE)) t.ok(!rows.has(point) && why.endsWith('.'), point)
  for (const point of [...AGENT_POINTS, ...SERVER_POINTS]) t.ok(rows.has(point) || point in NOT_HERE, point)
  for (const fault of Object.keys(FAULTS) as Fault[])
    t.ok(
      cells.some(({ column }) => column === fault),
      fault,
    )
  for (const cell of CELLS) if ('skipped' in cell) t.match(cell.skipped, /\.$/, 'a reason')
})

/** A cell in which a GET completes, as it looks where all is well. */
const cell = cells.find(({ name }) => name === 'the agent dies / finish.after-commit / HTTP_GET_JSON / at once') as Cell
const atMs = Date.parse('2026-01-01T00:00:00.000Z')
const result = { body: { hit: 1 } }
const attempt = { attempt: 1, state: 'SUCCEEDED', agentId: 'a', grantedAt: new Date(atMs).toISOString() }
const command = {
  ...{ commandId: 'c', status: 'COMPLETED', result, error: null, finishedAt: new Date(atMs + 500).toISOString() },
  attempts: [attempt],
}
const sync = (outcome: object): Exchange => ({
  ...{ message: 'sync', path: '/agents/a/sync', atMs, tookMs: 5, status: 200 },
  request: JSON.stringify({ held: [{ attemptId: 'c.1', outcome }] }),
  response: JSON.stringify({ acks: [{ attemptId: 'c.1', verdict: 'accepted' }] }),
})
const well: Observed = {
  ...nothing,
  ...{ causedMs: atMs, first: command, last: command },
  events: ['WAITING', 'OFFERED', 'RUNNING', 'COMPLETED'].map((to, index, all) => ({
    ...{ seq: index + 1, type: 'event', from: all[index - 1] ?? null, to, attempt: 1 },
  })),
  visits: [{ attempt: 1, fromMs: atMs, toMs: atMs + 200 }],
  runs: [{ agentId: 'a', attempt: 1, fromMs: atMs, toMs: atMs + 200 }],
  exchanges: [sync({ state: 'SUCCEEDED', result })],
}

t.test('where all is well the judge finds nothing', async (t) => {
  t.match(judge(cell, well), {
    violations: [],
    duplicates: 0,
    lost: 0,
    unnamed: 0,
    happened: true,
    recoveryMs: 500,
    tooSlow: false,
  })
})

t.test('the judge finds each promise that is broken', async (t) => {
  const again = { attempt: 1, fromMs: atMs + 300, toMs: atMs + 400 }
  const found = (seen: Partial<Observed>) => judge(cell, { ...well, ...seen })
  t.match(found({ visits: [...well.visits, again] }), { duplicates: 1, violations: [/had its effect 2 times/] })
  t.match(found({ runs: [...well.runs, { agentId: 'b', ...again }] }), { violations: [/attempt 1 was begun twice/] })
  t.match(found({ runs: [...well.runs, { agentId: 'b', ...again, attempt: 2 }] }), {
    violations: [/than the 1 granted/],
  })
  const second = { ...again, attempt: 2, fromMs: atMs + 100 }
  t.match(found({ visits: [...well.visits, second] }).violations, [/at the same time/, /2 attempts had an effect/])
  const other = { ...command, result: { body: { hit: 2 } } }
  t.match(found({ first: other, last: other }), { lost: 1, violations: [/acknowledged result is not the one/] })
  t.match(found({ last: other }), { lost: 2, violations: [/not the one/, /what was final has changed/] })
  const lost = { ...command, status: 'FAILED', error: { code: 'LOST' } }
  const unnamed = { ...command, status: 'FAILED', error: null }
  const events = [...well.events.slice(0, -1), { seq: 4, type: 'event', from: 'RUNNING', to: 'FAILED', attempt: 1 }]
  t.match(found({ first: lost, last: lost, events, exchanges: [] }), { unnamed: 1, violations: [/ended as LOST/] })
  t.match(found({ first: unnamed, last: unnamed, events, exchanges: [] }), { violations: [/ended as unnamed/] })
  t.match(found({ events: well.events.slice(1) }).violations, [/goes from WAITING/])
  t.match(found({ causedMs: null }).violations, [/did not happen/])
  t.match(found({ problem: 'in vain' }), { unnamed: 1, violations: ['in vain'] })
})

t.test('only a wrong expectation is put down to a slow machine, never a broken promise', async (t) => {
  const exchanges = well.exchanges.map((exchange) => ({ ...exchange, tookMs: 2000 }))
  const slow = (seen: Partial<Observed>) => judge(cell, { ...well, exchanges, ...seen }).tooSlow
  t.equal(slow({ problem: 'in vain' }), true)
  t.equal(slow({ problem: 'in vain', visits: [...well.visits, ...well.visits] }), false)
})

t.test('a crash in another sync than the cell is about says nothing', async (t) => {
  const third = cells.find(
    ({ name }) =>
      name === 'both die, at a point of the server / sync.before-commit:3 / HTTP_GET_JSON / after the lease',
  ) as Cell
  const died = (phase: string): Exchange => ({
    ...sync({ state: 'SUCCEEDED', result }),
    ...{ status: null, tookMs: null, response: '', request: JSON.stringify({ held: [{ attemptId: 'c.1', phase }] }) },
  })
  const tooSlow = (phase: string) => judge(third, { ...well, exchanges: [died(phase), ...well.exchanges] }).tooSlow
  t.equal(tooSlow('running'), true)
  t.equal(tooSlow('finished'), false)
})

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const run = async (t: Test, cells: readonly Cell[]) => {
  t.comment(`SEED=${seed}`)
  const { results, figures } = await runMatrix({ cells, dir: t.testdir(), jobs: 4, seed })
  for (const each of results) t.same(each.violations, [], violationText(each))
  t.match(figures, { cells: cells.length, duplicates: 0, lostAcknowledged: 0, unnamed: 0, violations: 0 })
  return { results, figures }
}

t.test('the quick slice breaks no promise, in containers either', needsDocker, async (t) => {
  const { results } = await run(
    t,
    quick.filter(({ type }) => type === 'RUN_AGENT'),
  )
  t.same(results.map(({ outcome }) => outcome).sort(), ['COMPLETED', 'COMPLETED', 'LOST'])
})

t.test('the quick slice breaks no promise', async (t) => {
  const cells = quick.filter(({ type }) => type !== 'RUN_AGENT')
  const { results, figures } = await run(t, cells)
  t.ok(figures.crashes >= 13 && figures.faults >= 12, 'the crashes and faults did happen')
  t.match(tables(results, false), /\| effect\.begun \| HTTP_GET_JSON \|.* INTERRUPTED \|/)
  t.match(JSON.parse(jsonOf(results, figures, seed)), { seed, figures: { cells: cells.length } })
  t.comment(figureText(figures))
})
