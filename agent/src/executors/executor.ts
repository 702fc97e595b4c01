/**
 * What every command type promises the agent. One file or folder a type beside this one.
 *
 * - `run` never throws for what a command asked or the outside world did: every ending is an `Ending`.
 * - When `signal` aborts, with a `StopCause` as its reason, `run` stops its effect and settles within milliseconds; the
 *   cause decides the outcome, and a result of what was stopped is kept with it. An executor that `adopts` may take as
 *   long as it needs to be sure that its effect is over, except where the cause is `stop`.
 * - No executor reads the environment, the journal or the network beyond its own effect.
 */
import type {
  CommandError,
  CommandType,
  EngineAvailabilities,
  EngineDefinition,
  JsonValue,
} from '@agent-executor/protocol'

/**
 * Why an attempt is stopped from outside. `stop` leaves it as it is in the journal, for the next life of the agent.
 * `graceMs` is how long it may take to end by itself.
 */
export type StopCause =
  | { type: 'cancel'; reason: string; graceMs?: number }
  | { type: 'timeout' }
  | { type: 'fence' }
  | { type: 'drop' }
  | { type: 'stop' }

/** What an attempt has to do. `payload` has passed the server's schema; `startedAtMs` is the wall time of the logged start. */
export type Work<Payload = unknown> = {
  commandId: string
  attempt: number
  payload: Payload
  /** Of this attempt; whoever runs it is told when it is over. */
  timeoutMs: number
  startedAtMs: number
}

/** The journal, as far as an executor with containers needs it. */
export type ContainerLog = {
  /** The container that was logged for this attempt, by an earlier life; null where there is none. */
  id: string | null
  /** Durable when it returns. Throws what the journal throws, and where the attempt is over. */
  write: (id: string) => void
}

export type Ending = { ok: true; result: JsonValue } | { ok: false; error: CommandError; result?: JsonValue }

/** What the journal says of an attempt: it may still need its container, it is over, or nothing is known of it. */
export type AttemptState = 'open' | 'acknowledged' | 'unknown'

export type Executor<Payload = unknown> = {
  type: CommandType
  /**
   * What a restart does with an attempt whose start was logged and whose end was not: `resume` runs it again with the
   * stored start (its effect is a point in time, not an action); `adopt` as well, and its effect went on meanwhile;
   * `interrupted` says that the outcome is unknown.
   */
  afterCrash: 'resume' | 'adopt' | 'interrupted'
  run(work: Work<Payload>, signal: AbortSignal, container: ContainerLog): Promise<Ending>
  /** Whether an attempt could begin now; absent, it always could. */
  ready?: () => boolean
  /** What it can run now by engine, and why not; for the server to show. */
  engines?: () => EngineAvailabilities
  /** The engines that the server has from now on. */
  define?: (engines: readonly EngineDefinition[]) => void
  /** Removes what attempts have left that are over. Called at the start, after acks, and from time to time. */
  reconcile?: (stateOf: (attemptId: string) => AttemptState) => Promise<void>
}
