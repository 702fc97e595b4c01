/**
 * What every command type promises the agent. One file a type beside this one.
 *
 * - `run` never throws for what a command asked or the outside world did: every ending is an `Ending`.
 * - When `signal` aborts, `run` stops its effect and settles within milliseconds; its answer is then ignored,
 *   because the cause of the abort (cancel, timeout, lost lease, stop) decides the outcome.
 * - No executor reads the environment, the journal or the network beyond its own effect.
 */
import type { CommandError, CommandType, JsonValue } from '@agent-executor/protocol'

/** What an attempt has to do. `payload` has passed the server's schema; `startedAtMs` is the wall time of the logged start. */
export type Work<Payload = unknown> = {
  commandId: string
  attempt: number
  payload: Payload
  startedAtMs: number
}

export type Ending = { ok: true; result: JsonValue } | { ok: false; error: CommandError; result?: JsonValue }

export type Executor<Payload = unknown> = {
  type: CommandType
  /**
   * What a restart does with an attempt whose start was logged and whose end was not: `resume` runs it again with the
   * stored start (its effect is a point in time, not an action); `interrupted` says that the outcome is unknown.
   */
  afterCrash: 'resume' | 'interrupted'
  run(work: Work<Payload>, signal: AbortSignal): Promise<Ending>
}
