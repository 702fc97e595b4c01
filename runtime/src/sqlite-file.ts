// Opening a database file so that what is committed stays: one process a file, every commit synced, damage found first.
import { accessSync, closeSync, constants, fsyncSync, mkdirSync, openSync, realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { migrate } from './migrations.ts'
import {
  isBusyError,
  isDiskFullError,
  SqliteFileCorruptError,
  SqliteFileError,
  SqliteFileLockedError,
  SqliteFileReadOnlyError,
  sqliteCode,
} from './sqlite-errors.ts'

const SYNCHRONOUS_FULL = 2

// Not 0: two processes that start in the same instant would see each other's attempt, and both would give up.
const LOCK_PATIENCE_MS = 100

export type SqliteDatabase = Database.Database

export interface SqliteFileOptions {
  file: string
  /** Whether a second process must be refused; true where absent. */
  exclusive?: boolean
  /** The folder of `NNN-name.sql` files. */
  migrations: string
  /** More pragmas by name; they cannot lower the durability. */
  pragmas?: Readonly<Record<string, string | number>>
  /** Milliseconds since 1970, recorded with each migration that is applied. */
  nowMs: number
}

// Reachable from the database alone: while anybody can write, the lock cannot be garbage-collected and thus released.
const locks = new WeakMap<SqliteDatabase, SqliteDatabase>()

/**
 * Opens (or creates, with its folder, readable by the owner only) a database file in WAL mode with every commit synced,
 * and brings its schema up to date. Throws `SqliteFileLockedError` at once where another process has it open
 * exclusively, `SqliteFileCorruptError` where it is damaged or no database, `SqliteFileReadOnlyError`, and
 * `MigrationError`; in each case the file is closed again and the lock released.
 */
export function openSqliteFile({
  file,
  exclusive = true,
  migrations,
  pragmas = {},
  nowMs,
}: SqliteFileOptions): SqliteDatabase {
  if (file === '' || file === ':memory:') throw new SqliteFileError(`"${file}"`, 'is not the path of a file')
  const path = createFile(file)
  const lock = exclusive ? takeLock(path) : undefined
  let db: SqliteDatabase | undefined
  try {
    refuseDamage(path)
    db = new Database(path, { timeout: 5000 })
    prepare(db, pragmas)
    migrate(db, migrations, nowMs)
    assertDurable(db)
    if (lock) locks.set(db, lock)
    return db
  } catch (error) {
    db?.close()
    lock?.close()
    throw error
  }
}

/** Moves the WAL into the file, closes it and releases its lock. Does nothing where it is closed already. */
export function closeSqliteFile(db: SqliteDatabase): void {
  try {
    if (db.open) db.pragma('wal_checkpoint(TRUNCATE)')
  } catch (error) {
    // A full disk: what is committed stays in the WAL, and the next open finds it there.
    if (!isDiskFullError(error) && !isBusyError(error)) throw error
  } finally {
    db.close()
    locks.get(db)?.close()
  }
}

/** Makes sure that the file exists, is writable, and would still be there after a power cut. Returns its real path. */
function createFile(file: string): string {
  const folder = dirname(resolve(file))
  try {
    const firstCreated = mkdirSync(folder, { recursive: true, mode: 0o700 })
    createEmpty(file)
    // Also where it existed: whoever created it may have been killed before it came to this.
    syncFolders(folder, firstCreated ? dirname(firstCreated) : folder)
    // Two names of one file must come to the same lock.
    const path = realpathSync(file)
    accessSync(path, constants.R_OK | constants.W_OK)
    accessSync(dirname(path), constants.W_OK)
    return path
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM', 'EROFS')) {
      throw new SqliteFileReadOnlyError(file, 'or its folder cannot be written', { cause: error })
    }
    throw error
  }
}

function createEmpty(file: string): void {
  try {
    // The WAL and its index take over this mode.
    closeSync(openSync(file, 'wx', 0o600))
  } catch (error) {
    // Never opened here where it exists: closing it again would drop the locks that this process holds on it (fcntl(2)).
    if (!isErrno(error, 'EEXIST')) throw error
  }
}

function syncFolders(from: string, upTo: string): void {
  for (let folder = from; ; folder = dirname(folder)) {
    const fd = openSync(folder, constants.O_RDONLY)
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    if (folder === upTo) return
  }
}

// A lock of its own file, because a WAL database must stay readable for backups. The kernel releases it when the process
// ends, however it ends. The file stays: if it were deleted, two processes could each lock "the" file.
function takeLock(path: string): SqliteDatabase {
  const lock = new Database(join(dirname(path), `${basename(path)}.lock`), { timeout: LOCK_PATIENCE_MS })
  try {
    lock.pragma('journal_mode = MEMORY')
    lock.exec('begin exclusive')
    return lock
  } catch (error) {
    lock.close()
    if (!isBusyError(error)) throw error
    throw new SqliteFileLockedError(path, 'is in use by another process', { cause: error })
  }
}

function refuseDamage(path: string): void {
  const finding = quickCheck(path)
  if (finding !== 'ok') throw new SqliteFileCorruptError(path, `is damaged: ${finding}`)
}

// On a connection that cannot write, since even closing a writing one moves the WAL into the damaged file.
function quickCheck(path: string): string {
  const db = new Database(path, { readonly: true })
  try {
    return String(db.pragma('quick_check(1)', { simple: true }))
  } catch (error) {
    const code = sqliteCode(error)
    if (code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT')) return (error as Error).message
    if (code !== 'SQLITE_READONLY_ROLLBACK') throw error
    // The process was killed while it created the file, before WAL mode: a writer has to undo that first.
    rollBack(path)
    return quickCheck(path)
  } finally {
    db.close()
  }
}

function rollBack(path: string): void {
  const db = new Database(path)
  try {
    readSchema(db)
  } finally {
    db.close()
  }
}

function prepare(db: SqliteDatabase, pragmas: Readonly<Record<string, string | number>>): void {
  const journalMode = db.pragma('journal_mode = WAL', { simple: true })
  if (journalMode !== 'wal') throw new SqliteFileError(db.name, `cannot be in WAL mode: it is in ${journalMode} mode`)
  db.pragma('synchronous = FULL')
  // What a savepoint remembers to go back to spills into a file otherwise, with every transaction of some size.
  db.pragma('temp_store = MEMORY')
  db.pragma('trusted_schema = OFF')
  for (const [name, value] of Object.entries(pragmas)) db.pragma(`${name} = ${value}`)
}

// The driver lowers `synchronous` to NORMAL at the first access in WAL mode unless it was set, and answers FULL until
// then: only a question after a real read tells what a commit will do.
function assertDurable(db: SqliteDatabase): void {
  readSchema(db)
  const synchronous = db.pragma('synchronous', { simple: true })
  if (synchronous !== SYNCHRONOUS_FULL) {
    throw new SqliteFileError(
      db.name,
      `would not sync its commits: synchronous is ${synchronous}, not ${SYNCHRONOUS_FULL}`,
    )
  }
}

function readSchema(db: SqliteDatabase): void {
  db.prepare('select count(*) from sqlite_schema').get()
}

function isErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
