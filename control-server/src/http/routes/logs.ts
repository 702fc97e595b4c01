/** Logs of attempts: agents upload them, clients read and follow them. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { setImmediate as otherCallers } from 'node:timers/promises'
import {
  ATTEMPT_ID_PATTERN,
  CommandLogs,
  LOG_CHUNK_BYTES_MAX,
  LOG_STREAMS,
  LogCommitted,
  LogEnd,
  LogUploader,
  oneOf,
  parseAttemptId,
} from '@agent-executor/protocol'
import { Compile, Type } from '@agent-executor/protocol/typebox'
import { type LogDecision, type LogPlace, takeChunk, takeEnd } from '../../lifecycle/logs.ts'
import type { App, Context } from '../context.ts'
import { ApiError, RETRY_LATER } from '../errors.ts'
import { createInFlight } from '../in-flight.ts'
import { endRecord, type LogPosition, logEvents, logState, positionOf, readAcross, shownAs } from '../log-events.ts'
import { wholeBytes } from '../utf8.ts'
import { CommandIdParams, notFound } from './commands.ts'

const StreamParams = Type.Object({
  attemptId: Type.String({ pattern: ATTEMPT_ID_PATTERN, maxLength: 111 }),
  stream: oneOf(LOG_STREAMS),
})
const LogQuery = Type.Object(
  {
    stream: Type.Optional(oneOf(LOG_STREAMS)),
    attempt: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647 })),
    offset: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    encoding: Type.Optional(oneOf(['utf8', 'base64'])),
    follow: Type.Optional(oneOf(['0', '1'])),
    timeoutMs: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
  },
  { additionalProperties: false },
)
const logEnd = Compile(LogEnd)

/** Of each stream in one answer. */
const ANSWER_BYTES_MAX = 1_048_576
const READ_BYTES_MAX = 65_536
/** About 2 ms of hashing, after which other requests get their turn. */
const HASH_SLICE_BYTES = 1_048_576

export function logRoutes(app: App, context: Context): void {
  const { logs, logFollowers, limits, nowMs } = context
  const inFlight = createInFlight(limits.inFlightBytesMax, LOG_CHUNK_BYTES_MAX)

  const storedSha256 = async (place: LogPlace, bytes: number): Promise<string> => {
    const hash = createHash('sha256')
    for (let at = 0; at < bytes; ) {
      const content = await readAcross(logs, place, at, Math.min(HASH_SLICE_BYTES, bytes - at))
      if (content.length === 0) break
      hash.update(content)
      at += content.length
      await otherCallers()
    }
    return hash.digest('hex')
  }

  const ended = async (
    place: LogPlace,
    uploader: LogUploader,
    end: LogEnd & { bytes: number },
  ): Promise<LogDecision> => {
    // What is stored does not change any more, so that it can be read outside of the transaction.
    const stored = (await logs.view(place.commandId, place.attempt))?.streams[place.stream]?.bytes ?? 0
    const hashed = await storedSha256(place, stored)
    return logs.change(place, uploader.agentId, nowMs(), (facts) => {
      // An upload came between, of an agent that does not wait for its answers.
      const grown = (facts.stream?.bytes ?? 0) !== stored
      return takeEnd(facts, uploader, { ...end, storedSha256: hashed, complete: end.complete && !grown })
    })
  }

  app.put(
    '/attempts/:attemptId/logs/:stream',
    {
      onRequest: [inFlight.onRequest],
      onSend: inFlight.onSend,
      bodyLimit: LOG_CHUNK_BYTES_MAX,
      config: { bytes: true },
      schema: {
        params: StreamParams,
        querystring: LogUploader,
        response: { 202: LogCommitted },
      },
    },
    async (request, reply) => {
      const { commandId, number } = parseAttemptId(request.params.attemptId)
      const place = { commandId, attempt: number, stream: request.params.stream }
      const uploader = request.query
      const range = rangeOf(request.headers['content-range'], request.body)
      const { answer, append, end } =
        range.type === 'end'
          ? await ended(place, uploader, range)
          : await logs.change(place, uploader.agentId, nowMs(), (facts) =>
              takeChunk(facts, uploader, range, limits.logBytesMax),
            )
      if (!answer.ok) throw new ApiError(answer.code, answer.message)
      if (append !== undefined || end !== undefined) logFollowers.changed(commandId)
      const { committed } = answer
      if (!answer.fits)
        throw new ApiError('LOG_GAP', `The server has ${committed} bytes.`, {
          headers: { 'content-range': `bytes */${committed}` },
          committed,
        })
      return reply.status(202).send({ committed })
    },
  )

  app.get(
    '/commands/:commandId/logs',
    {
      exposeHeadRoute: false,
      schema: { params: CommandIdParams, querystring: LogQuery, response: { 200: CommandLogs } },
    },
    async (request, reply) => {
      const { commandId } = request.params
      const { query } = request
      const encoding = query.encoding ?? 'utf8'
      const streams = query.stream === undefined ? LOG_STREAMS : [query.stream]
      const accept = request.headers.accept ?? ''
      reply.header('cache-control', 'no-store').header('vary', 'accept')

      const viewed = async (attempt: number | null) => {
        const view = await logs.view(commandId, attempt)
        if (view !== undefined) return view
        if ((await context.store.get(commandId)) === undefined) throw notFound(commandId)
        throw new ApiError('ATTEMPT_NOT_FOUND', `Command ${commandId} has no attempt ${attempt}.`)
      }

      if (query.follow === '1') {
        const position = beginning(query, request.headers['last-event-id'])
        await viewed(position.attempt)
        const follower = logFollowers.follow(commandId)
        if (follower === null)
          throw new ApiError('OVERLOADED', 'As many logs are followed as may be.', { headers: RETRY_LATER })
        const options = {
          commandId,
          position,
          streams,
          encoding,
          logs,
          follower,
          nowMs,
          settleMs: limits.logSettleMs,
          timeoutMs: query.timeoutMs ?? Number.POSITIVE_INFINITY,
        }
        const events = Readable.from(logEvents(options), { objectMode: false, highWaterMark: READ_BYTES_MAX })
        // The first: the generator may be waiting, and the second: it may never have begun.
        reply.raw.once('close', follower.leave)
        events.once('close', follower.leave)
        return reply
          .header('x-accel-buffering', 'no')
          .type('text/event-stream; charset=utf-8')
          .send(events as never)
      }

      const view = await viewed(query.attempt ?? null)
      const attempt = view.attempt?.number ?? 0
      if (/\btext\/plain\b/.test(accept)) {
        const places = streams.map((stream) => ({
          place: { commandId, attempt, stream },
          bytes: view.streams[stream]?.bytes ?? 0,
        }))
        const content = Readable.from(contentOf(places, query.offset ?? 0), { objectMode: false })
        return reply.type('text/plain; charset=utf-8').send(content as never)
      }
      const shown = []
      for (const stream of streams) {
        const stored = view.streams[stream]
        const bytes = stored?.bytes ?? 0
        const offset = Math.min(query.offset ?? 0, bytes)
        const read = await readAcross(
          logs,
          { commandId, attempt, stream },
          offset,
          Math.min(ANSWER_BYTES_MAX, bytes - offset),
        )
        const isLast = stored?.end != null && offset + read.length === bytes
        const content = encoding === 'base64' || isLast ? read : read.subarray(0, wholeBytes(read))
        const nextOffset = offset + content.length
        shown.push({ stream, bytes, offset, nextOffset, ...shownAs(content, encoding), end: endRecord(view, stream) })
      }
      return { commandId, attempt, state: logState(view, nowMs(), limits.logSettleMs), streams: shown }
    },
  )

  async function* contentOf(
    places: readonly { place: LogPlace; bytes: number }[],
    offset: number,
  ): AsyncGenerator<Buffer> {
    for (const { place, bytes } of places)
      for (let at = offset; at < bytes; ) {
        const content = await logs.read(place, at, Math.min(READ_BYTES_MAX, bytes - at))
        if (content.length === 0) break
        yield content
        at += content.length
      }
  }
}

/** Where the client was, which it knows better than its first request did. */
const beginning = (
  query: { attempt?: number | undefined; offset?: number | undefined },
  lastEventId: string | string[] | undefined,
): LogPosition => {
  const offset = query.offset ?? 0
  const first: LogPosition = { attempt: query.attempt ?? null, offsets: { stdout: offset, stderr: offset } }
  if (lastEventId === undefined || lastEventId === '') return first
  const position = positionOf(String(lastEventId))
  if (position === null) throw invalidHeader('last-event-id', 'is not one that this server made')
  return { attempt: position.attempt ?? first.attempt, offsets: position.offsets }
}

type Range = { type: 'chunk'; firstByte: number; content: Buffer } | ({ type: 'end'; bytes: number } & LogEnd)

/** `bytes a-b/*` with so many bytes, or `bytes *` + `/size` with the JSON of the end. */
const rangeOf = (header: string | undefined, body: unknown): Range => {
  const match = /^bytes (?:(\d{1,15})-(\d{1,15})\/\*|\*\/(\d{1,15}))$/.exec(header ?? '')
  if (match === null) throw invalidHeader('content-range', 'must be "bytes a-b/*", or "bytes */size" for the end')
  const [, first, last, size] = match
  if (size !== undefined) {
    if (!logEnd.Check(body))
      throw new ApiError('INVALID_REQUEST', 'The body of the end is {sha256, complete}.', {
        details: [{ path: '', message: 'must be {sha256, complete}' }],
      })
    return { type: 'end', bytes: Number(size), sha256: body.sha256, complete: body.complete }
  }
  const firstByte = Number(first)
  if (!Buffer.isBuffer(body) || body.length === 0 || body.length !== Number(last) - firstByte + 1)
    throw invalidHeader('content-range', 'must name as many bytes as the body of application/octet-stream has')
  return { type: 'chunk', firstByte, content: body }
}

const invalidHeader = (name: string, message: string): ApiError =>
  new ApiError('INVALID_REQUEST', `headers/${name} ${message}`, { details: [{ path: `headers/${name}`, message }] })
