/**
 * The store on one SQLite file, owned by one server process. Writes that arrive in the same turn of the event loop share
 * one `BEGIN IMMEDIATE` transaction with `synchronous=FULL`; where one of them fails they are made again, each in a
 * savepoint of its own. better-sqlite3 runs a transaction to its end without letting anything else in, so nothing is
 * locked by row.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  closeSqliteFile,
  isBusyError,
  isDiskFullError,
  isFatalSqliteError,
  openSqliteFile,
} from '@agent-executor/runtime'
import type Database from 'better-sqlite3'
import type { Agent, Change, Evidence, ServerState } from '../lifecycle/agent.ts'
import {
  type Attempt,
  type Command,
  type CommandSpec,
  lastGrantedAttempt,
  newestAttempt,
  phaseOf,
} from '../lifecycle/command.ts'
import { laneOf, parseLane } from '../lifecycle/matching.ts'
import { depthAfter } from '../lifecycle/queue-depth.ts'
import { SPEC_DEFAULTS } from '../lifecycle/submission.ts'
import { dueAtMs, isReady, type LifecyclePolicy } from '../lifecycle/transition.ts'
import type { DocumentStore } from './documents.ts'
import type { FileStore } from './files.ts'
import { createLiveCommands } from './live-commands.ts'
import type { LogStore } from './logs.ts'
import type { PriceStore } from './prices.ts'
import { createSqliteDocuments } from './sqlite-documents.ts'
import { createSqliteFiles } from './sqlite-files.ts'
import { createSqliteLogs, type LogStatements } from './sqlite-logs.ts'
import { createSqlitePrices } from './sqlite-prices.ts'
import { createSqliteUsage } from './sqlite-usage.ts'
import {
  type CommitListener,
  type CrashPoint,
  type IdempotencyKey,
  type LoggedEvent,
  type Operation,
  type Store,
  StoreUnavailableError,
  type Submitted,
} from './store.ts'
import type { UsageStore } from './usage.ts'

export type SqliteStoreOptions = {
  file: string
  policy: LifecyclePolicy
  nowMs: number
  /** The epoch of a database that is new. */
  newEpoch: string
  /** Called inside the transaction right before its commit and right after it, for crash tests. */
  crashPoint?: (name: CrashPoint) => void
  onCommit?: CommitListener
  /** How many commands may be PENDING before submissions are refused; no limit where absent. */
  queueMax?: number
  /** What one page of a list may look at. */
  listMax?: ListMax
  /** Rows of sums that a question about usage may look at. */
  usageRowsMax?: number
  /**
   * Called on an I/O error or corruption, and must not return: after a failed fsync the row may still appear, so that
   * nothing this process believes about the file can be trusted any more.
   */
  onFatal: (error: unknown) => never
}

/** Made with Object.assign or in one piece: to add names to a spread costs a statement's time. */
type Row = Record<string, unknown>

type Written<Result> = { result: Result; changes: readonly Change[] }
type Writing = {
  /** null: no hand-over of a command depends on it, and it has no crash points. */
  operation: Operation | null
  body: () => Written<unknown>
  resolve: (result: unknown) => void
  reject: (error: unknown) => void
}

/** Writes a transaction; more would keep the first of them, and every other caller, waiting. */
const BATCH_MAX = 1000

/** What is kept of the file in memory: enough for the parts of every index that are in use. */
const CACHE_KIB = 16 * 1024
/** A live command of which more was submitted is not kept in memory: there may be ten thousand of them. */
const LIVE_SPEC_BYTES_MAX = 4096

/** Rows, and bytes of what was submitted and of results, the row that passes the limit included. */
export type ListMax = { rows: number; bytes: number }

/** About 10 ms, in which the server does nothing else (docs/adr/0010). */
const LIST_MAX: ListMax = { rows: 2000, bytes: 2_097_152 }
/** Sorts after all of `Id`. */
const AFTER_EVERY_ID = '~'

/** How long a due command about which nothing could be decided is left alone, so that the others get their turn. */
const POSTPONE_MS = 60_000

// From src/store and from dist/src/store alike.
const sqlDirectory = [join('..', '..', 'sql', 'sqlite'), join('..', '..', '..', 'sql', 'sqlite')]
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path) => {
    try {
      return readdirSync(path).length > 0
    } catch {
      return false
    }
  }) as string

export type SqliteStore = Store & {
  readonly documents: DocumentStore
  readonly logs: LogStore
  readonly files: FileStore
  readonly usage: UsageStore
  readonly prices: PriceStore
}

export function openSqliteStore(options: SqliteStoreOptions): SqliteStore {
  const { policy, crashPoint = () => {}, onCommit = () => {}, listMax = LIST_MAX } = options
  const { queueMax = Number.POSITIVE_INFINITY } = options
  const db: Database.Database = openSqliteFile({
    file: options.file,
    migrations: join(sqlDirectory, 'migrations'),
    nowMs: options.nowMs,
    pragmas: { cache_size: -CACHE_KIB },
  })
  const sql = Object.fromEntries(
    readdirSync(sqlDirectory)
      .filter((name) => name.endsWith('.sql'))
      .map((name) => [name.slice(0, -4), db.prepare<[Row], Row>(readFileSync(join(sqlDirectory, name), 'utf8'))]),
  )
  const statement = (name: string): Database.Statement<[Row], Row> => {
    const found = sql[name]
    if (found === undefined) throw new Error(`no statement ${name}.sql`)
    return found
  }
  const guarded = <Result>(body: () => Result): Result => {
    try {
      return body()
    } catch (error) {
      if (isFatalSqliteError(error)) return options.onFatal(error)
      if (isDiskFullError(error)) throw new StoreUnavailableError('NO_SPACE', error)
      if (isBusyError(error)) throw new StoreUnavailableError('STORE_BUSY', error)
      throw error
    }
  }
  const all = (name: string, parameters: Row = {}) => guarded(() => statement(name).all(parameters))
  const get = (name: string, parameters: Row = {}) => guarded(() => statement(name).get(parameters))
  const run = (name: string, parameters: Row = {}) => guarded(() => statement(name).run(parameters).changes)
  const inTransaction = <Result>(body: () => Result): Result => guarded(() => db.transaction(body).immediate())

  if (get('server-get') === undefined) run('server-save', { epoch: options.newEpoch, recovering: 0 })

  /** Waits for the next commit, which it shares with all others that do; told when that is durable, as the changes are. */
  const write = <Result>(operation: Operation | null, body: () => Written<Result>): Promise<Result> =>
    new Promise((resolve, reject) => {
      waiting.push({ operation, body, resolve: resolve as (result: unknown) => void, reject })
      // Not a timer: what else arrived while the last commit was being synced is read and decided before this runs.
      if (waiting.length === 1) setImmediate(commit)
    })
  const waiting: Writing[] = []
  const inSavepoint = db.transaction((body: Writing['body']) => body())
  /** Makes the writes one after the other in one transaction; `made` answers undefined for one that failed by itself. */
  const inOneTransaction = (
    batch: readonly Writing[],
    made: (writing: Writing) => Written<unknown> | undefined,
  ): { writing: Writing; result: unknown; changes: readonly Change[] }[] =>
    inTransaction(() =>
      batch.flatMap((writing, index) => {
        if (index > 0 && index === Math.floor(batch.length / 2)) crashPoint('batch.half-written')
        const done = made(writing)
        if (done === undefined) return []
        depth = depthAfter(depth, done.changes)
        if (writing.operation !== null) crashPoint(`${writing.operation}.before-commit`)
        return [{ writing, result: done.result, changes: done.changes }]
      }),
    )

  /** PENDING commands, those written and not yet committed included. */
  let depth = get('command-pending')?.depth as number
  const isFull = (): boolean => depth >= queueMax

  function commit(): void {
    const batch = waiting.splice(0, BATCH_MAX)
    if (batch.length === 0) return
    if (waiting.length > 0) setImmediate(commit)
    const depthBefore = depth
    const undone = (): void => {
      depth = depthBefore
      forget()
    }
    let written: ReturnType<typeof inOneTransaction>
    try {
      try {
        written = inOneTransaction(batch, ({ body }) => body())
      } catch (error) {
        if (error instanceof StoreUnavailableError) throw error
        // Savepoints only now: to remember for each what it would have to undo is a tenth of what a write costs.
        undone()
        written = inOneTransaction(batch, tried)
      }
      for (const { writing } of written) if (writing.operation !== null) crashPoint(`${writing.operation}.after-commit`)
    } catch (error) {
      undone()
      for (const { reject } of batch) reject(error)
      return
    }
    const changes = written.flatMap((each) => each.changes)
    if (changes.length > 0) onCommit(changes, currentRev())
    for (const { writing, result } of written) writing.resolve(result)
  }

  /** Undefined where it failed by itself: the others are not undone with it. */
  function tried({ body, reject }: Writing): Written<unknown> | undefined {
    try {
      return inSavepoint(body)
    } catch (error) {
      // What ails the database ails all of them; after some of its errors there is no transaction any more.
      if (error instanceof StoreUnavailableError || !db.inTransaction) throw error
      forget()
      reject(error)
      return undefined
    }
  }

  /** Something was undone: what is remembered of the database may not be in it. */
  const forget = (): void => {
    stored = new WeakSet()
    live.forget()
    documents.forget()
  }

  /** As they are in the database: those that a decision leaves alone are not written again. */
  let stored = new WeakSet<Attempt>()
  const commandFrom = (row: Row, grantedTo: string | null = null): Command => {
    if (row.attempt === 0) return commandOfRow(row, [])
    const attempts = all('attempt-live', {
      commandId: row.command_id,
      attempt: row.attempt,
      grantedAttempt: row.granted_attempt,
      agentId: grantedTo,
    }).map(attemptOfRow)
    for (const attempt of attempts) stored.add(attempt)
    return commandOfRow(row, attempts)
  }
  const load = (commandId: string, grantedTo: string | null = null): Command | undefined => {
    const row = get('command-get', { commandId })
    return row && commandFrom(row, grantedTo)
  }
  const live = createLiveCommands({
    readAll: () => all('command-live').map((row) => commandFrom(row)),
    readOne: (commandId) => load(commandId) as Command,
    isSmall: ({ spec }) => (specBytes.get(spec) ?? 0) <= LIVE_SPEC_BYTES_MAX,
  })
  const plainly = <Result>(body: () => Result) => write(null, () => ({ result: body(), changes: [] }))
  const documents = createSqliteDocuments({ all, get, run, write: plainly })
  const prices = createSqlitePrices({ all, run, write: plainly })
  const evidenceOf = (operation: Operation | null): LogStatements => ({
    all,
    get,
    run,
    write: (body) => write(operation, () => ({ result: body(), changes: [] })),
    command: (commandId) => live.get(commandId) ?? load(commandId),
    attempt(commandId, number) {
      const row = get('attempt-get', { commandId, number })
      return row && attemptOfRow(row)
    },
    agent(agentId) {
      const row = get('agent-get', { agentId })
      return row ? agentOfRow(row) : null
    },
    epoch: () => server().epoch,
  })
  const logs = createSqliteLogs(evidenceOf(null))
  const files = createSqliteFiles(evidenceOf('files'))
  const usage = createSqliteUsage(evidenceOf(null), options.usageRowsMax)
  const save = ({ command, entry }: Change, nowMs: number): void => {
    if (entry.from === null) run('command-insert', rowOfNew(command, policy))
    if (entry.from !== null || command.attempts.length > 0 || !isUntouched(command)) {
      const changed = run(isUntouched(command) ? 'command-move' : 'command-update', rowOfCommand(command, policy))
      if (changed === 0) throw new Error(`command ${command.commandId} is final`)
    }
    for (const attempt of command.attempts) if (!stored.has(attempt)) saveAttempt(command.commandId, attempt)
    live.put(command)
    run('event-save', {
      type: entry.type,
      from: entry.from,
      to: entry.to,
      attempt: entry.attempt,
      agentId: entry.agentId,
      atMs: nowMs,
      commandId: command.commandId,
      detail: entry.detail === undefined ? null : JSON.stringify(entry.detail),
    })
  }
  const saveAttempt = (commandId: string, attempt: Attempt): void => {
    const row = rowOfAttempt(commandId, attempt)
    // What a journal brings back was never offered.
    const isNew = attempt.state === 'OFFERED' || run('attempt-update', row) === 0
    if (isNew) run('attempt-insert', row)
    stored.add(attempt)
  }
  const saveAgent = (agent: Agent): void => {
    const row = rowOfAgent(agent)
    if (run('agent-update', row) === 0) run('agent-insert', row)
  }
  const log = (type: string, nowMs: number, detail: unknown): void => {
    const nobody = { commandId: null, from: null, to: null, attempt: null, agentId: null }
    run('event-save', { ...nobody, type, atMs: nowMs, detail: JSON.stringify(detail) })
  }
  const keep = (evidence: Evidence, nowMs: number): void => {
    run('evidence-save', { ...evidence, outcome: JSON.stringify(evidence.outcome), receivedAtMs: nowMs })
  }
  const server = (): ServerState => {
    const row = get('server-get') as { epoch: string; rev: number; recovering: number }
    const awaited = row.recovering === 1 ? all('agent-awaited').map((each) => each.agent_id as string) : null
    return { epoch: row.epoch, rev: row.rev, recovering: awaited }
  }
  const currentRev = (): number => get('server-get')?.rev as number

  const sweep = (
    statementName: string,
    nowMs: number,
    limit: number,
    decide: (command: Command) => Change | null,
  ): Promise<number> | number => {
    // A look outside the write transaction: a sweep that finds nothing, the usual one, costs no fsync.
    if (all(statementName, { nowMs, limit: 1 }).length === 0) return 0
    return write('sweep', () => {
      const changes: Change[] = []
      const commands = all(statementName, { nowMs, limit }).map((row) => commandFrom(row))
      for (const command of commands) {
        const change = decide(command)
        if (change === null) run('command-postpone', { commandId: command.commandId, dueAtMs: nowMs + POSTPONE_MS })
        else {
          save(change, nowMs)
          changes.push(change)
        }
      }
      return { result: commands.length, changes }
    })
  }

  return {
    capabilities: { notify: false },
    documents: documents.store,
    logs,
    files: files.store,
    usage,
    prices,

    async submit(command, key, uploads): Promise<Submitted> {
      return write<Submitted>('submit', () => {
        const earlier = key && replayOf(key)
        if (earlier) return { result: earlier, changes: [] }
        if (isFull()) return { result: { outcome: 'full' }, changes: [] }
        const missing = uploads?.filter((sha256) => !files.has(sha256)) ?? []
        if (missing.length > 0) return { result: { outcome: 'uploadsMissing', missing }, changes: [] }
        const entry = { type: 'submitted', from: null, to: phaseOf(command), attempt: null, agentId: null }
        const change: Change = { command, entry }
        save(change, command.createdAtMs)
        for (const sha256 of uploads ?? []) files.use(command.commandId, sha256)
        if (key) run('key-save', { ...key, commandId: command.commandId, createdAtMs: command.createdAtMs })
        return { result: { outcome: 'created', command }, changes: [change] }
      })
    },

    isFull,

    async replay(key) {
      return replayOf(key)
    },

    async get(commandId) {
      const command = load(commandId)
      return command && { command, attempts: all('attempt-list', { commandId }).map(attemptOfRow) }
    },

    async list({ cursor, limit, statuses, types, ...filters }) {
      const array = (values: readonly string[] | null) => (values === null ? null : JSON.stringify(values))
      const isOpen = statuses?.every((status) => status === 'PENDING' || status === 'RUNNING') ?? false
      const parameters = {
        ...filters,
        statuses: array(statuses),
        types: array(types),
        before: cursor ?? AFTER_EVERY_ID,
        // One more than is looked at tells whether there is a next page.
        limit: listMax.rows + 1,
        every: isOpen ? 0 : 1,
        pending: isOpen && statuses?.includes('PENDING') ? 1 : 0,
        running: isOpen && statuses?.includes('RUNNING') ? 1 : 0,
      }
      const page = guarded(() => firstPage(statement('command-list').iterate(parameters), limit, listMax))
      return { commands: page.ids.flatMap((commandId) => load(commandId) ?? []), cursor: page.cursor }
    },

    async events(commandId) {
      return all('event-list', { commandId }).map(
        (row): LoggedEvent => ({
          seq: row.seq as number,
          atMs: row.at_ms as number,
          type: row.type as string,
          commandId: row.command_id as string | null,
          from: row.from_phase as string | null,
          to: row.to_phase as string | null,
          attempt: row.attempt as number | null,
          agentId: row.agent_id as string | null,
          detail: json(row.detail),
        }),
      )
    },

    async evidence(commandId) {
      return all('evidence-list', { prefix: `${commandId}.` }).map((row) => ({
        attemptId: row.attempt_id as string,
        agentId: row.agent_id as string,
        verdict: row.verdict as string,
        outcome: json(row.outcome),
        receivedAtMs: row.received_at_ms as number,
      }))
    },

    async agents() {
      return all('agent-list').map((row) => ({
        agent: agentOfRow(row),
        load: { running: row.running as number, offered: row.offered as number, lost: row.lost as number },
      }))
    },

    async openCounts() {
      return all('command-open').map((row) => ({
        type: row.type as Command['type'],
        status: row.status as Command['status'],
        count: row.count as number,
      }))
    },

    async oldestReadyMs() {
      return get('command-oldest')?.oldest_ms as number | null
    },

    async serverState() {
      return server()
    },

    async transition(operation, commandId, nowMs, decide) {
      return write(operation, () => {
        const command = live.get(commandId) ?? load(commandId)
        if (command === undefined) return { result: undefined, changes: [] }
        const decision = decide(command, server())
        if (decision.change !== null) save(decision.change, nowMs)
        return { result: decision, changes: decision.change === null ? [] : [decision.change] }
      })
    },

    async lease(query, decide) {
      return write(query.operation, () => {
        const row = get('agent-get', { agentId: query.agentId })
        const agent = row ? agentOfRow(row) : null
        const owned = live.of(query.agentId)
        const asked = new Map(owned.map((command) => [command.commandId, command]))
        for (const commandId of query.ask) {
          const known = asked.get(commandId)
          const command = known !== undefined && hasEveryGrant(known) ? known : load(commandId, query.agentId)
          if (command !== undefined) asked.set(commandId, command)
        }
        const decision = decide({ server: server(), agent, owned, asked, ready: ready() })
        if (decision.agent) saveAgent(decision.agent)
        for (const change of decision.changes) save(change, query.nowMs)
        for (const evidence of decision.evidence) keep(evidence, query.nowMs)
        if (decision.newEpoch !== undefined) beginEpoch(decision.newEpoch, query.nowMs)
        if (decision.recoveryEnded) endRecovery(query.nowMs, [])
        return { result: { answer: decision.answer, rev: currentRev() }, changes: decision.changes }

        function ready(): Command[] {
          if (Object.values(query.want).every((count) => count <= 0)) return []
          const byType = new Map<string, Row[]>()
          for (const { lane } of all('lane-list')) {
            const needs = parseLane(lane as string)
            const limit = query.want[needs.type] ?? 0
            if (limit > 0 && query.mayTake(needs, agent))
              byType.set(needs.type, [...(byType.get(needs.type) ?? []), ...all('command-ready', { lane, limit })])
          }
          return [...byType]
            .flatMap(([type, rows]) => rows.sort(byUrgency).slice(0, query.want[type]))
            .map((each) => commandFrom(each))
        }
      })
    },

    async sweepDue(nowMs, limit, decide) {
      return sweep('command-due', nowMs, limit, decide)
    },

    async sweepLeases(nowMs, limit, decide) {
      return sweep('command-lease-over', nowMs, limit, decide)
    },

    async nextDueAtMs() {
      return get('command-due-next')?.due_at_ms as number | null
    },

    async rebaseLeases(nowMs) {
      inTransaction(() => {
        run('agent-rebase', { nowMs })
        run('command-rebase', { nowMs })
      })
    },

    async beginEpoch(epoch, nowMs) {
      inTransaction(() => beginEpoch(epoch, nowMs))
    },

    async endRecovery(nowMs) {
      return inTransaction(() => {
        const { recovering } = server()
        if (recovering !== null) endRecovery(nowMs, recovering)
        return recovering !== null
      })
    },

    async pruneKeys(beforeMs, limit) {
      return get('key-expired', { beforeMs }) === undefined ? 0 : run('key-prune', { beforeMs, limit })
    },

    async check() {
      get('server-get')
    },

    async close() {
      while (waiting.length > 0) commit()
      closeSqliteFile(db)
    },
  }

  function replayOf({ key, bodySha256 }: IdempotencyKey): Submitted | undefined {
    const known = get('key-get', { key })
    if (known === undefined) return undefined
    const commandId = known.command_id as string
    const command = known.body_sha256 === bodySha256 ? load(commandId) : undefined
    return command === undefined ? { outcome: 'conflict', commandId } : { outcome: 'replayed', command }
  }

  function beginEpoch(epoch: string, nowMs: number): void {
    run('server-save', { epoch, recovering: 1 })
    log('recoveryBegan', nowMs, { epoch })
    // Nobody to wait for: a database without agents has nothing to learn.
    if (all('agent-awaited').length === 0) endRecovery(nowMs, [])
  }

  function endRecovery(nowMs: number, missing: readonly string[]): void {
    run('server-save', { epoch: server().epoch, recovering: 0 })
    log('recoveryEnded', nowMs, { missing })
  }
}

/** Otherwise attempts that were granted to an agent earlier may be missing. */
const hasEveryGrant = ({ attempts, grantedCount }: Command): boolean =>
  attempts.filter(({ grantedAtMs }) => grantedAtMs !== null).length === grantedCount

/** What is found until the page is full or the rows have cost enough, and where the next page goes on. */
const firstPage = (rows: Iterable<Row>, limit: number, max: ListMax): { ids: string[]; cursor: string | null } => {
  const ids: string[] = []
  let last: string | null = null
  let seen = 0
  let bytes = 0
  for (const row of rows) {
    if (seen === max.rows || bytes >= max.bytes || (ids.length === limit && row.found === 1))
      return { ids, cursor: last }
    last = row.command_id as string
    seen += 1
    bytes += row.bytes as number
    if (row.found === 1) ids.push(last)
  }
  return { ids, cursor: null }
}

const byUrgency = (a: Row, b: Row): number =>
  (b.priority as number) - (a.priority as number) || ((a.command_id as string) < (b.command_id as string) ? -1 : 1)

const json = (text: unknown) => (text === null || text === undefined ? null : JSON.parse(text as string))
const jsonOrNull = (value: unknown): string | null => (value === null ? null : JSON.stringify(value))

/** Sizes of the texts; a command keeps its spec through all that happens to it. */
const specBytes = new WeakMap<CommandSpec, number>()

/** Without what was not asked for: each change of a command writes its row anew. */
const specText = (spec: CommandSpec): string => {
  const asked: Row = {}
  for (const [name, value] of Object.entries(spec))
    if (value !== SPEC_DEFAULTS[name as keyof typeof SPEC_DEFAULTS]) asked[name] = value
  return JSON.stringify(asked)
}
const specOf = (text: string): CommandSpec => Object.assign({}, SPEC_DEFAULTS, JSON.parse(text))

/** Nothing is written of it but where it is: what may come with an end or a cancel is as it was submitted. */
const isUntouched = ({ cancel, result, error, crashCount, finishedAtMs }: Command): boolean =>
  cancel === null && result === null && error === null && crashCount === 0 && finishedAtMs === null

const rowOfNew = (command: Command, policy: LifecyclePolicy): Row => {
  const spec = specText(command.spec)
  const secrets = jsonOrNull(command.secrets)
  specBytes.set(command.spec, spec.length + (secrets?.length ?? 0))
  return {
    commandId: command.commandId,
    type: command.type,
    priority: command.priority,
    lane: laneOf(command),
    labels: JSON.stringify(command.spec.labels),
    metadata: JSON.stringify(command.spec.metadata),
    spec,
    secrets,
    ready: isReady(command) ? 1 : 0,
    availableAtMs: command.availableAtMs,
    dueAtMs: dueAtMs(command, policy),
    createdAtMs: command.createdAtMs,
  }
}

const rowOfCommand = (command: Command, policy: LifecyclePolicy): Row => {
  const newest = newestAttempt(command)
  return {
    commandId: command.commandId,
    status: command.status,
    phase: phaseOf(command),
    ready: isReady(command) ? 1 : 0,
    availableAtMs: command.availableAtMs,
    dueAtMs: dueAtMs(command, policy),
    attempt: newest?.number ?? 0,
    grantedAttempt: lastGrantedAttempt(command)?.number ?? 0,
    agentId: newest?.agentId ?? null,
    grantedCount: command.grantedCount,
    crashCount: command.crashCount,
    cancel: jsonOrNull(command.cancel),
    result: jsonOrNull(command.result),
    resultTruncated: command.resultTruncated ? 1 : 0,
    error: jsonOrNull(command.error),
    startedAtMs: command.startedAtMs,
    finishedAtMs: command.finishedAtMs,
  }
}

const commandOfRow = (row: Row, attempts: Attempt[]): Command => {
  const spec = specOf(row.spec as string)
  specBytes.set(spec, (row.spec as string).length + ((row.secrets as string | null)?.length ?? 0))
  return {
    commandId: row.command_id as string,
    type: row.type as Command['type'],
    priority: row.priority as number,
    spec,
    secrets: json(row.secrets),
    status: row.status as Command['status'],
    availableAtMs: row.available_at_ms as number | null,
    result: json(row.result),
    resultTruncated: row.result_truncated === 1,
    error: json(row.error),
    cancel: json(row.cancel),
    grantedCount: row.granted_count as number,
    crashCount: row.crash_count as number,
    createdAtMs: row.created_at_ms as number,
    startedAtMs: row.started_at_ms as number | null,
    finishedAtMs: row.finished_at_ms as number | null,
    attempts,
  }
}

const rowOfAttempt = (commandId: string, attempt: Attempt): Row =>
  Object.assign({ commandId }, attempt, { error: jsonOrNull(attempt.error) })

const attemptOfRow = (row: Row): Attempt => ({
  number: row.number as number,
  state: row.state as Attempt['state'],
  agentId: row.agent_id as string,
  incarnation: row.incarnation as number | null,
  leaseMs: row.lease_ms as number,
  offeredAtMs: row.offered_at_ms as number,
  grantedAtMs: row.granted_at_ms as number | null,
  lostAtMs: row.lost_at_ms as number | null,
  finishedAtMs: row.finished_at_ms as number | null,
  outcomeSha256: row.outcome_sha256 as string | null,
  error: json(row.error),
})

const rowOfAgent = (agent: Agent): Row => ({
  ...agent,
  inventoried: agent.inventoried ? 1 : 0,
  types: JSON.stringify(agent.types),
  labels: JSON.stringify(agent.labels),
  slots: JSON.stringify(agent.slots),
  engines: JSON.stringify(agent.engines),
})

const agentOfRow = (row: Row): Agent => ({
  agentId: row.agent_id as string,
  kind: row.kind as Agent['kind'],
  journalId: row.journal_id as string | null,
  nonce: row.nonce as string | null,
  incarnation: row.incarnation as number,
  trustedSince: row.trusted_since as number,
  logSeq: row.log_seq as number,
  seq: row.seq as number,
  epoch: row.epoch as string,
  inventoried: row.inventoried === 1,
  renewedAtMs: row.renewed_at_ms as number,
  lastSeenAtMs: row.last_seen_at_ms as number,
  leaseMs: row.lease_ms as number,
  mode: row.mode as Agent['mode'],
  version: row.version as string | null,
  types: json(row.types),
  labels: json(row.labels),
  slots: json(row.slots),
  engines: json(row.engines),
  clockSkewMs: row.clock_skew_ms as number | null,
})
