/** Runs cells side by side: lanes with a server each, which take the next cell when they are done with one. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { watchContainers } from '../docker.ts'
import { createRandom } from '../random.ts'
import { startTarget } from '../target.ts'
import { CELLS, type Cell } from './cells.ts'
import { judge } from './judge.ts'
import { type Lane, openLane } from './lane.ts'
import { type Figures, figuresOf, type Result } from './report.ts'
import { nothing, type Observed, runCell } from './run-cell.ts'

/** A cell that the machine was too slow for is run so often, and then judged all the same. */
const TIMES = 4

export type MatrixOptions = {
  cells: readonly Cell[]
  /** Holds a folder for each lane. */
  dir: string
  /** Cells at a time: they wait more than they work. */
  jobs: number
  /** Which cells meet in a lane, and after which others. */
  seed: number
  onResult?: (result: Result) => void
}

export async function runMatrix({
  cells,
  dir,
  jobs,
  seed,
  onResult = () => {},
}: MatrixOptions): Promise<{ results: Result[]; figures: Figures }> {
  const beganMs = performance.now()
  const target = await startTarget()
  const containers = cells.some(({ type }) => type === 'RUN_AGENT') ? await watchContainers() : null
  const waiting = shuffled(cells, seed).map((cell) => ({ cell, again: TIMES }))
  const results: Result[] = []
  let number = 0

  const close = async (lane: Lane, ran: ReadonlyMap<string, Result>): Promise<void> => {
    for (const commandId of await lane.close()) {
      const result = ran.get(commandId)
      if (result === undefined) continue
      result.violations.push('what was final has changed after later crashes of the server')
      result.lost += 1
      if (!results.includes(result)) results.push(result)
    }
  }
  const work = async (): Promise<void> => {
    let lane: Lane | null = null
    const ran = new Map<string, Result>()
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { cell, again } = next
      number += 1
      if (lane === null) {
        const laneDir = join(dir, `lane-${number}`)
        await mkdir(laneDir, { recursive: true })
        lane = await openLane(laneDir)
      }
      const cellBeganMs = performance.now()
      const seen = await runCell(cell, number, lane, { target, containers }).catch(
        (error: unknown): Observed => ({ ...nothing, problem: String(error) }),
      )
      const verdict = judge(cell, seen)
      const lines = verdict.violations.length > 0 ? seen.lines() : []
      const tookMs = Math.round(performance.now() - cellBeganMs)
      const result: Result = { ...verdict, cell, tookMs, repeated: TIMES - again, lines }
      if (seen.last !== null) ran.set(seen.last.commandId, result)
      if (result.tooSlow && again > 1) waiting.unshift({ cell, again: again - 1 })
      else {
        results.push(result)
        onResult(result)
      }
      // What a broken cell left behind must not be found by the next.
      if (verdict.violations.length > 0) {
        await close(lane, ran)
        lane = null
      }
    }
    if (lane !== null) await close(lane, ran)
  }
  await Promise.all(Array.from({ length: Math.min(jobs, cells.length) }, work))
  await target.close()
  await containers?.removeAll()
  const names = cells.map(({ name }) => name)
  results.sort((one, another) => names.indexOf(one.cell.name) - names.indexOf(another.cell.name))
  const skipped = CELLS.filter((cell) => 'skipped' in cell).length
  return { results, figures: figuresOf(results, skipped, performance.now() - beganMs) }
}

function shuffled<Item>(items: readonly Item[], seed: number): Item[] {
  const random = createRandom(seed)
  const order = items.map((item) => ({ item, key: random.next() }))
  return order.sort((one, another) => one.key - another.key).map(({ item }) => item)
}
