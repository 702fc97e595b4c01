/**
 * `HTTP_GET_JSON`: one GET on behalf of somebody outside, from inside a network they may not enter. Everything that
 * decides where the request goes lives in this file and in runtime's address-policy.ts.
 */
import dns from 'node:dns'
import { setMaxListeners } from 'node:events'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import {
  HTTP_REDIRECTS_MAX,
  HTTP_TIMEOUT_MS_DEFAULT,
  type HttpGetJsonPayload,
  type JsonValue,
} from '@agent-executor/protocol'
import type { AddressPolicy } from '@agent-executor/runtime'
import { buildConnector, Client, type Dispatcher } from 'undici'
import type { Executor, Work } from './executor.ts'
import { Failure, failed } from './failure.ts'
import { ACCEPT_ENCODING, encodingsOf, readBody, resultOf } from './http-body.ts'
import { failureOf } from './http-failure.ts'

const CONNECT_TIMEOUT_MS = 5_000
const HEADERS_TIMEOUT_MS = 10_000
const BODY_IDLE_TIMEOUT_MS = 10_000
const HEADER_BYTES_MAX = 16_384
/** Ends encoded bodies that never decode to anything, such as empty gzip members without end. */
const WIRE_BYTES_MAX = 1_048_576
/** Answers of 1xx before the real one: each resets the headers timeout. */
const INTERIM_ANSWERS_MAX = 16

/** Headers that say how this connection is used, which only the executor knows. The server refuses them at submit. */
const OWN_HEADERS =
  /^(host|connection|content-length|transfer-encoding|accept-encoding|te|upgrade|expect|keep-alive|trailer|proxy-.*)$/

const REDIRECTS = new Set([301, 302, 303, 307, 308])

export type HttpGetJsonOptions = {
  policy: AddressPolicy
  /** Name resolution, TCP and TLS together. */
  connectTimeoutMs?: number
  headersTimeoutMs?: number
  /** The longest pause between two pieces of a body. */
  bodyIdleTimeoutMs?: number
  lookup?: LookupFunction
}

/** Names the attempt, so that a resource that counts can recognise the second GET of one command. */
const baseHeaders = ({ commandId, attempt }: Work) =>
  new Map([
    ['accept', 'application/json'],
    ['accept-encoding', ACCEPT_ENCODING],
    ['user-agent', 'agent-executor'],
    ['idempotency-key', commandId],
    ['x-attempt', String(attempt)],
  ])

const withHeadersOf = (payload: HttpGetJsonPayload, headers: Map<string, string>) => {
  for (const [name, value] of Object.entries(payload.headers ?? {})) {
    if (!OWN_HEADERS.test(name.toLowerCase())) headers.set(name.toLowerCase(), value)
  }
  return headers
}

const urlOf = (text: string, base?: string): URL | null => (URL.canParse(text, base) ? new URL(text, base) : null)

/** Where an answer sends us; null for an ordinary answer, and for a redirect that names no place. */
const redirectOf = ({ statusCode, headers }: Dispatcher.ResponseData, from: URL): URL | null =>
  REDIRECTS.has(statusCode) && typeof headers.location === 'string' ? urlOf(headers.location, from.href) : null

const blocked = (reason: string) => new Failure('BLOCKED_ADDRESS', `the agent may not reach ${reason}`)

export const createHttpGetJsonExecutor = ({
  policy,
  connectTimeoutMs = CONNECT_TIMEOUT_MS,
  headersTimeoutMs = HEADERS_TIMEOUT_MS,
  bodyIdleTimeoutMs = BODY_IDLE_TIMEOUT_MS,
  lookup = dns.lookup,
}: HttpGetJsonOptions): Executor<HttpGetJsonPayload> => {
  const checkUrl = (url: URL) => {
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      throw new Failure('HTTP_ERROR', 'the URL has a scheme other than http and https')
    }
    if (url.username !== '' || url.password !== '') throw new Failure('HTTP_ERROR', 'the URL holds credentials')
    const host = url.hostname.replace(/^\[|\]$/g, '')
    // node:net connects to a literal without asking `lookup`, so it is checked here or never.
    const reason = isIP(host) ? policy.refusalOfAddress(host) : policy.refusalOfHost(host)
    if (reason) throw blocked(reason)
  }

  /** node:net connects to exactly what this answers: nobody resolves the name a second time. */
  const checkedLookup: LookupFunction = (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, [])
      const addresses = Array.isArray(found) ? found : [{ address: found, family: isIP(found) }]
      // node:net throws where nobody can catch it on a list without addresses.
      if (addresses.length === 0) return callback(new Failure('NETWORK_ERROR', 'the host name does not resolve'), [])
      // One address that is refused refuses the name: which of them a retry would take is the name server's choice.
      const reasons = addresses.map(({ address }) => policy.refusalOfAddress(address, hostname))
      const reason = reasons.find((candidate) => candidate !== null)
      callback(reason ? blocked(reason) : null, addresses)
    })
  }

  /** A dispatcher for one request: one connection, to a checked address, gone when `signal` aborts. */
  const open = (url: URL, signal: AbortSignal) => {
    let socket: Socket | undefined
    const connect = buildConnector({
      lookup: checkedLookup,
      autoSelectFamily: true,
      timeout: connectTimeoutMs,
      signal,
      maxCachedSessions: 0,
    })
    const client = new Client(url.origin, {
      connect: (options, callback) => {
        // undici connects again where a connection was lost before the request was written.
        if (socket) return callback(new Failure('NETWORK_ERROR', 'connection closed before the request was sent'), null)
        connect(options, (...[error, connected]) => {
          if (error) return callback(error, null)
          socket = connected
          // Undefined where the other side is gone already.
          const { remoteAddress } = connected
          const reason = remoteAddress && policy.refusalOfAddress(remoteAddress, url.hostname)
          if (!reason) return callback(null, connected)
          connected.destroy()
          callback(blocked(reason), null)
        })
      },
      headersTimeout: headersTimeoutMs,
      bodyTimeout: bodyIdleTimeoutMs,
      maxHeaderSize: HEADER_BYTES_MAX,
      maxResponseSize: WIRE_BYTES_MAX,
    })
    return { client, socketError: () => socket?.errored as NodeJS.ErrnoException | null | undefined }
  }

  const get = async (work: Work<HttpGetJsonPayload>, end: AbortController): Promise<JsonValue> => {
    let url = urlOf(work.payload.url)
    if (!url) throw new Failure('HTTP_ERROR', 'the URL is not valid')
    let headers = withHeadersOf(work.payload, baseHeaders(work))

    for (let redirects = 0; redirects <= HTTP_REDIRECTS_MAX; redirects++) {
      checkUrl(url)
      const { client, socketError } = open(url, end.signal)
      try {
        let interims = 0
        const answer = await client.request({
          method: 'GET',
          path: url.pathname + url.search,
          headers,
          signal: end.signal,
          reset: true,
          onInfo: () => {
            if (++interims > INTERIM_ANSWERS_MAX) end.abort(new Failure('HTTP_ERROR', 'too many interim answers'))
          },
        })
        const next = redirectOf(answer, url)
        if (!next) return await read(answer, socketError)
        if (url.protocol === 'https:' && next.protocol === 'http:') {
          throw new Failure('HTTP_ERROR', 'a redirect leads from https to http')
        }
        // The submitter's headers may hold a secret that was meant for the first origin.
        if (next.origin !== url.origin) headers = baseHeaders(work)
        url = next
      } finally {
        await client.destroy()
      }
    }
    throw new Failure('HTTP_ERROR', `more than ${HTTP_REDIRECTS_MAX} redirects`)
  }

  return {
    type: 'HTTP_GET_JSON',
    afterCrash: 'interrupted',

    async run(work, signal) {
      // Every ending goes through this controller: its abort is what closes sockets, whatever phase they are in.
      const end = new AbortController()
      // Six hops add more listeners than the ten after which Node warns of a leak.
      setMaxListeners(0, end.signal)
      const timeoutMs = work.payload.timeoutMs ?? HTTP_TIMEOUT_MS_DEFAULT
      const timer = setTimeout(
        () => end.abort(new Failure('TIMED_OUT', `no complete answer within ${timeoutMs} ms`)),
        timeoutMs,
      )
      const abort = () => end.abort(new Failure('CANCELLED', 'the request was aborted'))
      signal.addEventListener('abort', abort)
      if (signal.aborted) abort()
      try {
        return { ok: true, result: await get(work, end) }
      } catch (error) {
        return failed(failureOf(end.signal.aborted ? end.signal.reason : error))
      } finally {
        clearTimeout(timer)
        signal.removeEventListener('abort', abort)
        end.abort()
      }
    },
  }
}

/** 204, 205 and 304 end with their headers, whatever Content-Length says. */
const BODILESS = new Set([204, 205, 304])

const read = async (
  { statusCode, headers, body }: Dispatcher.ResponseData,
  socketError: () => NodeJS.ErrnoException | null | undefined,
): Promise<JsonValue> => {
  if (BODILESS.has(statusCode)) return resultOf(statusCode, { bytes: Buffer.alloc(0), truncated: false })
  const encodings = encodingsOf(headers['content-encoding'])
  const content = await readBody(body, encodings)
  // undici takes a reset for the end of a body that ends with its connection.
  const error = socketError()
  if (!content.truncated && error?.code === 'ECONNRESET') throw error
  const announced = headers['content-length']
  const totalBytes = encodings.length === 0 && announced !== undefined ? Number(announced) : undefined
  return resultOf(statusCode, content, totalBytes)
}
