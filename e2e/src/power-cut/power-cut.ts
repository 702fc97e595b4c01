/** Cuts the power at random moments of a recording, and opens what may then be on the disk as the product does. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { closeSqliteFile, openSqliteFile } from '@agent-executor/runtime'
import { createRandom } from '../random.ts'
import { createDisk } from './disk.ts'
import { type Fact, SIDES, type SideName } from './facts.ts'
import type { Recording } from './record.ts'

export type Figures = {
  side: SideName
  images: number
  /** Different facts that were told in the whole recording. */
  acknowledged: number
  /** Images in which one of those told before the cut is missing, and how many are in all. */
  imagesWithLoss: number
  lost: number
  /** Images that could not be opened or are damaged. */
  damaged: number
  /** The first of each kind, for people. */
  examples: string[]
}

const repository = fileURLToPath(new URL('../../../..', import.meta.url))

export function cutPower(recording: Recording, side: SideName, options: { images: number; seed: number }): Figures {
  const { file, factsIn, knows, migrations } = SIDES[side]
  const { steps } = recording[side]
  const random = createRandom(options.seed)
  const toldAt = steps.flatMap((step, index) => (step.type === 'tell' && factsIn(step.text).length > 0 ? [index] : []))
  // Half of the cuts come right after something was told, when a loss would show.
  const cuts = Array.from({ length: options.images }, () =>
    random.chance(0.5) ? random.pick(toldAt) : random.between(0, steps.length - 1),
  ).sort((a, b) => a - b)

  const disk = createDisk()
  const told = new Map<string, Fact>()
  const figures: Figures = { side, images: 0, acknowledged: 0, imagesWithLoss: 0, lost: 0, damaged: 0, examples: [] }
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'power-cut-'))

  const examine = (cut: number): void => {
    figures.images += 1
    const image = join(folder, String(figures.images))
    mkdirSync(image)
    for (const [path, bytes] of disk.cut(random)) writeFileSync(join(image, basename(path)), bytes)
    try {
      const options = { file: join(image, file), exclusive: false, migrations: join(repository, migrations), nowMs: 0 }
      const db = openSqliteFile(options)
      const found = db.pragma('integrity_check', { simple: true })
      if (found !== 'ok') throw new Error(String(found))
      const known = knows(db)
      const missing = [...told.values()].filter((fact) => !known(fact))
      if (missing.length > 0) {
        if (figures.imagesWithLoss === 0) figures.examples.push(`cut after step ${cut}: ${JSON.stringify(missing)}`)
        figures.imagesWithLoss += 1
        figures.lost += missing.length
      }
      closeSqliteFile(db)
    } catch (error) {
      if (figures.damaged === 0) figures.examples.push(`cut after step ${cut}: ${error}`)
      figures.damaged += 1
    }
    rmSync(image, { recursive: true })
  }

  try {
    for (const [index, step] of steps.entries()) {
      if (step.type === 'tell') for (const fact of factsIn(step.text)) told.set(`${fact.what} ${fact.id}`, fact)
      else disk.take(step)
      for (; cuts[0] === index; cuts.shift()) examine(index)
    }
    return { ...figures, acknowledged: told.size }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
