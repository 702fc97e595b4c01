// From samples to tables: everything of the benchmark that runs nothing.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { barChart } from '../src/figures/chart.ts'
import { performanceDocument } from '../src/figures/document.ts'
import { GOALS, type Goal, verdict } from '../src/figures/goals.ts'
import { tablesOf, textReport } from '../src/figures/report.ts'
import { figuresOf, lookupIn, merged, type Results, resultsJson, type Sample } from '../src/figures/results.ts'
import { calmMedian, percentile, seededRandom, shuffled } from '../src/figures/statistics.ts'

const repository = join(dirname(fileURLToPath(import.meta.url)), '../../..')

const sample = (changes: Partial<Sample>): Sample => ({
  scenario: 'submit',
  subject: 'Agent Executor',
  variant: '50 in flight',
  metric: 'perS',
  round: 1,
  value: 100,
  foreignCores: 0,
  ...changes,
})

const resultsOf = (samples: Sample[]): Results => ({
  startedAt: '2026-11-21T20:00:00.000Z',
  minutes: 1,
  command: 'npm run bench',
  commit: 'abcdef0',
  seed: 1,
  rounds: 1,
  scale: 'full',
  machine: { processors: '2 × some', memoryGb: 4, kernel: '6', node: 'v20', fileSystem: 'ext4' },
  subjects: [
    { name: 'Agent Executor', settings: 'ours' },
    { name: 'BullMQ', settings: 'theirs' },
  ],
  scenarios: [{ name: 'submit', title: 'Submit', method: 'How.' }],
  skipped: [],
  failed: [],
  figures: figuresOf(samples),
  samples,
})

t.test('a percentile is a value that was measured', async (t) => {
  t.equal(percentile([5, 1, 4, 2, 3], 50), 3)
  t.equal(percentile([5, 1, 4, 2, 3], 99), 5)
  t.equal(percentile([7], 1), 7)
  t.ok(Number.isNaN(percentile([], 50)))
})

t.test('the calmer half of the samples decides, and three at least', async (t) => {
  const samples = [9, 1, 2, 3, 4, 5].map((value, index) => ({ value, foreignCores: index === 0 ? 2 : value / 10 }))
  t.equal(calmMedian(samples), 2)
  t.equal(calmMedian([samples[0], samples[1]] as typeof samples), 5)
})

t.test('a seed repeats the order, and nothing is lost in it', async (t) => {
  const items = Array.from({ length: 50 }, (_, index) => index)
  const order = shuffled(items, seededRandom(7))
  t.same(order, shuffled(items, seededRandom(7)))
  t.notSame(order, shuffled(items, seededRandom(8)))
  t.same(
    [...order].sort((a, b) => a - b),
    items,
  )
})

t.test('a figure is one metric of one variant over all rounds', async (t) => {
  const rounds = [10, 30, 20].map((value, index) => sample({ value, round: index + 1 }))
  const figures = figuresOf([...rounds, sample({ subject: 'BullMQ', value: 5 })])
  t.equal(figures.length, 2)
  t.equal(lookupIn(figures)('submit', 'Agent Executor', '50 in flight', 'perS'), 20)
  t.equal(lookupIn(figures)('submit', 'Agent Executor', '1 in flight', 'perS'), undefined)
})

t.test('the JSON file has everything of the run', async (t) => {
  const results = resultsOf([sample({}), sample({ subject: 'BullMQ' })])
  t.same(JSON.parse(resultsJson(results)), results)
})

t.test('rows are ours first, variants by number, with the ratio to the same variant of a peer', async (t) => {
  const inFlight = (variant: string, ours: number, theirs: number) => [
    sample({ variant, subject: 'BullMQ', value: theirs }),
    sample({ variant, value: ours }),
  ]
  const [table] = tablesOf(resultsOf([...inFlight('50 in flight', 300, 100), ...inFlight('1 in flight', 10, 40)]))
  t.same(table?.head, ['', '', 'per second', '× BullMQ', 'foreign cores'])
  t.same(table?.rows, [
    ['Agent Executor', '1 in flight', '10.0', '0.25', '0.00'],
    ['BullMQ', '1 in flight', '40.0', '–', '0.00'],
    ['Agent Executor', '50 in flight', '300', '3.00', '0.00'],
    ['BullMQ', '50 in flight', '100', '–', '0.00'],
  ])
})

t.test(
  'what is measured apart stands in the place of the same scenario, says so, and changes nothing else',
  async (t) => {
    const before = resultsOf([sample({ value: 100, foreignCores: 1 })])
    const other = (value: number, commit: string): Results => ({
      ...resultsOf([sample({ scenario: 'drain', value, foreignCores: 0 })]),
      scenarios: [{ name: 'drain', title: 'Drain', method: 'So.' }],
      ...{ commit, command: 'npm run bench -- --only drain --merge', rounds: 2 },
    })
    const results = merged(merged(before, other(1, 'aaaaaaa')), other(7, 'bbbbbbb'))
    t.same(
      tablesOf(results).map(({ title, rows }) => [title, rows[0]?.[2]]),
      [
        ['Submit', '100'],
        ['Drain', '7.00'],
      ],
    )
    t.match(
      tablesOf(results)[1]?.method,
      /^So\. Measured apart .*--only drain --merge.*2026-11-21, commit `bbbbbbb`, 2 rounds/,
    )
    t.equal(results.commit, 'abcdef0')
    t.match(performanceDocument(results), '1.00 processors were busy with other things')
  },
)

t.test('what was skipped or failed is named in the report', async (t) => {
  const report = textReport({ ...resultsOf([sample({})]), skipped: ['BullMQ: no server'], failed: ['round 1, drain'] })
  t.match(report, 'SKIPPED BullMQ: no server')
  t.match(report, 'FAILED round 1, drain')
})

t.test('a goal is met, missed by a factor, or not measured', async (t) => {
  const goal = (wanted: Goal['wanted']): Goal => ({ goal: '', wanted, unit: '', measured: () => undefined })
  t.equal(verdict(goal({ atLeast: 5 }), 5), 'met')
  t.equal(verdict(goal({ atLeast: 5 }), 2), 'missed by a factor of 2.50')
  t.equal(verdict(goal({ atMost: 10 }), 9), 'met')
  t.equal(verdict(goal({ atMost: 10 }), 15), 'missed by a factor of 1.50')
  t.equal(verdict(goal({ atMost: 10 }), undefined), 'not measured')
})

t.test('every goal is measured where all figures are there, and none where they are not', async (t) => {
  for (const { goal, measured } of GOALS) {
    t.type(
      measured(() => 1_000_000),
      'number',
      goal,
    )
    t.equal(
      measured(() => undefined),
      undefined,
      goal,
    )
  }
})

t.test('a bar is as long as its value says', async (t) => {
  const bars = [
    { label: 'a & b', value: 100, isOurs: true },
    { label: 'c', value: 50, isOurs: false },
  ]
  const svg = barChart('<chart>', [{ title: 'Panel', bars }])
  const widths = [...svg.matchAll(/class="(?:ours|peer)" x="\d+" y="\d+" width="([\d.]+)"/g)].map(([, width]) =>
    Number(width),
  )
  t.equal(widths.length, 2)
  t.equal(widths[0], 2 * (widths[1] as number))
  t.match(svg, 'a &amp; b')
  t.match(svg, '&lt;chart>')
})

t.test('docs/performance.md is what the last run says', async (t) => {
  const results = JSON.parse(readFileSync(join(repository, 'bench/results/last.json'), 'utf8')) as Results
  t.equal(readFileSync(join(repository, 'docs/performance.md'), 'utf8'), performanceDocument(results))
})
