/** A real server on a free port of 127.0.0.1, over a real database in the test's own folder, on a clock that tests move. */
import { randomUUID } from 'node:crypto'
import { type AddressInfo, connect } from 'node:net'
import { API_ERRORS, type ApiErrorBody, type ApiErrorCode, type CommandRecord } from '@agent-executor/protocol'
import { createLogger } from '@agent-executor/runtime'
import type { Test } from 'tap'
import { uuidv7 } from 'uuidv7'
import { type AppOptions, buildApp } from '../../src/app.ts'
import { createBlobs } from '../../src/blobs/blobs.ts'
import { loadSeeds } from '../../src/documents/seeds.ts'
import { createLogFollowers } from '../../src/log-followers.ts'
import { createSweeper } from '../../src/maintenance/sweeper.ts'
import { createMetrics } from '../../src/metrics.ts'
import { type ListMax, openSqliteStore } from '../../src/store/sqlite-store.ts'
import { createRenderer } from '../../src/templates/renderer.ts'
import { createWakeups } from '../../src/wakeups.ts'

const POLICY = { offerMs: 30_000, lostGraceMs: 1_800_000, poisonAfter: 3 }
const LIMITS = {
  leaseMs: 30_000,
  cancelGraceMs: 5000,
  delayMsMax: 86_400_000,
  bodyBytesMax: 1_048_576,
  syncBytesMax: 33_554_432,
  resultBytesMax: 1_048_576,
  inFlightBytesMax: 67_108_864,
  logBytesMax: 33_554_432,
  logSettleMs: 30_000,
  uploadBytesMax: 104_857_600,
  artifactBytesMax: 268_435_456,
  runTimeoutMsMax: 86_400_000,
  runMemoryBytesMax: 8_589_934_592,
  runCpusMax: 8,
  runPidsMax: 4096,
  runWorkspaceBytesMax: 4_294_967_296,
  runCostMicroUsdMax: 20_000_000,
}

export const UPLOAD_TTL_MS = 86_400_000

export type Server = Awaited<ReturnType<typeof startServer>>
export type Answer = { status: number; headers: Headers; text: string; body: unknown }

export async function startServer(
  t: Test,
  {
    limits,
    listMax,
    queueMax,
    followersMax = 100,
    ...options
  }: { limits?: Partial<typeof LIMITS>; listMax?: ListMax; queueMax?: number; followersMax?: number } & Partial<
    Pick<AppOptions, 'hosts' | 'arrival'>
  > = {},
) {
  const clock = { nowMs: Date.now() }
  const nowMs = () => clock.nowMs
  const stopping = new AbortController()
  const wakeups = createWakeups()
  const logFollowers = createLogFollowers(followersMax)
  const dir = t.testdir()
  const metrics = createMetrics({ version: '0.0.0-test', open: [], ofProcess: false })
  const store = openSqliteStore({
    file: `${dir}/commands.db`,
    policy: POLICY,
    nowMs: nowMs(),
    newEpoch: randomUUID(),
    onCommit: (changes) => {
      wakeups.changed(changes)
      metrics.changed(changes)
      for (const { command } of changes) logFollowers.changed(command.commandId)
    },
    ...(listMax === undefined ? {} : { listMax }),
    ...(queueMax === undefined ? {} : { queueMax }),
    onFatal: (error) => {
      throw error
    },
  })
  const blobs = createBlobs({ dir: `${dir}/blobs`, files: store.files, keptMs: UPLOAD_TTL_MS, nowMs })
  const sweeper = createSweeper({
    store,
    policy: POLICY,
    nowMs,
    random: () => 0,
    sweepMs: 60_000,
    idempotencyMs: 86_400_000,
    removeUnused: blobs.removeUnused,
    onError: (error) => t.error(error),
  })
  const renderer = createRenderer()
  await loadSeeds({
    ...{ folder: 'none', shipped: 'control-server/seeds', documents: store.documents, renderer, nowMs },
    ...{ maxima: LIMITS, log: { info() {}, warn: (facts) => t.fail(JSON.stringify(facts)) } },
  })
  /** The requests that wait now. */
  const waiting = new Set<Promise<boolean>>()
  const app = buildApp({
    store,
    documents: store.documents,
    logs: store.logs,
    files: store.files,
    blobs,
    usage: store.usage,
    prices: store.prices,
    metrics,
    logFollowers,
    renderer,
    wakeups: {
      ...wakeups,
      wait(...parameters) {
        const wait = wakeups.wait(...parameters)
        waiting.add(wait.changed)
        void wait.changed.then(() => waiting.delete(wait.changed))
        return wait
      },
    },
    policy: POLICY,
    limits: { ...LIMITS, ...limits },
    version: '0.0.0-test',
    nowMs,
    random: () => 0,
    newId: () => uuidv7(),
    stopping: stopping.signal,
    logger: createLogger({ name: 'test', level: (process.env.TEST_LOG_LEVEL ?? 'silent') as 'silent' }),
    connectionsMax: 500,
    hosts: null,
    ...options,
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(async () => {
    stopping.abort()
    wakeups.close()
    logFollowers.close()
    const closed = app.close()
    app.server.closeAllConnections()
    await closed
    await renderer.close()
    await store.close()
  })
  const { port } = app.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`

  /** One request. An object as body is sent as JSON; text and bytes go as they are, with the type that `headers` name. */
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
    signal: AbortSignal = AbortSignal.timeout(20_000),
  ): Promise<Answer> => {
    const isPlain = body === undefined || typeof body === 'string' || body instanceof Uint8Array
    const response = await fetch(url + path, {
      method,
      signal,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: isPlain ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json') ?? false
    return { status: response.status, headers: response.headers, text, body: isJson && text ? JSON.parse(text) : text }
  }

  return {
    app,
    port,
    clock,
    waiting,
    store,
    renderer,
    blobs,
    blobsDir: `${dir}/blobs`,
    call,
    sweep: sweeper.sweep,
    /** As a signal to the process would. */
    stop(): void {
      stopping.abort()
      wakeups.close()
      logFollowers.close()
    },

    /** Submits a DELAY, with `fields` besides or in place of its own; answers the record. */
    async submit(fields: object = {}): Promise<CommandRecord> {
      const { body } = await call('POST', '/commands', { type: 'DELAY', payload: { ms: 1 }, ...fields })
      return body as CommandRecord
    },

    async record(commandId: string): Promise<CommandRecord> {
      return (await call('GET', `/commands/${commandId}`)).body as CommandRecord
    },

    async countCommands(): Promise<number> {
      const filters = { statuses: null, types: null, agentId: null, label: null, text: null }
      const everything = { ...filters, limit: 1000, createdFromMs: null, createdToMs: null }
      let count = 0
      for (let cursor: string | null | undefined; cursor !== null; ) {
        const page = await store.list({ ...everything, cursor: cursor ?? null })
        count += page.commands.length
        cursor = page.cursor
      }
      return count
    },
  }
}

type Part = string | Uint8Array
export type RawAnswer = { status: number; headers: string; body: unknown; closed: boolean }

/**
 * Writes the bytes on a connection of its own and reads until the server closes it, or until the deadline: `closed` tells
 * which. `pauseMs` is waited before each part but the first. Never closes by itself, as a hostile client would not.
 */
export async function raw(
  port: number,
  parts: Part | Iterable<Part> | AsyncIterable<Part>,
  { pauseMs = 0, deadlineMs = 8000 }: { pauseMs?: number; deadlineMs?: number } = {},
): Promise<RawAnswer> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const received: Buffer[] = []
  let closed = true
  const deadline = setTimeout(() => {
    closed = false
    socket.destroy()
  }, deadlineMs)
  socket.on('data', (chunk) => received.push(chunk))
  socket.on('error', () => {})
  socket.on('end', () => socket.end())
  const gone = new Promise((resolve) => socket.on('close', resolve))
  for await (const part of typeof parts === 'string' || parts instanceof Uint8Array ? [parts] : parts) {
    if (socket.destroyed) break
    socket.write(part)
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
  await gone
  clearTimeout(deadline)
  return { ...parseAnswer(Buffer.concat(received).toString('utf8')), closed }
}

const parseAnswer = (text: string): Omit<RawAnswer, 'closed'> => {
  const end = text.indexOf('\r\n\r\n')
  const headers = text.slice(0, end).toLowerCase()
  const length = /content-length: (\d+)/.exec(headers)?.[1]
  const body = text.slice(end + 4, length === undefined ? undefined : end + 4 + Number(length))
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0)
  return { status, headers, body: body.startsWith('{') ? JSON.parse(body) : body }
}

/** That the answer is an error in the one shape, with this code and the status that belongs to it, and tells no secrets. */
export function isApiError(
  t: Test,
  answer: { status: number; body: unknown },
  code: ApiErrorCode | readonly ApiErrorCode[],
): ApiErrorBody {
  const body = (typeof answer.body === 'object' ? answer.body : {}) as ApiErrorBody
  const codes: readonly string[] = typeof code === 'string' ? [code] : code
  t.ok(codes.includes(body.code), `code ${body.code} (${answer.status}) is ${codes.join(' or ')}: ${body.message}`)
  const known = API_ERRORS[body.code as ApiErrorCode] as readonly [number, string] | undefined
  t.equal(answer.status, known?.[0], 'the status that belongs to the code')
  t.equal(body.statusCode, answer.status)
  t.strictSame(
    Object.keys(body).sort(),
    [
      'code',
      ...(body.code === 'LOG_GAP' || body.code === 'BLOB_GAP' ? ['committed'] : []),
      ...(body.details ? ['details'] : []),
      'error',
      'message',
      'requestId',
      'statusCode',
    ],
    'the one shape of errors',
  )
  t.match(body, { error: /^[A-Z]/, message: /\S/, requestId: /^[0-9a-f-]{36}$/ })
  for (const detail of body.details ?? []) t.match(detail, { path: String, message: /\S/ })
  const text = JSON.stringify(body)
  t.notMatch(
    text,
    /node_modules|\.[jt]s:\d|\n? {4}at |SQLITE|\bSELECT\b|\bINSERT\b|\/work\/|\/dist\//,
    'no stack, path or SQL',
  )
  t.ok(text.length < 20_000, 'not a copy of what was sent')
  return body
}
