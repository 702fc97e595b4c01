/**
 * A log as server-sent events. The id of an event is where the next one begins: attempt and offset of each stream, so that
 * whoever comes again with it misses nothing and sees nothing twice, wherever it was cut off. Pulled by the reader:
 * nothing is read from the database before what was read has gone out.
 */
import { LOG_STREAMS, type LogState, type LogStreamName } from '@agent-executor/protocol'
import { settlesAtMs } from '../lifecycle/logs.ts'
import type { LogFollower } from '../log-followers.ts'
import type { LogStore, LogView } from '../store/logs.ts'
import { wholeBytes } from './utf8.ts'

export type LogPosition = { attempt: number | null; offsets: Record<LogStreamName, number> }

const EVENT_BYTES_MAX = 16_384
/** Proxies close what is silent for a minute. */
const COMMENT_MS = 15_000
const RECONNECT_MS = 2000

export const positionId = ({ attempt, offsets }: LogPosition): string =>
  `${attempt ?? 0}.${offsets.stdout}.${offsets.stderr}`

/** Null where the text is not an id that `positionId` made. */
export function positionOf(id: string): LogPosition | null {
  const match = /^(\d{1,10})\.(\d{1,15})\.(\d{1,15})$/.exec(id)
  if (match === null) return null
  const [attempt, stdout, stderr] = match.slice(1).map(Number) as [number, number, number]
  return { attempt: attempt === 0 ? null : attempt, offsets: { stdout, stderr } }
}

/** `open`: more may come. A command without an attempt that is over has written nothing. */
export function logState(view: LogView, nowMs: number, settleMs: number): LogState {
  const { command, attempt } = view
  const streams = LOG_STREAMS.map((stream) => view.streams[stream])
  if (streams.every((stream) => stream?.end != null))
    return streams.every((stream) => stream?.end?.complete) ? 'complete' : 'cut'
  if (attempt === null) return command.finishedAtMs === null ? 'open' : 'complete'
  if (attempt.finishedAtMs === null) return 'open'
  if (command.type !== 'RUN_AGENT' && streams.every((stream) => stream === null)) return 'complete'
  return nowMs >= settlesAtMs(attempt, streams, settleMs) ? 'cut' : 'open'
}

export type FollowOptions = {
  commandId: string
  /** Where to begin; advanced with what is sent. */
  position: LogPosition
  streams: readonly LogStreamName[]
  encoding: 'utf8' | 'base64'
  logs: LogStore
  follower: LogFollower
  settleMs: number
  /** Then it ends, whatever is still to come. */
  timeoutMs: number
  nowMs: () => number
}

export async function* logEvents(options: FollowOptions): AsyncGenerator<string> {
  const { commandId, position, streams, logs, follower } = options
  const untilMs = performance.now() + options.timeoutMs
  yield `retry: ${RECONNECT_MS}\n\n`
  while (!follower.hasLeft()) {
    const view = await logs.view(commandId, position.attempt)
    if (view === undefined) return
    const state = logState(view, options.nowMs(), options.settleMs)
    position.attempt = view.attempt?.number ?? null
    for (const stream of streams) yield* newEvents(options, view, stream, state)
    if (state !== 'open') {
      const ends = Object.fromEntries(streams.map((stream) => [stream, endRecord(view, stream)]))
      yield event('end', position, { attempt: position.attempt ?? 0, state, streams: ends })
      return
    }
    const leftMs = untilMs - performance.now()
    if (leftMs <= 0) return
    const isNews = await follower.heard(Math.min(COMMENT_MS, leftMs, settleLeftMs(view, options)))
    if (!isNews && !follower.hasLeft()) yield ': still there\n\n'
  }
}

async function* newEvents(
  { commandId, position, encoding, logs, follower }: FollowOptions,
  view: LogView,
  stream: LogStreamName,
  state: LogState,
): AsyncGenerator<string> {
  const { attempt, offsets } = position
  const stored = view.streams[stream]
  if (attempt === null || stored === null) return
  const isOver = state !== 'open' || stored.end !== null
  while (offsets[stream] < stored.bytes && !follower.hasLeft()) {
    const place = { commandId, attempt, stream }
    const bytes = await readAcross(
      logs,
      place,
      offsets[stream],
      Math.min(EVENT_BYTES_MAX, stored.bytes - offsets[stream]),
    )
    // The rest of a character is on its way, unless this is all there is.
    const isLast = isOver && offsets[stream] + bytes.length === stored.bytes
    const shown = encoding === 'base64' || isLast ? bytes : bytes.subarray(0, wholeBytes(bytes))
    if (shown.length === 0) return
    const offset = offsets[stream]
    offsets[stream] += shown.length
    yield event('chunk', position, { attempt, stream, offset, bytes: shown.length, ...shownAs(shown, encoding) })
  }
}

/** So that a character that two pieces share is never taken for half of one. */
export async function readAcross(
  logs: LogStore,
  place: { commandId: string; attempt: number; stream: LogStreamName },
  fromByte: number,
  bytesMax: number,
): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  while (bytes < bytesMax) {
    const piece = await logs.read(place, fromByte + bytes, bytesMax - bytes)
    if (piece.length === 0) break
    pieces.push(piece)
    bytes += piece.length
  }
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)
}

export const shownAs = (bytes: Buffer, encoding: 'utf8' | 'base64'): { text: string } | { base64: string } =>
  encoding === 'utf8' ? { text: bytes.toString('utf8') } : { base64: bytes.toString('base64') }

export const endRecord = ({ streams }: LogView, stream: LogStreamName) => {
  const stored = streams[stream]
  return stored?.end == null ? null : { bytes: stored.bytes, ...stored.end }
}

const settleLeftMs = ({ attempt, streams }: LogView, { nowMs, settleMs }: FollowOptions): number =>
  attempt === null
    ? COMMENT_MS
    : Math.max(1, settlesAtMs(attempt, [streams.stdout, streams.stderr], settleMs) - nowMs())

const event = (name: string, position: LogPosition, data: object): string =>
  `id: ${positionId(position)}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`
