import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SqliteFileLockedError } from '@agent-executor/runtime'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { PHASES } from '../../src/lifecycle/command.ts'
import { openSqliteStore } from '../../src/store/sqlite-store.ts'
import { agent, policy, running, waiting } from '../lifecycle/builders.ts'
import { type OpenOptions, storeContract } from './contract.ts'

const openFile = (file: string, options: OpenOptions = {}) =>
  openSqliteStore({
    nowMs: 1,
    newEpoch: 'epoch-one',
    ...options,
    file,
    policy,
    onFatal: (error) => {
      throw error
    },
  })

const open = async (t: Test, options: OpenOptions = {}) => {
  const file = join(t.testdir(), 'commands.db')
  let store = openFile(file, options)
  t.teardown(() => store.close())
  const reopen = async (again: OpenOptions = {}) => {
    await store.close()
    store = openFile(file, again)
    return store
  }
  return { store, reopen, file }
}

storeContract(t, open)

const sqlDirectory = fileURLToPath(new URL('../../../sql/sqlite/', import.meta.url))
const statement = (name: string) => readFileSync(join(sqlDirectory, `${name}.sql`), 'utf8')

/** A second connection, past the store: for what only the database itself can tell. */
const inside = (t: Test, file: string): Database.Database => {
  const db = new Database(file)
  t.teardown(() => db.close())
  return db
}

t.test('the statements that run all the time use the index that was made for them', async (t) => {
  const { store, file } = await open(t)
  for (let index = 0; index < 50; index++) await store.submit(waiting(`a${index}`, { expiresAtMs: 1000 + index }), null)
  const db = inside(t, file)
  const planOf = (name: string): string[] => {
    const explain = db.prepare<[object], { detail: string }>(`EXPLAIN QUERY PLAN ${statement(name)}`)
    const filters = {
      before: 'a',
      every: 1,
      pending: 1,
      running: 1,
      statuses: null,
      types: null,
      label: null,
      createdFromMs: null,
      createdToMs: null,
      text: null,
    }
    const parameters = { ...filters, lane: '', limit: 1, nowMs: 1, agentId: 'x', dueAtMs: 1, commandId: 'a' }
    return explain.all(parameters).map(({ detail }) => detail)
  }
  const uses = [
    ['command-ready', 'commands_ready (lane=?)'],
    ['lane-list', 'commands_ready'],
    ['command-due', 'commands_due (due_at_ms>? AND due_at_ms<?)'],
    ['command-due-next', 'commands_due'],
    ['command-live', 'commands_live'],
    ['command-lease-over', 'commands_live'],
    ['agent-list', 'commands_live (agent_id=?)'],
    ['command-rebase', 'commands_due (due_at_ms>?)'],
    ['event-list', 'events_command (command_id=?)'],
    ['command-list', 'commands_open (status=? AND command_id<?)'],
  ] as const
  for (const [name, index] of uses) {
    const plan = planOf(name)
    t.ok(
      plan.some((line) => line.includes(`INDEX ${index}`)),
      `${name}: ${plan.join('; ')}`,
    )
    t.notOk(
      plan.some((line) => /^SCAN (?!agents|lanes|candidates|json_each)/.test(line) && !line.includes('INDEX')),
      `${name} reads no table from end to end`,
    )
  }
  for (const name of ['command-ready', 'command-due', 'command-list'])
    t.notOk(
      planOf(name).some((line) => line.includes('TEMP B-TREE')),
      `${name} sorts nothing`,
    )
})

t.test('the statements that write all the time build no tables of their own', async (t) => {
  const { file } = await open(t)
  const db = inside(t, file)
  for (const name of [
    'command-insert',
    'command-move',
    'command-update',
    'attempt-insert',
    'attempt-update',
    'event-save',
    'agent-update',
  ]) {
    const text = statement(name)
    const parameters = Object.fromEntries(
      [...text.matchAll(/:(\w+)/g)].map(([, parameter]) => [parameter as string, null]),
    )
    const steps = db.prepare<[object], { opcode: string }>(`EXPLAIN ${text}`).all(parameters)
    t.notOk(
      steps.some(({ opcode }) => opcode === 'OpenEphemeral'),
      `${name}: a CHECK or an index has IN (…)`,
    )
  }
})

t.test('a file that a server has open is refused to a second one, and free again after close', async (t) => {
  const { store, file } = await open(t)
  t.throws(() => openFile(file), SqliteFileLockedError)
  await store.submit(waiting('a'), null)
  await store.close()
  const second = openFile(file)
  t.ok(await second.get('a'))
  await second.close()
})

t.test('a database of a newer version is refused and left as it is', async (t) => {
  const { store, file } = await open(t)
  await store.submit(waiting('a'), null)
  await store.close()
  const db = inside(t, file)
  const [table] = db
    .prepare<[], { name: string }>("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%migration%'")
    .all()
  if (table === undefined) return t.fail('no table of migrations')
  const columns = db.pragma(`table_info(${table.name})`) as { name: string; type: string }[]
  const values = columns.map(({ type }) => (type === 'INTEGER' ? 999 : 'from the future'))
  db.prepare(`INSERT INTO ${table.name} VALUES (${columns.map(() => '?').join(', ')})`).run(values)
  t.throws(() => openFile(file), /newer|999/)
  t.equal(db.prepare('SELECT count(*) FROM commands').pluck().get(), 1)
})

t.test('every commit is synced', async (t) => {
  const { store, file } = await open(t)
  await store.submit(waiting('a'), null)
  await store.close()
  const { prototype } = Database as unknown as { prototype: { prepare: (sql: string) => unknown } }
  const { prepare } = prototype
  const connections = new Set<Database.Database>()
  prototype.prepare = function (this: Database.Database, sql: string) {
    connections.add(this)
    return prepare.call(this, sql)
  }
  t.teardown(() => {
    prototype.prepare = prepare
  })
  const again = openFile(file)
  await again.submit(waiting('b'), null)
  const [db] = [...connections].filter((each) => each.open && !each.readonly && each.name === file)
  t.equal(db?.pragma('journal_mode', { simple: true }), 'wal')
  t.equal(db?.pragma('synchronous', { simple: true }), 2, 'FULL')
  t.equal(db?.pragma('foreign_keys', { simple: true }), 1)
  t.equal(db?.pragma('busy_timeout', { simple: true }), 5000)
  await again.close()
})

t.test('a row that cannot be is refused by the database, whoever writes it', async (t) => {
  const { store, file } = await open(t)
  await store.submit(waiting('a'), null)
  await store.submit(running('b'), null)
  await store.lease({ operation: 'register', agentId: 'x', ask: [], want: {}, mayTake: () => false, nowMs: 1 }, () => ({
    agent: agent('x'),
    changes: [],
    evidence: [],
    answer: null,
  }))
  const db = inside(t, file)
  const planted = [
    "UPDATE commands SET status = 'RUNNING' WHERE command_id = 'a'",
    "UPDATE commands SET phase = 'LOST' WHERE command_id = 'a'",
    "UPDATE commands SET status = 'COMPLETED', phase = 'COMPLETED' WHERE command_id = 'b'",
    "UPDATE commands SET status = 'COMPLETED', phase = 'COMPLETED', finished_at_ms = 1, due_at_ms = NULL WHERE command_id = 'a'",
    "UPDATE commands SET status = 'FAILED', phase = 'FAILED', finished_at_ms = 1, due_at_ms = NULL WHERE command_id = 'b'",
    "UPDATE commands SET status = 'DONE' WHERE command_id = 'a'",
    "UPDATE commands SET ready = 1 WHERE command_id = 'b'",
    "UPDATE commands SET granted_count = 2 WHERE command_id = 'b'",
    "UPDATE commands SET crash_count = 2 WHERE command_id = 'b'",
    "UPDATE commands SET granted_attempt = 2 WHERE command_id = 'b'",
    "UPDATE commands SET started_at_ms = NULL WHERE command_id = 'b'",
    "UPDATE commands SET priority = 'high' WHERE command_id = 'a'",
    "UPDATE attempts SET state = 'OFFERED' WHERE command_id = 'b'",
    "UPDATE attempts SET state = 'LOST' WHERE command_id = 'b'",
    "UPDATE attempts SET state = 'SUCCEEDED' WHERE command_id = 'b'",
    "UPDATE attempts SET finished_at_ms = 1 WHERE command_id = 'b'",
    "UPDATE attempts SET incarnation = NULL WHERE command_id = 'b'",
    "UPDATE attempts SET number = 0 WHERE command_id = 'b'",
    "UPDATE agents SET kind = 'simple'",
    'UPDATE agents SET incarnation = 0',
    "INSERT INTO server_state VALUES (2, 'another', 0)",
    "INSERT INTO attempts (command_id, number, state, agent_id, lease_ms, offered_at_ms) VALUES ('nowhere', 1, 'OFFERED', 'x', 0, 1)",
  ]
  db.pragma('foreign_keys = ON')
  for (const sql of planted) t.throws(() => db.exec(sql), { code: /^SQLITE_CONSTRAINT/ }, sql)
})

t.test('every phase of the lifecycle is one the table knows', async (t) => {
  const { file } = await open(t)
  const table = inside(t, file)
    .prepare<[], { sql: string }>("SELECT sql FROM sqlite_schema WHERE name = 'commands'")
    .get()
  const phases = [...(table?.sql ?? '').matchAll(/WHEN '(\w+)' THEN '\w+'/g)].map(([, phase]) => phase)
  t.same(phases, PHASES)
})

t.test('every statement begins with what it does, and is used', async (t) => {
  const store = fileURLToPath(new URL('../../../src/store/', import.meta.url))
  const source = readdirSync(store)
    .map((each) => readFileSync(join(store, each), 'utf8'))
    .join('\n')
  for (const name of readdirSync(sqlDirectory).filter((each) => each.endsWith('.sql'))) {
    t.match(readFileSync(join(sqlDirectory, name), 'utf8'), /^-- [A-Z].*[.:\n]/, name)
    t.ok(source.includes(`'${name.slice(0, -4)}'`), `${name} is used`)
  }
})
