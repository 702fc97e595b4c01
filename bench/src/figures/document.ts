/** docs/performance.md and its chart, from the results of a run. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { barChart, type Panel } from './chart.ts'
import { goalsTable, type Table, tablesOf } from './report.ts'
import { lookupIn, type Results } from './results.ts'
import { inFlightVariant, PRODUCT, slotsVariant, workersVariant } from './variants.ts'

const CHART = 'performance.svg'

const markdownTable = ({ head, rows }: Table): string => {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, column) => (column < 2 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

const panelsOf = (results: Results): Panel[] => {
  const look = lookupIn(results.figures)
  const panel = (title: string, scenario: string, variant: string): Panel => ({
    title,
    bars: results.subjects.flatMap(({ name }) => {
      const value = look(scenario, name, variant, 'perS')
      return value === undefined ? [] : [{ label: name, value, isOurs: name === PRODUCT }]
    }),
  })
  return [
    panel(
      'End to end, commands per second: 50 in flight, 1 worker, 50 slots',
      'end-to-end',
      workersVariant('DELAY', 1, 50),
    ),
    panel('Submit, per second: 50 in flight', 'submit', inFlightVariant(50)),
    panel('Drain, per second: 1 worker, 50 slots', 'drain', slotsVariant(50)),
  ].filter(({ bars }) => bars.length > 0)
}

const list = (lines: readonly string[]): string => lines.map((line) => `- ${line}`).join('\n')

export function performanceDocument(results: Results): string {
  const { machine, rounds, seed, minutes } = results
  const apart = new Set(results.scenarios.flatMap(({ name, run }) => (run === undefined ? [] : [name])))
  const foreign = results.samples.flatMap(({ scenario, foreignCores }) => (apart.has(scenario) ? [] : [foreignCores]))
  const foreignCores = foreign.reduce((a, b) => a + b, 0) / foreign.length
  const sections = tablesOf(results).map((table) => `## ${table.title}\n\n${table.method}\n\n${markdownTable(table)}`)
  const leftOut = [
    ...results.skipped.map((what) => `not measured: ${what}`),
    ...results.failed.map((what) => `failed: ${what}`),
  ]
  return `# Performance

Written by \`npm run bench -- --write-docs\` from [the last run](../bench/results/last.json); do not edit it. Compare rows of one run only, and trust ratios, processor time and fsyncs before rates where others used the machine too.

${list([
  `\`${results.command}\`, ${results.startedAt.slice(0, 10)}, ${minutes.toFixed(0)} minutes, commit \`${results.commit}\``,
  `${machine.processors}, ${machine.memoryGb} GB, Linux ${machine.kernel}, Node ${machine.node}, files on ${machine.fileSystem}`,
  `${rounds} ${rounds === 1 ? 'round' : 'rounds'} in random order (seed ${seed}); each figure is the median of the calmer half of its samples, of three at least`,
  `${foreignCores.toFixed(2)} processors were busy with other things, on average`,
  ...leftOut,
])}

![End to end, submit and drain against the peers](${CHART})

## ${goalsTable(results).title}

${markdownTable(goalsTable(results))}

${sections.join('\n\n')}

## What is compared

Every product in the setting that survives a power cut. Only ours writes a durable log on the worker's side too, crosses HTTP and hands over in two phases; peers are libraries that call their database.

${list(results.subjects.map(({ name, settings }) => `**${name}**: ${settings}`))}

Polling peers look every 10 ms where throughput is measured, and as they come in idle pick-up. Processor time is that of server and agents, or of broker, producer and worker; the load generator of ours, an HTTP client, is left out. *Foreign cores* are the processors that were busy with other things meanwhile. fsyncs are counted by a library that is loaded into every process that could do one.
`
}

export function writeDocument(results: Results, repository: string): void {
  writeFileSync(join(repository, 'docs/performance.md'), performanceDocument(results))
  const description = 'Commands per second of each product, end to end, submit and drain'
  writeFileSync(join(repository, 'docs', CHART), barChart(description, panelsOf(results)))
}
