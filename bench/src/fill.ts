/** Databases of any size: one real command made over HTTP, its rows multiplied while the server is stopped. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { Kind } from './figures/variants.ts'
import { bootProduct } from './product.ts'

export type Filled = {
  /** For `--data-dir` of a server. */
  dataDir: string
  /** The id of the nth of the rows that were made, the oldest is the first. */
  commandId: (number: number) => string
  /** Pending ones that earlier measurements have taken. */
  taken: number
}

/** Time-ordered as the server's own ids are, one a millisecond. */
const idOf = (timeMs: number): string => {
  const time = timeMs.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`
}

/** The same in SQL, for the millisecond `n`. */
const ID_SQL = `printf('%08x-%04x-7000-8000-000000000000', n >> 16, n & 65535)`

export async function fill(folder: string, kind: Kind, count: number): Promise<Filled> {
  const dataDir = join(folder, `${kind}-${count}`)
  rmSync(dataDir, { recursive: true, force: true })
  const scratch = join(folder, 'template')
  mkdirSync(scratch, { recursive: true })
  const product = await bootProduct({ folder: scratch, syncCounter: () => null }, { dataDir })
  await product.submit({ inFlight: 1, count: 1 })
  if (kind === 'finished') {
    await product.startWorkers(1, 1, 'usual')
    await product.allEnded()
  }
  await product.stop()
  rmSync(scratch, { recursive: true })
  // Before the template, so that what is submitted from now on is the newest.
  const firstMs = Date.now() - 3_600_000 - count
  multiply(join(dataDir, 'commands.db'), product.commandIds[0] as string, firstMs, count)
  return { dataDir, commandId: (number) => idOf(firstMs + number - 1), taken: 0 }
}

function multiply(file: string, templateId: string, firstMs: number, count: number): void {
  const database = new Database(file)
  database.pragma('synchronous = OFF')
  const columnsOf = (table: string): string[] =>
    (database.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name)
  const tables = (
    database.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`).all() as {
      name: string
    }[]
  )
    .map(({ name }) => name)
    .filter((table) => columnsOf(table).includes('command_id'))
    // What refers to a command comes after it.
    .sort((a, b) => Number(b === 'commands') - Number(a === 'commands'))
  database.transaction(() => {
    for (const table of tables) {
      // A revision of its own for each event.
      const columns = columnsOf(table).filter((column) => column !== 'seq')
      const own: Record<string, string> = { command_id: ID_SQL, created_at_ms: 'n' }
      const values = columns.map((column) => own[column] ?? column)
      database
        .prepare(
          `WITH RECURSIVE moments (n) AS (SELECT :firstMs UNION ALL SELECT n + 1 FROM moments WHERE n + 1 < :endMs)
          INSERT INTO ${table} (${columns.join(', ')})
          SELECT ${values.join(', ')} FROM moments CROSS JOIN (SELECT * FROM ${table} WHERE command_id = :templateId)`,
        )
        .run({ firstMs, endMs: firstMs + count, templateId })
    }
  })()
  database.pragma('wal_checkpoint(TRUNCATE)')
  database.close()
}
