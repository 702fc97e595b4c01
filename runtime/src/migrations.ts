import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type Database from 'better-sqlite3'
import { isDiskFullError, isFatalSqliteError } from './sqlite-errors.ts'

/** A migration that cannot be applied, or a database that this program's migrations do not lead to. */
export class MigrationError extends Error {
  constructor(file: string, problem: string, options?: ErrorOptions) {
    super(`${file}: ${problem}`, options)
    this.name = 'MigrationError'
  }
}

interface Migration {
  number: number
  name: string
  sql: string
  sha256: string
}

/**
 * Applies the files `NNN-name.sql` of the folder that the database does not have yet, each in its own transaction
 * together with its row in `schema_migrations`. Foreign keys are not enforced meanwhile but checked before each commit,
 * because a table can only be rebuilt that way without its children being deleted. Throws `MigrationError` for a gap in
 * the numbers, a file that changed after it was applied, a database newer than the folder, and a statement that fails.
 */
export function migrate(db: Database.Database, folder: string, nowMs: number): void {
  const migrations = readMigrations(folder)
  db.exec(
    `create table if not exists schema_migrations (
       number integer primary key, name text not null, sha256 text not null, applied_at_ms integer not null
     ) strict`,
  )
  refuseNewerOrTorn(db, migrations)
  db.pragma('foreign_keys = OFF')
  for (const migration of migrations) db.transaction(() => applyOnce(db, migration, nowMs)).immediate()
  db.pragma('foreign_keys = ON')
}

function readMigrations(folder: string): Migration[] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.sql'))
  return names.sort().map((name, index) => {
    const number = Number(/^(\d{3})-[^.]+\.sql$/.exec(name)?.[1])
    if (number !== index + 1) {
      const expected = String(index + 1).padStart(3, '0')
      throw new MigrationError(folder, `expected the migration ${expected}-….sql but found ${name}`)
    }
    const sql = readFileSync(join(folder, name), 'utf8')
    return { number, name, sql, sha256: createHash('sha256').update(sql).digest('hex') }
  })
}

function refuseNewerOrTorn(db: Database.Database, migrations: readonly Migration[]): void {
  const rows = db
    .prepare<[], { number: number; name: string }>('select number, name from schema_migrations order by 1')
    .all()
  const torn = rows.find((row, index) => row.number !== index + 1)
  if (torn) throw new MigrationError(db.name, `${torn.name} was applied, but a migration before it was not`)
  const latest = rows.at(-1)
  if (latest && latest.number > migrations.length) {
    const known = migrations.at(-1)?.name ?? 'none'
    const problem = `the database is newer than this program: it has ${latest.name}, the last known migration is ${known}`
    throw new MigrationError(db.name, problem)
  }
}

function applyOnce(db: Database.Database, { number, name, sql, sha256 }: Migration, nowMs: number): void {
  const applied = db
    .prepare<[number], { sha256: string }>('select sha256 from schema_migrations where number = ?')
    .get(number)
  if (applied?.sha256 === sha256) return
  if (applied) {
    const problem = `${name} was changed after it was applied: sha256 was ${applied.sha256}, is now ${sha256}`
    throw new MigrationError(db.name, problem)
  }
  try {
    db.exec(sql)
  } catch (error) {
    if (isFatalSqliteError(error) || isDiskFullError(error)) throw error
    throw new MigrationError(db.name, `${name} failed: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    })
  }
  if (!db.inTransaction) throw new MigrationError(db.name, `${name} must not end the transaction that it runs in`)
  const orphan = db.prepare<[], { table: string; parent: string }>('pragma foreign_key_check').get()
  if (orphan)
    throw new MigrationError(db.name, `${name} leaves rows in ${orphan.table} without their row in ${orphan.parent}`)
  db.prepare('insert into schema_migrations (number, name, sha256, applied_at_ms) values (?, ?, ?, ?)').run(
    number,
    name,
    sha256,
    nowMs,
  )
}
