import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t from 'tap'
import {
  closeSqliteFile,
  isBusyError,
  isDiskFullError,
  isFatalSqliteError,
  openSqliteFile,
  SqliteFileCorruptError,
} from '../src/index.ts'
import { firstLine, killHard, run, start } from './fixtures/run.ts'

const NOTES = 'create table note (id integer primary key, text text not null) strict;'

type Tap = Pick<typeof t, 'testdir'>

/** A folder with one migration, and the options to open a new file there. */
function createFolder(t: Tap, migrations: Record<string, string> = { '001-notes.sql': NOTES }) {
  const folder = t.testdir({ migrations })
  return { folder, file: join(folder, 'data', 'test.db'), migrations: join(folder, 'migrations'), nowMs: 1000 }
}

function bytesOf(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => [name, readFileSync(join(folder, name), 'base64')]),
  )
}

function pragma(db: Database.Database, name: string): unknown {
  return db.pragma(name, { simple: true })
}

t.test('a new file is private to its owner, in WAL mode, and synced at every commit', async (t) => {
  const { folder, file, migrations, nowMs } = createFolder(t)
  const db = openSqliteFile({ file, migrations, nowMs, pragmas: { cache_size: -4000 } })
  t.teardown(() => closeSqliteFile(db))
  db.prepare('insert into note (text) values (?)').run('a')
  db.prepare('select * from note').all()

  t.equal(pragma(db, 'synchronous'), 2, 'FULL, also after writing and reading')
  t.equal(pragma(db, 'journal_mode'), 'wal')
  t.equal(pragma(db, 'foreign_keys'), 1)
  t.equal(pragma(db, 'busy_timeout'), 5000)
  t.equal(pragma(db, 'trusted_schema'), 0)
  t.equal(pragma(db, 'cache_size'), -4000)
  for (const suffix of ['', '-wal', '-shm']) t.equal(statSync(file + suffix).mode & 0o777, 0o600, `mode of ${suffix}`)
  t.equal(statSync(join(folder, 'data')).mode & 0o777, 0o700)
})

t.test('durability cannot be given up by a pragma', async (t) => {
  const options = createFolder(t)
  t.throws(() => openSqliteFile({ ...options, pragmas: { synchronous: 'NORMAL' } }), {
    message: /synchronous is 1, not 2/,
  })
  closeSqliteFile(openSqliteFile(options))
})

t.test('only a file on disk is accepted', async (t) => {
  for (const file of ['', ':memory:']) t.throws(() => openSqliteFile({ ...createFolder(t), file }), /is not the path/)
})

t.test('closing moves the WAL into the file, releases the lock, and may be done twice', async (t) => {
  const options = createFolder(t)
  const db = openSqliteFile(options)
  db.prepare('insert into note (text) values (?)').run('kept')
  closeSqliteFile(db)
  closeSqliteFile(db)
  t.equal(existsSync(`${options.file}-wal`), false)
  const again = openSqliteFile(options)
  t.strictSame(again.prepare('select text from note').pluck().all(), ['kept'])
  closeSqliteFile(again)
})

t.test('a second process is refused, also while the first is stopped, until the kernel has ended it', async (t) => {
  const { file, migrations, nowMs } = createFolder(t)
  const holder = start('hold-sqlite-file', file, migrations, 'committed')
  t.equal(await firstLine(holder), 'open')
  t.strictSame((await run('hold-sqlite-file', file, migrations)).lines, ['SqliteFileLockedError'])
  t.throws(() => openSqliteFile({ file, migrations, nowMs }), {
    name: 'SqliteFileLockedError',
    file,
    message: `${file} is in use by another process`,
  })
  holder.kill('SIGSTOP')
  const startMs = performance.now()
  t.throws(() => openSqliteFile({ file, migrations, nowMs }), { name: 'SqliteFileLockedError' })
  t.ok(performance.now() - startMs < 2000, 'at once')

  const reader = openSqliteFile({ file, migrations, nowMs, exclusive: false })
  t.strictSame(reader.prepare('select text from note').pluck().all(), ['committed'], 'a backup can still read')
  closeSqliteFile(reader)

  await killHard(holder)
  const db = openSqliteFile({ file, migrations, nowMs })
  t.strictSame(db.prepare('select text from note').pluck().all(), ['committed'])
  t.throws(() => openSqliteFile({ file, migrations, nowMs }), { name: 'SqliteFileLockedError' }, 'in one process too')
  closeSqliteFile(db)
})

t.test('a file is one file under all its names', async (t) => {
  const options = createFolder(t)
  const db = openSqliteFile(options)
  t.teardown(() => closeSqliteFile(db))
  const link = join(options.folder, 'link.db')
  symlinkSync(options.file, link)
  t.throws(() => openSqliteFile({ ...options, file: link }), { name: 'SqliteFileLockedError' })
})

t.test('of processes that start in one instant exactly one gets the file', async (t) => {
  for (let round = 0; round < 3; round++) {
    const { file, migrations } = createFolder(t)
    const children = [1, 2, 3].map(() => start('hold-sqlite-file', file, migrations))
    const said = await Promise.all(children.map(firstLine))
    t.strictSame(said.sort(), ['SqliteFileLockedError', 'SqliteFileLockedError', 'open'])
    await Promise.all(children.filter((child) => child.exitCode === null).map(killHard))
  }
})

t.test('damage is found before anything is written, and the file is left as it is', async (t) => {
  t.test('in the middle of a database, with a WAL that nobody has moved yet', async (t) => {
    const { file, migrations, nowMs } = createFolder(t)
    const db = openSqliteFile({ file, migrations, nowMs })
    const insert = db.prepare('insert into note (text) values (?)')
    db.transaction(() => {
      for (let row = 0; row < 2000; row++) insert.run('x'.repeat(100))
    })()
    closeSqliteFile(db)
    const holder = start('hold-sqlite-file', file, migrations, 'in the WAL')
    await firstLine(holder)
    await killHard(holder)
    const bytes = readFileSync(file)
    bytes.fill(0xff, 4096 * 20, 4096 * 21)
    writeFileSync(file, bytes)

    const before = readFileSync(file)
    const wal = readFileSync(`${file}-wal`)
    t.throws(() => openSqliteFile({ file, migrations, nowMs }), {
      name: 'SqliteFileCorruptError',
      file,
      message: /page 21/,
    })
    t.ok(readFileSync(file).equals(before))
    t.ok(wal.length > 0 && readFileSync(`${file}-wal`).equals(wal))
    t.throws(
      () => openSqliteFile({ file, migrations, nowMs }),
      { name: 'SqliteFileCorruptError' },
      'the lock is free again',
    )
  })

  for (const [what, text] of [
    ['a text', 'not a database, '.repeat(1000)],
    ['some bytes', 'hi'],
  ] as const) {
    t.test(`in a file that is ${what}`, async (t) => {
      const { file, folder, migrations, nowMs } = createFolder(t)
      mkdirSync(join(folder, 'data'))
      writeFileSync(file, text)
      t.throws(() => openSqliteFile({ file, migrations, nowMs }), {
        name: 'SqliteFileCorruptError',
        message: /not a database/,
      })
      t.equal(readFileSync(file, 'utf8'), text)
    })
  }
})

t.test('a file whose creation was cut short is opened', async (t) => {
  const { file, folder, migrations, nowMs } = createFolder(t)
  // What is left behind by a kill inside a transaction in the rollback mode that every new file begins with.
  const source = new Database(join(folder, 'source.db'))
  source.exec('create table draft (text)')
  source.pragma('cache_size = 1')
  source.exec('begin')
  const insert = source.prepare('insert into draft values (?)')
  for (let row = 0; row < 1000; row++) insert.run('x'.repeat(500))
  mkdirSync(join(folder, 'data'))
  copyFileSync(join(folder, 'source.db'), file)
  copyFileSync(join(folder, 'source.db-journal'), `${file}-journal`)
  source.exec('rollback')
  source.close()

  const db = openSqliteFile({ file, migrations, nowMs })
  t.equal(db.prepare('select count(*) from draft').pluck().get(), 0)
  closeSqliteFile(db)
})

t.test('a file or folder that cannot be written is refused', async (t) => {
  // Not the test folder: the unprivileged user of the fixture might not get there.
  const folder = mkdtempSync(join(tmpdir(), 'sqlite-file-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'test.db')
  const migrations = join(folder, 'migrations')
  mkdirSync(migrations)
  closeSqliteFile(openSqliteFile({ file, migrations, nowMs: 1 }))
  if (process.getuid?.() === 0) for (const path of [folder, file, `${file}.lock`]) chownSync(path, 65534, 65534)

  chmodSync(file, 0o400)
  const before = bytesOf(folder)
  t.strictSame((await run('open-unprivileged', file, migrations)).lines, ['SqliteFileReadOnlyError'])
  chmodSync(file, 0o600)
  chmodSync(folder, 0o500)
  t.strictSame((await run('open-unprivileged', file, migrations)).lines, ['SqliteFileReadOnlyError'])
  t.strictSame(bytesOf(folder), before)
})

t.test('migrations', async (t) => {
  t.test('are applied once, in order, with their checksum and time', async (t) => {
    const { file, migrations } = createFolder(t, {
      '001-notes.sql': NOTES,
      '002-done.sql': 'alter table note add done int;',
    })
    closeSqliteFile(openSqliteFile({ file, migrations, nowMs: 1000 }))
    writeFileSync(join(migrations, '003-more.sql'), 'create table more (a);')
    writeFileSync(join(migrations, 'README.md'), 'not a migration')
    const db = openSqliteFile({ file, migrations, nowMs: 2000 })
    const rows = db.prepare('select number, name, sha256, applied_at_ms from schema_migrations').all()
    t.match(rows, [
      { number: 1, name: '001-notes.sql', sha256: /^[0-9a-f]{64}$/, applied_at_ms: 1000 },
      { number: 2, name: '002-done.sql', applied_at_ms: 1000 },
      { number: 3, name: '003-more.sql', applied_at_ms: 2000 },
    ])
    closeSqliteFile(db)
  })

  t.test('that fail leave the database at the one before', async (t) => {
    const options = createFolder(t, {
      '001-notes.sql': NOTES,
      '002-bad.sql': 'create table half (a); insert into nowhere values (1);',
    })
    t.throws(() => openSqliteFile(options), {
      name: 'MigrationError',
      message: /test\.db: 002-bad\.sql failed: no such table/,
    })
    rmSync(join(options.migrations, '002-bad.sql'))
    const db = openSqliteFile(options)
    t.strictSame(db.prepare("select name from sqlite_schema where type = 'table'").pluck().all(), [
      'schema_migrations',
      'note',
    ])
    closeSqliteFile(db)
  })

  t.test('that end their transaction are refused', async (t) => {
    const options = createFolder(t, { '001-commit.sql': 'create table a (b); commit;' })
    t.throws(() => openSqliteFile(options), { name: 'MigrationError', message: /001-commit\.sql must not end/ })
  })

  t.test('can rebuild a table that others refer to, but not leave orphans', async (t) => {
    const parents =
      'create table parent (id integer primary key); create table child (p references parent on delete cascade);'
    const rebuild =
      'create table new (id integer primary key, n); insert into new (id) select id from parent; drop table parent; alter table new rename to parent;'
    const options = createFolder(t, {
      '001-a.sql': `${parents} insert into parent values (1); insert into child values (1);`,
    })
    closeSqliteFile(openSqliteFile(options))
    writeFileSync(join(options.migrations, '002-rebuild.sql'), rebuild)
    const db = openSqliteFile(options)
    t.equal(db.prepare('select count(*) from child').pluck().get(), 1)
    t.throws(() => db.exec('insert into child values (2)'), { code: 'SQLITE_CONSTRAINT_FOREIGNKEY' })
    closeSqliteFile(db)
    writeFileSync(join(options.migrations, '003-orphan.sql'), 'delete from parent;')
    t.throws(() => openSqliteFile(options), { name: 'MigrationError', message: /003-orphan\.sql.*child.*parent/ })
  })

  t.test('that changed, are missing, or are unknown to this program are refused, naming both sides', async (t) => {
    const options = createFolder(t, { '001-notes.sql': NOTES, '002-more.sql': 'create table more (a);' })
    closeSqliteFile(openSqliteFile(options))
    const second = join(options.migrations, '002-more.sql')

    writeFileSync(second, 'create table more (b);')
    t.throws(() => openSqliteFile(options), {
      name: 'MigrationError',
      message: /test\.db: 002-more\.sql was changed.*was [0-9a-f]{64}, is now [0-9a-f]{64}/,
    })
    rmSync(second)
    t.throws(() => openSqliteFile(options), {
      name: 'MigrationError',
      message: /database is newer than this program: it has 002-more\.sql, the last known migration is 001-notes\.sql/,
    })
    writeFileSync(join(options.migrations, '003-gap.sql'), '')
    t.throws(() => openSqliteFile(options), { name: 'MigrationError', message: /expected.*002-….*found 003-gap\.sql/ })
    writeFileSync(join(options.migrations, 'later.sql'), '')
    rmSync(join(options.migrations, '003-gap.sql'))
    t.throws(() => openSqliteFile(options), { name: 'MigrationError', message: /found later\.sql/ })
    rmSync(join(options.migrations, 'later.sql'))

    writeFileSync(second, 'create table more (a);')
    const db = openSqliteFile(options)
    db.exec('delete from schema_migrations where number = 1')
    closeSqliteFile(db)
    t.throws(() => openSqliteFile(options), {
      name: 'MigrationError',
      message: /002-more\.sql was applied, but.*before it/,
    })
  })
})

t.test('an error tells what it means for the process', async (t) => {
  const error = (code: string) => new Database.SqliteError('message', code)
  for (const code of [
    'SQLITE_IOERR',
    'SQLITE_IOERR_FSYNC',
    'SQLITE_CORRUPT',
    'SQLITE_CORRUPT_INDEX',
    'SQLITE_NOTADB',
  ]) {
    t.equal(isFatalSqliteError(error(code)), true, code)
  }
  t.equal(isFatalSqliteError(new SqliteFileCorruptError('file', 'is damaged')), true)
  for (const other of [
    error('SQLITE_FULL'),
    error('SQLITE_BUSY'),
    new Error('SQLITE_IOERR'),
    null,
    { code: 'SQLITE_IOERR' },
  ]) {
    t.equal(isFatalSqliteError(other), false)
  }
  t.equal(isDiskFullError(error('SQLITE_FULL')), true)
  t.equal(isDiskFullError(error('SQLITE_IOERR')), false)
  t.equal(isBusyError(error('SQLITE_BUSY_SNAPSHOT')), true)
  t.equal(isBusyError(error('SQLITE_LOCKED')), false)
})

t.test('a full disk is told by its error, and what was committed stays', async (t) => {
  const options = createFolder(t)
  const db = openSqliteFile({ ...options, pragmas: { max_page_count: 20 } })
  const insert = db.prepare('insert into note (text) values (?)')
  insert.run('first')
  let thrown: unknown
  try {
    for (;;) insert.run('x'.repeat(4000))
  } catch (error) {
    thrown = error
  }
  t.equal(isDiskFullError(thrown), true)
  t.equal(db.prepare('select text from note where id = 1').pluck().get(), 'first')
  closeSqliteFile(db)
})
