/** The results for people and for machines. */
import { markdownTable } from '../documents.ts'
import { CELLS, type Cell, type Skipped } from './cells.ts'
import type { Verdict } from './judge.ts'

/** `repeated`: how often it was run before, on a machine that was too slow for it. */
export type Result = Verdict & { cell: Cell; tookMs: number; repeated: number; lines: string[] }

export type Figures = {
  cells: number
  skipped: number
  /** Runs that say nothing, because the machine was too slow for a lease; each was run again. */
  repeated: number
  crashes: number
  faults: number
  violations: number
  duplicates: number
  lostAcknowledged: number
  unnamed: number
  recoveryMs: { p50: number; p99: number }
  /** Without those where a lease has to end first. */
  recoveryAtOnceMs: { p50: number; p99: number }
  tookMs: number
}

const sum = (results: readonly Result[], of: (result: Result) => number): number =>
  results.reduce((total, result) => total + of(result), 0)

const percentiles = (results: readonly Result[]): { p50: number; p99: number } => {
  const sorted = results.flatMap(({ recoveryMs }) => recoveryMs ?? []).sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0
  return { p50: at(0.5), p99: at(0.99) }
}

const happened =
  (kind: Cell['cause']['kind']) =>
  (result: Result): number =>
    !result.happened || result.cell.cause.kind !== kind
      ? 0
      : result.cell.cause.kind === 'crash' && result.cell.cause.both
        ? 2
        : 1

export const figuresOf = (results: readonly Result[], skipped: number, tookMs: number): Figures => ({
  cells: results.length,
  skipped,
  repeated: sum(results, ({ repeated }) => repeated),
  crashes: sum(results, happened('crash')),
  faults: sum(results, happened('proxy')),
  violations: sum(results, ({ violations }) => violations.length),
  duplicates: sum(results, ({ duplicates }) => duplicates),
  lostAcknowledged: sum(results, ({ lost }) => lost),
  unnamed: sum(results, ({ unnamed }) => unnamed),
  recoveryMs: percentiles(results),
  recoveryAtOnceMs: percentiles(
    results.filter(({ cell: { cause } }) => cause.kind === 'crash' && cause.restart === 'at once'),
  ),
  tookMs: Math.round(tookMs),
})

const LEGEND = `at once, after the lease: when the dead one is started again. never, late: another agent is there, and the dead one
is not started again, or after the lease. retries: three attempts and takeover: auto, otherwise one attempt.
ok: COMPLETED. #2: by the second attempt. A code: FAILED with it. !: a promise was broken. -: makes no sense, see below.`

/**
 * One table for each kind of cell: a row is a point or message with a type, a column what is done about it. Where all
 * cells ran, the rows that make no sense are there too.
 */
export function tables(results: readonly Result[], all: boolean): string {
  const ran = new Map(results.map((result) => [result.cell.name, result]))
  const rowOf = ({ table, row, type }: Cell | Skipped): string => [table, row, type].join('\n')
  const ranRows = new Set(results.map(({ cell }) => rowOf(cell)))
  const shown = CELLS.filter((cell) => ('skipped' in cell ? all || ranRows.has(rowOf(cell)) : ran.has(cell.name)))
  const cellText = (cell: Cell | Skipped | undefined): string => {
    const result = cell === undefined || 'skipped' in cell ? undefined : ran.get(cell.name)
    if (result === undefined) return cell === undefined ? '' : '-'
    return (result.violations.length > 0 ? '! ' : '') + result.outcome.replace('COMPLETED', 'ok')
  }
  const text = ['', LEGEND]
  for (const table of unique(shown.map((cell) => cell.table))) {
    const cells = shown.filter((cell) => cell.table === table)
    const columns = unique(cells.map(({ column }) => column))
    const rows = unique(cells.map(rowOf)).map((row) => cells.filter((cell) => rowOf(cell) === row))
    text.push('', table, '')
    text.push(
      markdownTable(
        ['', 'type', ...columns],
        rows.map((row) => [
          ...[row[0]?.row ?? '', row[0]?.type ?? ''],
          ...columns.map((column) => cellText(row.find((cell) => cell.column === column))),
        ]),
      ),
    )
    const skipped = cells.filter((cell): cell is Skipped => 'skipped' in cell)
    for (const reason of unique(skipped.map((cell) => cell.skipped))) {
      const where = skipped.filter((cell) => cell.skipped === reason)
      const places = columns.length === unique(where.map(({ column }) => column)).length ? 'row' : 'column'
      text.push('', `- ${unique(where.map((cell) => cell[places])).join('; ')}: ${reason}`)
    }
  }
  return text.join('\n')
}

const unique = <Value>(values: readonly Value[]): Value[] => [...new Set(values)]

export function violationText(result: Result): string {
  const { cell, violations } = result
  return [
    '',
    `VIOLATION ${cell.name}`,
    ...violations.map((violation) => `  ${violation}`),
    `  again: npm run crash-matrix -- --only '${cell.name}'`,
  ].join('\n')
}

export const figureText = (figures: Figures): string =>
  [
    '',
    `cells                       ${figures.cells} (${figures.skipped} skipped with a reason, ${figures.repeated} run again on a machine too slow)`,
    `crashes / faults fired      ${figures.crashes} / ${figures.faults}`,
    `duplicates                  ${figures.duplicates}`,
    `lost acknowledged results   ${figures.lostAcknowledged}`,
    `unnamed outcomes            ${figures.unnamed}`,
    `violations in all           ${figures.violations}`,
    `time to recovery            p50 ${figures.recoveryMs.p50} ms, p99 ${figures.recoveryMs.p99} ms`,
    `  restarted at once         p50 ${figures.recoveryAtOnceMs.p50} ms, p99 ${figures.recoveryAtOnceMs.p99} ms`,
    `total time                  ${(figures.tookMs / 1000).toFixed(1)} s`,
  ].join('\n')

export const jsonOf = (results: readonly Result[], figures: Figures, seed: number): string =>
  `${JSON.stringify(
    {
      seed,
      figures,
      cells: results.map(({ cell, lines, ...verdict }) => ({
        ...{ name: cell.name, table: cell.table, row: cell.row, type: cell.type, column: cell.column },
        expected: cell.expected,
        ...verdict,
        ...(verdict.violations.length > 0 ? { lines } : {}),
      })),
      skipped: CELLS.filter((cell) => 'skipped' in cell),
    },
    null,
    2,
  )}\n`
