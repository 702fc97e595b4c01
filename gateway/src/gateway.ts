/**
 * The one way out of a sandbox: a Unix socket for each attempt, which is all that an attempt has to show. Lets through the
 * paths of the wire formats and nothing else, puts the provider's key where the client's was, asks the ledger before a
 * call and tells it after, and refuses in the form that ends a client at once.
 */
import { EventEmitter, once } from 'node:events'
import { chmodSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Duplex, Readable, Transform } from 'node:stream'
import zlib from 'node:zlib'
import { isFatalSqliteError } from '@agent-executor/runtime'
import { Agent, request as send } from 'undici'
import { allowanceNow, type Wanted } from './allowance.ts'
import type { Egress, EgressHost } from './egress.ts'
import { createInputBounds, type InputBound } from './input-bound.ts'
import type { Begun, Ledger, Limit, Scope, Settlement } from './ledger.ts'
import { createMeter, type Metered } from './meter.ts'
import type { Prices } from './prices.ts'
import { headersFor, type Provider, type Providers, targetOf } from './providers.ts'
import { WIRES, wireOf } from './wire/index.ts'
import {
  type JsonObject,
  NO_USAGE,
  OUTPUT_TOKENS_DEFAULT,
  type Refusal,
  type RefusalCause,
  type Wire,
  WireError,
} from './wire/wire.ts'

export type SessionOptions = {
  socketPath: string
  attemptId: string
  /** All that its calls count for. */
  scopes: readonly Scope[]
  limits: readonly Limit[]
  /** Models that may be asked for; empty: all. */
  models: readonly string[]
  /** Hosts that may be reached beside the providers. */
  egress?: readonly EgressHost[]
}

export type Session = {
  /** Also for calls that are under way, but for what they were allowed already. */
  change: (options: Omit<SessionOptions, 'socketPath' | 'attemptId'>) => void
  /** Breaks off what is under way; resolves when that is booked. */
  close: () => Promise<void>
}

/** Only the path of a request is looked at. */
const ORIGIN = 'http://gateway'
/** Longer than any client keeps a connection: one that is closed as a request comes breaks a call off for nothing. */
const KEEP_ALIVE_MS = 900_000
/** The system's, which cuts a longer one without a word. */
const SOCKET_PATH_BYTES_MAX = 107
const BODY_BYTES_MAX = 32 * 2 ** 20
/** Of an attempt, what is held at a time, and connections: one sandbox must not take the gateway from the others. */
const BODIES_BYTES_MAX = 96 * 2 ** 20
const CONNECTIONS_MAX = 256
const BOOK_AGAIN_MS = 1000
/** A model may think for long before its first word, and between two. */
const SILENCE_MS = 600_000
const CONNECT_MS = 10_000
/** Where no byte of the request was sent a repetition is safe. */
const CONNECTS_MAX = 3
const CONNECT_FAILURES = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT']

/** Of an error; what is longer is cut. */
const ERROR_BYTES_MAX = 64 * 1024

const ANSWER_PASSED =
  /^(content-type|content-encoding|retry-after|retry-after-ms|request-id|x-request-id|x-should-retry|openai-(processing-ms|version|model)|anthropic-ratelimit-.*|x-ratelimit-.*)$/

const DECODERS: Readonly<Record<string, (() => Transform) | undefined>> = {
  gzip: zlib.createGunzip,
  deflate: zlib.createInflate,
  br: zlib.createBrotliDecompress,
  // Since Node 22.15.
  zstd: (zlib as { createZstdDecompress?: () => Transform }).createZstdDecompress,
}
/** Null where it is not compressed, or nobody knows how. */
const decoderOf = (encoding: string | string[] | undefined): Transform | null =>
  typeof encoding === 'string' && Object.hasOwn(DECODERS, encoding) ? (DECODERS[encoding]?.() ?? null) : null

class Refused extends Error {
  override readonly cause: RefusalCause
  readonly status: number | undefined

  constructor(cause: RefusalCause, message: string, status?: number) {
    super(message)
    this.cause = cause
    this.status = status
  }
}

export type Gateway = ReturnType<typeof createGateway>

export function createGateway(options: {
  ledger: Ledger
  prices: Prices
  providers: Providers
  nowMs: () => number
  /** Facts of a call, never a body or a key. */
  log: (facts: object, message: string) => void
  /** What every call counts for, besides what its session says, and what limits that. */
  everywhere?: (atMs: number) => { scopes: readonly Scope[]; limits: readonly Limit[] }
  /** The way to other hosts; there is none where it is absent. */
  egress?: Egress
  /** Models that any session may ask for; empty: all. */
  models?: readonly string[]
  /** Other names of models, which what asks need not know; what goes out and is paid for is the model. */
  aliases?: Readonly<Record<string, string>>
  /** Tools that a provider runs itself, and what it has to fetch, are left in requests: a way out, and not reserved for. */
  isOpen?: boolean
  /** A model whose price nobody knows passes, also where money is limited. */
  isUnmetered?: boolean
  /** How many bytes of a request are counted as a token before it goes out; 1 where absent, with which no limit is passed. */
  inputBytesPerToken?: number
}) {
  const { ledger, prices, providers, nowMs, aliases = {}, everywhere = () => ({ scopes: [], limits: [] }) } = options
  let isDraining = false
  let isClosed = false
  const connections = new Agent({
    headersTimeout: SILENCE_MS,
    bodyTimeout: SILENCE_MS,
    connect: { timeout: CONNECT_MS },
  })
  const sessions = new Set<Opened>()
  const inputs = createInputBounds(options.inputBytesPerToken)

  /** Told whenever a call has ended: there may be room for one that waits. */
  const room = new EventEmitter().setMaxListeners(0)

  const unbooked = new Set<Settlement>()
  /** Until the ledger takes it: a disk that is full may have room again. What is never taken has cost what was reserved. */
  const book = (settlement: Settlement): void => {
    try {
      ledger.settle(settlement)
      unbooked.delete(settlement)
      room.emit('ended')
    } catch (error) {
      if (!unbooked.has(settlement))
        options.log({ callId: settlement.callId, err: error }, 'a call cannot be booked yet')
      unbooked.add(settlement)
      if (isFatalSqliteError(error)) throw error
      setTimeout(() => {
        if (!isClosed) book(settlement)
      }, BOOK_AGAIN_MS).unref()
    }
  }

  /** Waits where only what is under way leaves no room. */
  const begun = async (
    call: Parameters<Ledger['begin']>[0],
    session: SessionOptions,
    wanted: Wanted,
    leaving: AbortSignal,
  ): Promise<Begun & { isBounded: boolean }> => {
    for (;;) {
      const everybody = everywhere(call.atMs)
      const limits = [...session.limits, ...everybody.limits]
      const answer = ledger.begin(call, [...session.scopes, ...everybody.scopes], limits, (left, unreserved) =>
        allowanceNow(wanted, left, unreserved),
      )
      // What nothing limits is left to the provider, which knows how much its model can say.
      const isBounded = wanted.asked.outputTokensMax !== null || limits.some(({ unit }) => unit !== 'requests')
      if (answer.ok || answer.isForNow !== true) return { ...answer, isBounded }
      await once(room, 'ended', { signal: leaving })
    }
  }

  /** What is asked for as it may go out, of the model that it is for. Throws `Refused` and `WireError`. */
  const admitted = (session: SessionOptions, wire: Wire, path: string, given: JsonObject) => {
    const { model } = wire.asked(path, given)
    const named = (Object.hasOwn(aliases, model) ? aliases[model] : undefined) ?? model
    const isAllowed = (models: readonly string[]) =>
      models.length === 0 || models.includes(model) || models.includes(named)
    if (!isAllowed(session.models) || !isAllowed(options.models ?? []))
      throw new Refused('refused', `The model ${model} is not allowed here.`)
    const body = options.isOpen === true ? given : wire.enclosed(given)
    const request = named === model ? { path, body } : wire.renamed(path, body, named)
    return { ...request, asked: wire.asked(request.path, request.body) }
  }

  const answer = async (session: Served, request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url ?? ''
    const url = path.startsWith('/') && URL.canParse(path, ORIGIN) ? new URL(path, ORIGIN) : null
    const found = url !== null && request.method === 'POST' ? wireOf(url.pathname) : null
    if (url === null || found === null)
      return void refuse(response, null, new Refused('refused', 'This gateway has no such route.', 404))
    const { wire, name, operation } = found
    const leaving = new AbortController()
    response.once('close', () => leaving.abort())
    let held = 0
    const hold = (bytes: number): void => {
      held += bytes
      session.bodies.bytes += bytes
      if (session.bodies.bytes > BODIES_BYTES_MAX)
        throw new Refused('unavailable', 'Too many and too large requests are under way.')
    }
    try {
      if (isDraining) throw new Refused('unavailable', 'The gateway is stopping.')
      const provider = providers[wire.provider]
      if (provider === undefined) throw new Refused('refused', `No key for ${wire.provider} is configured.`)
      const {
        path: pathname,
        body,
        asked,
      } = admitted(session, wire, url.pathname, objectIn(await bodyOf(request, hold)))
      const target = targetOf(provider, pathname, url.searchParams)
      const call = { wire, provider, target, headers: request.headers, response, leaving: leaving.signal }
      if (operation === 'count') return await passed(call, JSON.stringify(body), null)

      const atMs = nowMs()
      const price = prices.of(wire.provider, asked.model, atMs)
      const text = JSON.stringify(body)
      const input = inputs.request(wire, asked.model, body)
      const inputTokens = session.input.of(input)
      const begins = await begun(
        { attemptId: session.attemptId, wire: name, model: asked.model, atMs, rates: price?.rates ?? null },
        session,
        { asked, inputTokens, price, cached: wire.cached?.(text), isUnmetered: options.isUnmetered === true },
        leaving.signal,
      )
      if (!begins.ok) {
        const { unit, scope } = begins
        options.log({ attemptId: session.attemptId, unit, scope }, 'a call was refused')
        const of = scope === null ? '' : ` of the ${scope.scope}`
        throw new Refused(
          'spent',
          unit === null
            ? `The price of ${asked.model} is not known, and money is limited.`
            : `The limit${of} in ${unit} leaves no room for this call.`,
        )
      }
      const settle: Metering['settle'] = (end) => {
        const costMicroUsd = price?.microUsd(end.usage) ?? (end.usage === NO_USAGE ? 0 : null)
        if (end.state === 'settled') session.input.learn(input, end.usage.inputTokens)
        book({ callId: begins.callId, atMs: nowMs(), costMicroUsd, ...end })
      }
      const { isBounded } = begins
      const limited = JSON.stringify(wire.limited(body, isBounded ? begins.outputTokensMax : null))
      const outputTokensMax = isBounded ? begins.outputTokensMax : Number.POSITIVE_INFINITY
      await passed(call, limited, { settle, inputTokens, outputTokensMax, isStream: asked.isStream })
    } catch (error) {
      // It waited for room, and its client went away.
      if (leaving.signal.aborted && !(error instanceof Refused)) return
      if (!(error instanceof WireError || error instanceof Refused)) throw error
      const refused = error instanceof Refused ? error : new Refused('refused', error.message)
      if (refused.cause === 'refused')
        ledger.failed(session.attemptId, refuse(response, wire, refused), refused.message)
      else refuse(response, wire, refused)
    } finally {
      session.bodies.bytes -= held
    }
  }

  type Passing = {
    wire: Wire
    provider: Provider
    target: URL
    headers: IncomingHttpHeaders
    response: ServerResponse
    /** The client has gone. */
    leaving: AbortSignal
  }
  type Metering = {
    settle: (end: Pick<Settlement, 'state' | 'status' | 'usage' | 'failure'>) => void
    /** What was reserved for. */
    inputTokens: number
    outputTokensMax: number
    isStream: boolean
  }

  /** To the provider and back, as it comes; what is metered is settled whatever happens. */
  const passed = async (
    { wire, provider, target, headers, response, leaving }: Passing,
    body: string,
    metering: Metering | null,
  ) => {
    // Whoever has gone already has sent nothing.
    const wasGone = leaving.aborted
    let upstream: Upstream
    try {
      upstream = await connected(() =>
        send(target, {
          ...{ method: 'POST', body, dispatcher: connections, signal: leaving },
          headers: headersFor(wire.provider, provider, headers),
        }),
      )
    } catch (error) {
      const neverSent = wasGone || CONNECT_FAILURES.includes(codeOf(error))
      const message = `The provider ${wire.provider} cannot be reached.`
      // Of what may have reached the provider nobody knows the usage: all of the input; no word yet where they would have
      // come one by one, and maybe all of them where they would not.
      const { inputTokens = 0, outputTokensMax = 0, isStream = true } = metering ?? {}
      const usage = neverSent
        ? NO_USAGE
        : { ...NO_USAGE, inputTokens, outputTokens: isStream ? 0 : finite(outputTokensMax) }
      const failure = leaving.aborted ? null : message
      metering?.settle({ state: neverSent ? 'settled' : 'estimated', status: null, usage, failure })
      throw new Refused('unavailable', message)
    }
    const { statusCode } = upstream
    if (statusCode < 200 || statusCode >= 300) {
      const failure = `The provider ${wire.provider} answered ${statusCode}.`
      metering?.settle({ state: 'settled', status: statusCode, usage: NO_USAGE, failure })
      return await failed(upstream, provider, response)
    }
    const { isWhole, metered } = await streamed(wire, upstream, response, leaving, metering)
    if (metering !== null) {
      const failure = isWhole || leaving.aborted ? null : `The answer of ${wire.provider} broke off.`
      const { usage, isEstimated } = metered
      metering.settle({ state: isEstimated ? 'estimated' : 'settled', status: statusCode, usage, failure })
    }
    // A stream that broke off must not look like one that ended.
    if (isWhole) response.end()
    else response.destroy()
  }

  /** What comes goes on at once, and is read along. */
  const streamed = async (
    wire: Wire,
    { statusCode, headers, body }: Upstream,
    response: ServerResponse,
    leaving: AbortSignal,
    metering: Metering | null,
  ): Promise<{ isWhole: boolean; metered: Metered }> => {
    const isStream = String(headers['content-type']).startsWith('text/event-stream')
    const { inputTokens = 0, outputTokensMax = 0 } = metering ?? {}
    const meter = createMeter(wire.reader(), { isStream, inputTokens, outputTokensMax })
    // Compressed although it was asked not to be: it passes as it is, and the meter reads what it says.
    const decoder = decoderOf(headers['content-encoding'])
    decoder?.on('data', meter.push).on('error', meter.giveUp)
    let isWhole = false
    try {
      response.writeHead(statusCode, { ...kept(headers), 'x-accel-buffering': 'no' })
      response.flushHeaders()
      for await (const chunk of body) {
        if (decoder) decoder.write(chunk)
        else meter.push(chunk as Buffer)
        if (!response.write(chunk)) await drained(response, leaving)
      }
      isWhole = true
    } catch {
      // One of the two has gone.
    }
    if (decoder && !decoder.destroyed)
      await new Promise<void>((resolve) => decoder.once('close', resolve).once('error', resolve).end())
    return { isWhole, metered: meter.end(isWhole) }
  }

  /** What a provider says of its error may have a part of the key in it. */
  const failed = async ({ statusCode, headers, body }: Upstream, provider: Provider, response: ServerResponse) => {
    let text: string
    try {
      const decoder = decoderOf(headers['content-encoding'])
      text = await textOf(decoder === null ? body : body.pipe(decoder), ERROR_BYTES_MAX)
    } catch {
      return void response.destroy()
    }
    const { 'content-encoding': _, ...others } = kept(headers)
    response.writeHead(statusCode, others).end(withoutKeys(text, provider.key()))
  }

  /** Returns the status. */
  const refuse = (response: ServerResponse, wire: Wire | null, { cause, message, status }: Refused): number => {
    const refusal: Refusal = (wire ?? WIRES['openai-chat']).refusal(cause as RefusalCause, message)
    const statusCode = status ?? refusal.status
    if (response.headersSent) response.destroy()
    else
      response
        .writeHead(statusCode, { ...refusal.headers, 'content-type': 'application/json' })
        .end(JSON.stringify(refusal.body))
    return statusCode
  }

  return {
    /** Serves the attempt until `close`. */
    async open(session: SessionOptions): Promise<Session> {
      if (Buffer.byteLength(session.socketPath) > SOCKET_PATH_BYTES_MAX)
        throw new Error(`${session.socketPath}: the path of a socket has at most ${SOCKET_PATH_BYTES_MAX} bytes`)
      let current: Served = { ...session, bodies: { bytes: 0 }, input: inputs.ofAttempt() }
      const underWay = new Set<Promise<void>>()
      const track = (body: Promise<void>, onFailure: () => void): void => {
        const tracked = body
          .catch((error: unknown) => {
            options.log({ attemptId: session.attemptId, err: error }, 'a call failed')
            onFailure()
            // The books cannot be trusted any more: this process must end.
            if (isFatalSqliteError(error))
              setImmediate(() => {
                throw error
              })
          })
          .finally(() => underWay.delete(tracked))
        underWay.add(tracked)
      }
      const server = createServer({ noDelay: true }, (request, response) => {
        track(answer(current, request, response), () => {
          if (response.headersSent) response.destroy()
          else response.writeHead(500).end()
        })
      })
      const tunnels = new Set<Duplex>()
      server.on('connect', (request, client, head) => {
        tunnels.add(client)
        client.once('close', () => tunnels.delete(client))
        const { egress } = options
        if (egress === undefined || isDraining) return client.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n')
        const tunnel = { authority: request.url ?? '', client, head }
        track(egress.connect(session.attemptId, current.egress ?? [], tunnel), () => client.destroy())
      })
      server.on('upgrade', (_request, socket) =>
        socket.end('HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
      )
      server.requestTimeout = 0
      server.maxConnections = CONNECTIONS_MAX
      server.keepAliveTimeout = KEEP_ALIVE_MS
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(session.socketPath, resolve)
      })
      // Whoever can reach its folder may use it: the sandbox is another user.
      chmodSync(session.socketPath, 0o666)
      const opened: Opened = {
        change: (change) => {
          current = { ...current, ...change }
        },
        async close() {
          sessions.delete(opened)
          await new Promise<void>((resolve) => {
            server.close(() => resolve())
            server.closeAllConnections()
            for (const client of tunnels) client.destroy()
          })
          await opened.idle()
          options.egress?.forget(session.attemptId)
        },
        async idle() {
          await Promise.all(underWay)
        },
      }
      sessions.add(opened)
      return opened
    },
    /** Refuses what is new; resolves when nothing is under way any more. */
    async drain(): Promise<void> {
      isDraining = true
      await Promise.all([...sessions].map((session) => session.idle()))
    },
    async close(): Promise<void> {
      await Promise.all([...sessions].map((session) => session.close()))
      for (const settlement of unbooked) book(settlement)
      isClosed = true
      await connections.destroy()
    },
  }
}

type Upstream = Awaited<ReturnType<typeof send>>
/** `bodies`: what of requests is held at the moment. */
type Served = SessionOptions & { bodies: { bytes: number }; input: InputBound }
type Opened = Session & { idle: () => Promise<void> }

const finite = (tokens: number): number => (Number.isFinite(tokens) ? tokens : OUTPUT_TOKENS_DEFAULT)

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code)

async function connected<Answer>(attempt: () => Promise<Answer>): Promise<Answer> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await attempt()
    } catch (error) {
      if (attempts >= CONNECTS_MAX || !CONNECT_FAILURES.includes(codeOf(error))) throw error
    }
  }
}

const kept = (headers: IncomingHttpHeaders): Record<string, string | string[]> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value !== undefined && ANSWER_PASSED.test(name) ? [[name, value]] : [],
    ),
  )

const drained = (response: ServerResponse, leaving: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const gone = () => reject(new Error('the client is gone'))
    if (leaving.aborted) return gone()
    leaving.addEventListener('abort', gone, { once: true })
    response.once('drain', () => {
      leaving.removeEventListener('abort', gone)
      resolve()
    })
  })

async function bodyOf(request: IncomingMessage, hold: (bytes: number) => void): Promise<string> {
  const encoding = request.headers['content-encoding'] ?? 'identity'
  const decoder = decoderOf(encoding)
  if (encoding !== 'identity' && decoder === null)
    throw new Refused('refused', `The encoding ${encoding} is not known here.`, 415)
  const pieces: Buffer[] = []
  let bytes = 0
  try {
    for await (const piece of decoder === null ? request : request.pipe(decoder)) {
      bytes += piece.length
      hold(piece.length)
      if (bytes > BODY_BYTES_MAX)
        throw new Refused('refused', `The request has more than ${BODY_BYTES_MAX} bytes.`, 413)
      pieces.push(piece as Buffer)
    }
  } catch (error) {
    if (error instanceof Refused) throw error
    throw new Refused('refused', 'The request could not be read.')
  }
  return Buffer.concat(pieces).toString()
}

async function textOf(stream: Readable, bytesMax: number): Promise<string> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of stream) {
    pieces.push(piece as Buffer)
    bytes += (piece as Buffer).length
    if (bytes > bytesMax) break
  }
  return Buffer.concat(pieces).subarray(0, bytesMax).toString()
}

/** Keys as providers make them, also where they show a part alone. */
const KEY_LIKE = /\b(sk-|AIza|ya29\.)[\w*.…-]{4,}/g

const withoutKeys = (text: string, key: string): string =>
  (key === '' ? text : text.replaceAll(key, '***')).replace(KEY_LIKE, '***')

function objectIn(text: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Refused('refused', 'The request is not JSON.')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Refused('refused', 'The request is not an object.')
  return value as JsonObject
}
