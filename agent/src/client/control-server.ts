/**
 * The control server as the agent sees it: one method a call. Every call has a deadline. Anything that is not a
 * well-formed answer (a proxy's HTML page, half a body, a 500) is `Unreachable`: nothing is known and the caller asks
 * again. Only an error in the server's own shape is `Refused`.
 */
import type {
  ArtifactList,
  ArtifactsWanted,
  BlobCommitted,
  LogCommitted,
  LogStreamName,
  LogUploader,
  RegisterRequest,
  RegisterResponse,
  SyncRequest,
  SyncResponse,
  UsageReport,
  UsageStored,
  WaitResponse,
} from '@agent-executor/protocol'
import * as protocol from '@agent-executor/protocol'
import { Compile, Type } from '@agent-executor/protocol/typebox'
import { Agent, request } from 'undici'

/** No answer, or none that can be believed. */
export class Unreachable extends Error {
  override name = 'Unreachable'
}

/** The server's own word that it will not. */
export class Refused extends Error {
  override name = 'Refused'
  readonly code: string
  readonly statusCode: number
  readonly retryAfterMs: number | null
  constructor(statusCode: number, code: string, message: string, retryAfterMs: number | null) {
    super(message)
    this.statusCode = statusCode
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}

export type ControlServer = ReturnType<typeof createControlServer>

// Compiled: a sync may answer hundreds of offers.
const ANSWERS = {
  register: Compile(protocol.RegisterResponse),
  sync: Compile(protocol.SyncResponse),
  wait: Compile(protocol.WaitResponse),
  log: Compile(protocol.LogCommitted),
  wanted: Compile(protocol.ArtifactsWanted),
  blob: Compile(protocol.BlobCommitted),
  artifacts: Compile(protocol.CommandArtifacts),
  // What a price is like is between the server and the gateway.
  prices: Compile(Type.Object({ prices: Type.Array(Type.Unknown()) }, { additionalProperties: true })),
  stored: Compile(protocol.UsageStored),
}
const REFUSALS = Compile(protocol.ApiErrorBody)

/** A page of offers: a hundred of the largest payloads. */
const ANSWER_BYTES_MAX = 128 * 1024 * 1024

export function createControlServer({ url, timeoutMs = 30_000 }: { url: string; timeoutMs?: number }) {
  const base = new URL(url.endsWith('/') ? url : `${url}/`)
  const dispatcher = new Agent({
    connect: { timeout: 10_000 },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: 30_000,
    maxResponseSize: ANSWER_BYTES_MAX,
    connections: 4,
    pipelining: 1,
  })

  const exchange = async <Answer>(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    answers: { Check: (answer: unknown) => boolean },
    body: object | null,
    limits: { timeoutMs: number; signal?: AbortSignal },
    more: { headers?: Record<string, string>; statusCodes: readonly number[] } = { statusCodes: [200] },
  ): Promise<{ statusCode: number; answer: Answer; etag: string | null } | null> => {
    // By hand: AbortSignal.any on a signal that lives as long as the process keeps every combination alive.
    const abort = new AbortController()
    const stop = () => abort.abort()
    const timer = setTimeout(stop, limits.timeoutMs)
    limits.signal?.addEventListener('abort', stop)
    if (limits.signal?.aborted) stop()
    try {
      const response = await request(new URL(path, base), {
        dispatcher,
        method,
        signal: abort.signal,
        headersTimeout: limits.timeoutMs,
        headers: { accept: 'application/json', ...contentType(body), ...more.headers },
        body: body === null || Buffer.isBuffer(body) ? body : JSON.stringify(body),
      })
      if (response.statusCode === 204 || response.statusCode === NOT_MODIFIED) {
        await response.body.dump()
        return null
      }
      const text = await response.body.text()
      const answer = parsed(text)
      const { statusCode } = response
      if (more.statusCodes.includes(statusCode) && answers.Check(answer))
        return { statusCode, answer: answer as Answer, etag: etagOf(response.headers) }
      if (response.statusCode >= 400 && REFUSALS.Check(answer)) {
        const refusal = answer as protocol.ApiErrorBody
        const retryAfterS = Number(response.headers['retry-after'])
        throw new Refused(
          response.statusCode,
          refusal.code,
          refusal.message,
          Number.isFinite(retryAfterS) ? retryAfterS * 1000 : null,
        )
      }
      throw new Unreachable(`status ${response.statusCode} with an answer that is not the control server's`)
    } catch (error) {
      if (error instanceof Refused || error instanceof Unreachable) throw error
      const cause = error as Error & { code?: string }
      throw new Unreachable(cause.code ?? cause.message, { cause: error })
    } finally {
      clearTimeout(timer)
      limits.signal?.removeEventListener('abort', stop)
    }
  }

  const call = async <Answer>(
    method: 'GET' | 'POST',
    path: string,
    answers: { Check: (answer: unknown) => boolean },
    body: object | null,
    limits: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Answer | null> => (await exchange<Answer>(method, path, answers, body, limits))?.answer ?? null

  const agentPath = (agentId: string, name: string) => `agents/${encodeURIComponent(agentId)}/${name}`
  const required = async <Answer>(answer: Promise<Answer | null>): Promise<Answer> => {
    const value = await answer
    if (value === null) throw new Unreachable('status 204 where an answer was due')
    return value
  }

  return {
    register: (body: RegisterRequest, signal: AbortSignal): Promise<RegisterResponse> =>
      required(call<RegisterResponse>('POST', 'agents/register', ANSWERS.register, body, { timeoutMs, signal })),

    sync: (agentId: string, body: SyncRequest, signal: AbortSignal): Promise<SyncResponse> =>
      required(call<SyncResponse>('POST', agentPath(agentId, 'sync'), ANSWERS.sync, body, { timeoutMs, signal })),

    /** Resolves with true where something changed for this agent, false where the wait was in vain. */
    wait: async (agentId: string, rev: number, signal: AbortSignal): Promise<boolean> =>
      (await call<WaitResponse>('GET', `${agentPath(agentId, 'wait')}?rev=${rev}`, ANSWERS.wait, null, {
        timeoutMs: protocol.WAIT_MS_MAX + 10_000,
        signal,
      })) !== null,

    /** A part of a log, or its end. A refusal is an answer, but for one that says to come again later. */
    async uploadLog(
      { attemptId, stream }: { attemptId: string; stream: LogStreamName },
      uploader: LogUploader,
      part: { offset: number; content: Buffer } | { bytes: number; sha256: string; complete: boolean },
      signal: AbortSignal,
    ): Promise<{ type: 'taken' | 'rewind'; committed: number } | { type: 'refused'; code: string }> {
      const path = `attempts/${encodeURIComponent(attemptId)}/logs/${stream}?${uploaderQuery(uploader)}`
      const [range, body] =
        'content' in part
          ? [`bytes ${part.offset}-${part.offset + part.content.length - 1}/*`, part.content]
          : [`bytes */${part.bytes}`, { sha256: part.sha256, complete: part.complete }]
      const more = { headers: { 'content-range': range }, statusCodes: [202, 416] }
      return unlessRefused(async () => {
        const { answer, statusCode } = await required(
          exchange<LogCommitted>('PUT', path, ANSWERS.log, body, { timeoutMs, signal }, more),
        )
        return { type: statusCode === 416 ? 'rewind' : 'taken', committed: answer.committed }
      })
    },

    /** Tells what an attempt has left. A refusal is an answer, but for one that says to come again later. */
    async listArtifacts(
      attemptId: string,
      uploader: LogUploader,
      artifacts: ArtifactList['artifacts'],
      signal: AbortSignal,
    ): Promise<{ type: 'wanted'; wanted: string[] } | { type: 'refused'; code: string }> {
      const path = `attempts/${encodeURIComponent(attemptId)}/artifacts?${uploaderQuery(uploader)}`
      return unlessRefused(async () => {
        const exchanged = exchange<ArtifactsWanted>(
          'PUT',
          path,
          ANSWERS.wanted,
          { artifacts },
          { timeoutMs, signal },
          { headers: {}, statusCodes: [200] },
        )
        return { type: 'wanted', wanted: (await required(exchanged)).answer.wanted }
      })
    },

    /** A part of a content of `bytes` bytes. */
    async uploadPart(
      attemptId: string,
      uploader: LogUploader,
      part: { sha256: string; bytes: number; offset: number; content: Buffer },
      signal: AbortSignal,
    ): Promise<{ type: 'taken' | 'rewind'; committed: number } | { type: 'refused'; code: string }> {
      const { sha256, bytes, offset, content } = part
      const path = `attempts/${encodeURIComponent(attemptId)}/blobs/${sha256}?${uploaderQuery(uploader)}`
      const range = bytes === 0 ? 'bytes */0' : `bytes ${offset}-${offset + content.length - 1}/${bytes}`
      const more = { headers: { 'content-range': range }, statusCodes: [202, 416] }
      return unlessRefused(async () => {
        const { answer, statusCode } = await required(
          exchange<BlobCommitted>('PUT', path, ANSWERS.blob, content, { timeoutMs, signal }, more),
        )
        return { type: statusCode === 416 ? 'rewind' : 'taken', committed: answer.committed }
      })
    },

    /** What calls of an attempt have used. A refusal is an answer, but for one that says to come again later. */
    async uploadUsage(
      attemptId: string,
      uploader: LogUploader,
      report: UsageReport,
      signal: AbortSignal,
    ): Promise<{ type: 'stored' } | { type: 'refused'; code: string }> {
      const path = `attempts/${encodeURIComponent(attemptId)}/usage?${uploaderQuery(uploader)}`
      return unlessRefused(async () => {
        await required(exchange<UsageStored>('PUT', path, ANSWERS.stored, report, { timeoutMs, signal }))
        return { type: 'stored' }
      })
    },

    /** The prices that clients have set; null where they still have this tag. */
    async prices(etag: string | null, signal: AbortSignal): Promise<{ etag: string | null; prices: unknown[] } | null> {
      const more = { headers: etag === null ? {} : { 'if-none-match': etag }, statusCodes: [200] }
      const limits = { timeoutMs, signal }
      const asked = exchange<{ prices: unknown[] }>('GET', 'prices', ANSWERS.prices, null, limits, more)
      const got = await asked.catch((error: unknown) => {
        // Of an older server, which has none.
        if (error instanceof Refused && error.code === 'NOT_FOUND') return null
        throw error
      })
      return got === null ? null : { etag: got.etag, prices: got.answer.prices }
    },

    /** The files that the newest attempt of a command has left. */
    artifactsOf: (commandId: string, signal: AbortSignal): Promise<protocol.CommandArtifacts> =>
      required(
        call('GET', `commands/${encodeURIComponent(commandId)}/artifacts`, ANSWERS.artifacts, null, {
          ...{ timeoutMs, signal },
        }),
      ),

    /** Bytes of a content from `offset` on, at most `bytesMax`, and how many it has. Not for one without any. */
    async fetchBlob(
      sha256: string,
      { offset, bytesMax }: { offset: number; bytesMax: number },
      signal: AbortSignal,
    ): Promise<{ content: Buffer; bytes: number }> {
      const abort = new AbortController()
      const stop = () => abort.abort()
      const timer = setTimeout(stop, timeoutMs)
      signal.addEventListener('abort', stop)
      if (signal.aborted) stop()
      try {
        const response = await request(new URL(`blobs/${sha256}`, base), {
          dispatcher,
          signal: abort.signal,
          headersTimeout: timeoutMs,
          headers: { range: `bytes=${offset}-${offset + bytesMax - 1}` },
        })
        const { statusCode, headers } = response
        const content = Buffer.from(await response.body.arrayBuffer())
        const range = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(String(headers['content-range']))
        if (statusCode === 206 && range !== null && Number(range[1]) === offset)
          return { content, bytes: Number(range[2]) }
        const answer = parsed(content.toString('utf8'))
        if (statusCode >= 400 && REFUSALS.Check(answer)) {
          const { code, message } = answer as protocol.ApiErrorBody
          throw new Refused(statusCode, code, message, null)
        }
        throw new Unreachable(`status ${statusCode} where a part of a file was due`)
      } catch (error) {
        if (error instanceof Refused || error instanceof Unreachable) throw error
        const cause = error as Error & { code?: string }
        throw new Unreachable(cause.code ?? cause.message, { cause: error })
      } finally {
        clearTimeout(timer)
        signal.removeEventListener('abort', stop)
      }
    },

    close: (): Promise<void> => dispatcher.destroy(),
  }
}

const NOT_MODIFIED = 304

const etagOf = ({ etag }: Readonly<Record<string, string | string[] | undefined>>): string | null =>
  typeof etag === 'string' ? etag : null

const uploaderQuery = ({ agentId, incarnation, epoch }: LogUploader): URLSearchParams =>
  new URLSearchParams({ agentId, incarnation: String(incarnation), epoch })

/** For a call whose refusals mean something to whoever asks, unless they say to come again later. */
const unlessRefused = async <Answer>(
  body: () => Promise<Answer>,
): Promise<Answer | { type: 'refused'; code: string }> => {
  try {
    return await body()
  } catch (error) {
    if (!(error instanceof Refused) || error.statusCode >= 500) throw error
    return { type: 'refused', code: error.code }
  }
}

const contentType = (body: object | null): Record<string, string> => {
  if (body === null) return {}
  return { 'content-type': Buffer.isBuffer(body) ? 'application/octet-stream' : 'application/json' }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
