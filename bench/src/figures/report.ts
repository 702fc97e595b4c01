/** Tables of a run, for the terminal and for the documents. */
import { GOALS, verdict, wantedText } from './goals.ts'
import { METRICS, type Metric } from './metrics.ts'
import { type Figure, type Lookup, lookupIn, type Results, type Run } from './results.ts'
import { PRODUCT } from './variants.ts'

/** Peers to which ours is compared. */
const YARDSTICKS = ['plainjob', 'BullMQ']

const number = (value: number | undefined): string => {
  if (value === undefined || Number.isNaN(value)) return '–'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2)
}

const unique = <Item>(items: readonly Item[]): Item[] => [...new Set(items)]

/** The first two columns are words. */
export type Table = { title: string; method: string; head: string[]; rows: string[][] }

export function tablesOf(results: Results): Table[] {
  const look = lookupIn(results.figures)
  return results.scenarios.flatMap(({ name, title, method, run }) => {
    const figures = results.figures.filter(({ scenario }) => scenario === name)
    if (figures.length === 0) return []
    const metrics = (Object.keys(METRICS) as Metric[]).filter((name) => figures.some(({ metric }) => metric === name))
    const isRate = metrics.includes('perS')
    const ratios = isRate ? YARDSTICKS.filter((peer) => figures.some(({ subject }) => subject === peer)) : []
    const columns: string[] = metrics.map((metric) => METRICS[metric])
    const head = ['', '', ...columns, ...ratios.map((peer) => `× ${peer}`), 'foreign cores']
    const rows = rowKeys(figures, results).map(({ subject, variant }) => [
      subject,
      variant,
      ...metrics.map((metric) => number(look(name, subject, variant, metric))),
      ...ratios.map((peer) => number(ratio(look, name, subject, variant, peer))),
      number(figures.find((figure) => figure.subject === subject && figure.variant === variant)?.foreignCores),
    ])
    return [{ title, method: run === undefined ? method : `${method} ${apartText(run)}`, head, rows }]
  })
}

const apartText = ({ command, startedAt, commit, seed, rounds }: Run): string =>
  `Measured apart from the rest: \`${command}\`, ${startedAt.slice(0, 10)}, commit \`${commit}\`, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, seed ${seed}.`

/** Variants in the order of their numbers, ours before the peers in each. */
function rowKeys(figures: readonly Figure[], results: Results): { subject: string; variant: string }[] {
  const order = results.subjects.map(({ name }) => name)
  const collator = new Intl.Collator('en', { numeric: true })
  const keys = unique(figures.map(({ subject, variant }) => JSON.stringify([variant, subject])))
  return keys
    .map((key) => JSON.parse(key) as [string, string])
    .sort(
      ([variantA, a], [variantB, b]) =>
        collator.compare(variantA.replaceAll(',', ''), variantB.replaceAll(',', '')) ||
        order.indexOf(a) - order.indexOf(b),
    )
    .map(([variant, subject]) => ({ subject, variant }))
}

/** Ours by theirs, in the same variant. */
const ratio = (look: Lookup, scenario: string, subject: string, variant: string, peer: string): number | undefined => {
  if (subject !== PRODUCT) return undefined
  const ours = look(scenario, subject, variant, 'perS')
  const theirs = look(scenario, peer, variant, 'perS')
  return ours === undefined || theirs === undefined ? undefined : ours / theirs
}

export function goalsTable(results: Results): Table {
  const look = lookupIn(results.figures)
  const rows = GOALS.map((goal) => {
    const measured = goal.measured(look)
    return [goal.goal, wantedText(goal), number(measured), verdict(goal, measured)]
  })
  return { title: 'Goals', method: '', head: ['', 'wanted', 'measured', ''], rows }
}

const padded = ({ head, rows }: Table): string => {
  const widths = head.map((text, column) => Math.max(text.length, ...rows.map((row) => (row[column] ?? '').length)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd()
  return [line(head), ...rows.map(line)].join('\n')
}

export function textReport(results: Results): string {
  const { machine, seed, rounds, minutes, commit, skipped, failed } = results
  const facts = [
    `${results.startedAt}, ${minutes.toFixed(1)} min, commit ${commit}, seed ${seed}, ${rounds} rounds`,
    `${machine.processors}, ${machine.memoryGb} GB, Linux ${machine.kernel}, Node ${machine.node}, ${machine.fileSystem}`,
    ...skipped.map((what) => `SKIPPED ${what}`),
    ...failed.map((what) => `FAILED ${what}`),
  ]
  const tables = [...tablesOf(results), goalsTable(results)].map((table) => `${table.title}\n${padded(table)}`)
  return `${[facts.join('\n'), ...tables].join('\n\n')}\n`
}
