/** Logs as the server sees them; the promises of `store.ts` hold here too. */
import type { LogStreamName } from '@agent-executor/protocol'
import type { Attempt, Command } from '../lifecycle/command.ts'
import type { LogDecision, LogFacts, LogPlace, StoredStream } from '../lifecycle/logs.ts'

export type LogView = {
  command: Command
  /** Null where there is none yet. */
  attempt: Attempt | null
  streams: Readonly<Record<LogStreamName, StoredStream | null>>
}

export interface LogStore {
  /** Shows what is stored to `decide`, and stores what that answers before it resolves. */
  change(
    place: LogPlace,
    agentId: string,
    nowMs: number,
    decide: (facts: LogFacts) => LogDecision,
  ): Promise<LogDecision>

  /**
   * An attempt and the streams of its log; without a number of the newest attempt that was granted. Undefined where there is no such
   * command or attempt.
   */
  view(commandId: string, attempt: number | null): Promise<LogView | undefined>

  /** Bytes from `fromByte` on, at most `bytesMax` and at least one, unless there are none. */
  read(place: LogPlace, fromByte: number, bytesMax: number): Promise<Buffer>
}
