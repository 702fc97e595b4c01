/** Logs in SQLite, in the file and in the commits of everything else. */
import type { LogStreamName } from '@agent-executor/protocol'
import type { Agent } from '../lifecycle/agent.ts'
import { type Attempt, type Command, lastGrantedAttempt } from '../lifecycle/command.ts'
import type { LogPlace, StoredStream } from '../lifecycle/logs.ts'
import type { LogStore } from './logs.ts'

type Row = Record<string, unknown>

export type LogStatements = {
  all: (name: string, parameters: Row) => Row[]
  get: (name: string, parameters: Row) => Row | undefined
  run: (name: string, parameters: Row) => number
  /** In a transaction that it shares with whatever else waits to be written. */
  write: <Result>(body: () => Result) => Promise<Result>
  command: (commandId: string) => Command | undefined
  attempt: (commandId: string, number: number) => Attempt | undefined
  agent: (agentId: string) => Agent | null
  epoch: () => string
}

/** A piece that is shorter grows with the next upload: one byte now and then is not a row each. */
const PIECE_BYTES_MIN = 16_384

/** A command and one of its attempts; without a number the newest that was granted, null where there is none. */
export function viewOf(
  { command, attempt }: Pick<LogStatements, 'command' | 'attempt'>,
  commandId: string,
  number: number | null,
): { command: Command; attempt: Attempt | null } | undefined {
  const found = command(commandId)
  if (found === undefined) return undefined
  const granted = number ?? lastGrantedAttempt(found)?.number ?? null
  const seen = granted === null ? null : attempt(commandId, granted)
  return seen === undefined ? undefined : { command: found, attempt: seen }
}

export function createSqliteLogs(statements: LogStatements): LogStore {
  const { all, get, run, write, command, attempt, agent, epoch } = statements
  const streamsOf = (commandId: string, number: number): Record<LogStreamName, StoredStream | null> => {
    const streams: Record<LogStreamName, StoredStream | null> = { stdout: null, stderr: null }
    for (const row of all('log-stream-list', { commandId, attempt: number }))
      streams[row.stream as LogStreamName] = streamOfRow(row)
    return streams
  }

  const append = (place: LogPlace, committed: number, content: Uint8Array): void => {
    const last = get('log-chunk-last', { ...place, before: committed })
    const piece = last?.content as Buffer | undefined
    if (piece === undefined || piece.length >= PIECE_BYTES_MIN)
      run('log-chunk-insert', Object.assign({ firstByte: committed, content: bufferOf(content) }, place))
    else
      run(
        'log-chunk-update',
        Object.assign({ firstByte: last?.first_byte, content: Buffer.concat([piece, content]) }, place),
      )
  }

  return {
    change: (place, agentId, nowMs, decide) =>
      write(() => {
        const { commandId, attempt: number, stream } = place
        const streams = streamsOf(commandId, number)
        const known = attempt(commandId, number) ?? null
        const decision = decide({
          epoch: epoch(),
          agent: agent(agentId),
          hasCommand: known !== null || command(commandId) !== undefined,
          attempt: known,
          stream: streams[stream],
          attemptBytes: (streams.stdout?.bytes ?? 0) + (streams.stderr?.bytes ?? 0),
        })
        const { append: content, end } = decision
        if (content === undefined && end === undefined) return decision
        const committed = streams[stream]?.bytes ?? 0
        const saved = run(
          'log-stream-save',
          Object.assign({}, place, {
            bytes: committed + (content?.length ?? 0),
            sha256: end?.sha256 ?? null,
            complete: end === undefined ? null : Number(end.complete),
            nowMs,
          }),
        )
        if (saved === 0) throw new Error(`the log of ${commandId}.${number} has ended`)
        if (content !== undefined) append(place, committed, content)
        return decision
      }),

    async view(commandId, number) {
      const seen = viewOf(statements, commandId, number)
      return seen && { ...seen, streams: streamsOf(commandId, seen.attempt?.number ?? 0) }
    },

    async read(place, fromByte, bytesMax) {
      const row = get('log-chunk-last', { ...place, before: fromByte })
      if (row === undefined) return Buffer.alloc(0)
      const from = fromByte - (row.first_byte as number)
      return (row.content as Buffer).subarray(from, from + bytesMax)
    },
  }
}

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const streamOfRow = (row: Row): StoredStream => ({
  bytes: row.bytes as number,
  end: row.sha256 === null ? null : { sha256: row.sha256 as string, complete: row.complete === 1 },
  changedAtMs: row.changed_at_ms as number,
})
