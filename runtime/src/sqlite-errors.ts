// What can be wrong with a database file, and what an error of the driver means for the process.

/** A database file that cannot be used; `file` is its path. */
export class SqliteFileError extends Error {
  readonly file: string

  constructor(file: string, problem: string, options?: ErrorOptions) {
    super(`${file} ${problem}`, options)
    this.name = new.target.name
    this.file = file
  }
}

/** Another process holds the file. */
export class SqliteFileLockedError extends SqliteFileError {}

/** The file is damaged or no database at all; nothing was written to it. Counts as fatal, as the driver's own error does. */
export class SqliteFileCorruptError extends SqliteFileError {
  readonly code = 'SQLITE_CORRUPT'
}

/** The file or its folder cannot be written. */
export class SqliteFileReadOnlyError extends SqliteFileError {}

/** True where the file cannot be trusted any more (I/O error, corruption, not a database): exit with `EXIT.io`, write nothing. */
export function isFatalSqliteError(error: unknown): boolean {
  return /^SQLITE_(IOERR|CORRUPT|NOTADB)/.test(sqliteCode(error))
}

/** True where the disk is full: the transaction was rolled back, and later ones may succeed. */
export function isDiskFullError(error: unknown): boolean {
  return sqliteCode(error) === 'SQLITE_FULL'
}

/** True where another connection held the database for longer than `busy_timeout`. */
export function isBusyError(error: unknown): boolean {
  return sqliteCode(error).startsWith('SQLITE_BUSY')
}

/** The driver's extended code (`SQLITE_…`), or `''` for any other error. */
export function sqliteCode(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : ''
}
