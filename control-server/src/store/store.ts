/**
 * The database as the server sees it: one contract for SQLite and, later, PostgreSQL. The store decides nothing; it
 * reads in a transaction, asks a pure function, and writes what that answers before it resolves. Resolved means
 * durable: the commit was fsynced.
 *
 * - `decide` is synchronous and pure; a store may call it again, where it could not write what was decided first.
 * - A `decide` that throws undoes the whole transaction and rejects with that error.
 * - Every change carries an entry for the event log, written in the same transaction. The number of the newest entry is
 *   the server's revision (`rev`) and never goes back.
 * - Times are parameters, in milliseconds of the server's clock.
 */
import type { CommandStatus, CommandType } from '@agent-executor/protocol'
import type { Agent, Change, ServerState, Turn, TurnDecision } from '../lifecycle/agent.ts'
import type { Attempt, Command } from '../lifecycle/command.ts'
import type { Lane } from '../lifecycle/matching.ts'
import type { AgentLoad } from '../lifecycle/record.ts'

/** Nothing was changed, and the same call may succeed later. */
export class StoreUnavailableError extends Error {
  override name = 'StoreUnavailableError'
  readonly code: 'NO_SPACE' | 'STORE_BUSY'
  constructor(code: 'NO_SPACE' | 'STORE_BUSY', cause: unknown) {
    super(code === 'NO_SPACE' ? 'The disk of the server is full.' : 'The database did not answer in time.', { cause })
    this.code = code
  }
}

/** Where a commit belongs to; names the crash points before and after it. */
export type Operation = 'submit' | 'register' | 'sync' | 'heartbeat' | 'next' | 'result' | 'cancel' | 'sweep' | 'files'

/** Where a process may be killed by a test. */
export type CrashPoint = `${Operation}.before-commit` | `${Operation}.after-commit` | 'batch.half-written'

export type Submitted =
  | { outcome: 'created' | 'replayed'; command: Command }
  /** The key was used with another body. */
  | { outcome: 'conflict'; commandId: string }
  /** As many commands are PENDING as may be. */
  | { outcome: 'full' }
  /** Contents that it brings are not there. */
  | { outcome: 'uploadsMissing'; missing: string[] }

/** `key` and the fingerprint of the body it came with. */
export type IdempotencyKey = { key: string; bodySha256: string }

export type LeaseQuery = {
  operation: Operation
  agentId: string
  /** Ids of commands to show, the agent's own among them, with every attempt that was granted to it. */
  ask: readonly string[]
  /** How many ready commands to show at most, by command type. */
  want: Readonly<Record<string, number>>
  mayTake: (lane: Lane, agent: Agent | null) => boolean
  nowMs: number
}

export type ListQuery = {
  /** As the page before answered it; null = from the newest. */
  cursor: string | null
  limit: number
  statuses: readonly string[] | null
  types: readonly string[] | null
  agentId: string | null
  label: string | null
  createdFromMs: number | null
  createdToMs: number | null
  /** Searched in id, payload and metadata (names and values), without regard to case in ASCII. */
  text: string | null
}

/** `cursor` is the last command that was looked at, from where the list goes on; null = the list has ended. */
export type Page = { commands: Command[]; cursor: string | null }

export type LoggedEvent = {
  seq: number
  atMs: number
  type: string
  commandId: string | null
  from: string | null
  to: string | null
  attempt: number | null
  agentId: string | null
  detail: unknown
}

export type KeptEvidence = {
  attemptId: string
  agentId: string
  verdict: string
  outcome: unknown
  receivedAtMs: number
}

/** Called after each commit that changed commands; a hint for waiting agents, never needed for correctness. */
export type CommitListener = (changes: readonly Change[], rev: number) => void

export interface Store {
  /** What this database can do that the other cannot: `notify` tells commits of other servers too. */
  readonly capabilities: { notify: boolean }

  /**
   * Stores a new command, and its idempotency key where there is one, in one transaction. Where the key exists nothing
   * is stored: `replayed` with the command as it is now if the body was the same, else `conflict`; a new one is `full`
   * where there is no place for it. The contents that it brings have to be there, and stay as long as it does. Rejects
   * where the id of the command exists.
   */
  submit(command: Command, key: IdempotencyKey | null, uploads?: readonly string[]): Promise<Submitted>

  /** Whether `submit` would answer `full` now for what it does not know yet. */
  isFull(): boolean

  /** What `submit` would answer for a key that was used; undefined for a new one. */
  replay(key: IdempotencyKey): Promise<Submitted | undefined>

  /** A command with its attempts, oldest first (the newest 1,000); undefined where there is none. */
  get(commandId: string): Promise<{ command: Command; attempts: Attempt[] } | undefined>
  /** Newest first. A page looks at a bounded number of commands: it may have fewer than `limit`, and even none, before the end. */
  list(query: ListQuery): Promise<Page>
  events(commandId: string): Promise<LoggedEvent[]>
  evidence(commandId: string): Promise<KeptEvidence[]>
  agents(): Promise<{ agent: Agent; load: AgentLoad }[]>
  /** How many are PENDING and RUNNING, by type. Looks at all of them. */
  openCounts(): Promise<{ type: CommandType; status: CommandStatus; count: number }[]>
  /** When the oldest was submitted that an agent may take now; null where none is among the first that wait. */
  oldestReadyMs(): Promise<number | null>
  serverState(): Promise<ServerState>

  /** Runs `decide` on one command and stores what it answers; `null` stores nothing. Undefined where there is no such command. */
  transition<D extends { change: Change | null }>(
    operation: Operation,
    commandId: string,
    nowMs: number,
    decide: (command: Command, server: ServerState) => D,
  ): Promise<D | undefined>

  /** One agent's call: shows what the query names, stores what `decide` answers. No other call sees these commands meanwhile. */
  lease<Answer>(
    query: LeaseQuery,
    decide: (turn: Turn) => TurnDecision<Answer>,
  ): Promise<{ answer: Answer; rev: number }>

  /** As `transition`, on commands that are due (`dueAtMs` of the lifecycle), the most overdue first. Answers how many it looked at. */
  sweepDue(nowMs: number, limit: number, decide: (command: Command) => Change | null): Promise<number>
  /** As `transition`, on running commands whose lease is over, so that no renewal comes between look and decision. */
  sweepLeases(nowMs: number, limit: number, decide: (command: Command) => Change | null): Promise<number>
  /** When `sweepDue` has work next; null = nothing waits for a time. */
  nextDueAtMs(): Promise<number | null>

  /**
   * Every lease runs anew from `nowMs`, and no LOST attempt is given up before it is over: at the server's start, since
   * nobody could renew or come back while it was away.
   */
  rebaseLeases(nowMs: number): Promise<void>
  /** Begins a new epoch: registrations are void, journals are asked for, nothing is handed out until they are in. */
  beginEpoch(epoch: string, nowMs: number): Promise<void>
  /** Ends recovery without the journals that are still awaited. False where there is no recovery. */
  endRecovery(nowMs: number): Promise<boolean>
  /** Forgets idempotency keys made before, at most `limit`; answers how many. */
  pruneKeys(beforeMs: number, limit: number): Promise<number>

  /** Rejects where the database cannot be read. */
  check(): Promise<void>
  close(): Promise<void>
}
