/** What agents call, who is told of them, and whether the server is well. */

import { once } from 'node:events'
import type { AgentRecord, RegisterResponse, SyncResponse } from '@agent-executor/protocol'
import t from 'tap'
import { type Answer, isApiError, raw, type Server, startServer } from './harness.ts'

const registration = (fields: object = {}): Record<string, unknown> & { agentId: string } => ({
  agentId: 'box-1',
  journalId: 'journal-1',
  nonce: 'nonce-01',
  previousNonces: [],
  previousIncarnation: 0,
  logSeq: 0,
  protocol: { min: 1, max: 1 },
  version: '1.2.3',
  types: ['DELAY', 'HTTP_GET_JSON'],
  labels: ['gpu'],
  slots: { DELAY: 10, HTTP_GET_JSON: 2 },
  ...fields,
})
const registerAs = (server: Server, fields: object = {}) =>
  server.call('POST', '/agents/register', registration(fields))

/** A registered agent whose calls have the right incarnation, epoch and seq unless they say otherwise. */
const withAgent = async (server: Server, fields: Partial<ReturnType<typeof registration>> = {}) => {
  const registered = await registerAs(server, fields)
  const { incarnation, epoch } = registered.body as RegisterResponse
  const agentId = fields.agentId ?? 'box-1'
  let seq = 0
  return {
    incarnation,
    epoch,
    sync: (request: object = {}): Promise<Answer> => {
      seq += 1
      const whole = { incarnation, seq, epoch, revSeen: 0, logSeq: 0, mode: 'ready', want: {}, held: [], ...request }
      return server.call('POST', `/agents/${agentId}/sync`, whole)
    },
    heartbeat: (request: object = {}) =>
      server.call('POST', `/agents/${agentId}/heartbeat`, { incarnation, epoch, ...request }),
    wait: (timeoutMs: number) => server.call('GET', `/agents/${agentId}/wait?timeoutMs=${timeoutMs}`),
  }
}

const parked = async (server: Server, count: number) => {
  while (server.waiting.size < count) await new Promise((resolve) => setImmediate(resolve))
}

t.test('register', async (t) => {
  const server = await startServer(t)
  const first = await registerAs(server)
  t.match(first, {
    status: 200,
    body: { incarnation: 1, epoch: /^[0-9a-f-]{36}$/, leaseMs: 30_000, syncMs: 10_000, protocol: 1, recovery: false },
  })
  t.match(
    await registerAs(server),
    { status: 200, body: { incarnation: 1 } },
    'the repeat of a call whose answer was lost',
  )
  t.match(await registerAs(server, { nonce: 'nonce-02', previousIncarnation: 1 }), {
    status: 200,
    body: { incarnation: 2 },
  })

  await t.test('another journal under the same id has to wait for the lease', async (t) => {
    const other = { nonce: 'nonce-03', journalId: 'journal-2' }
    const refused = await registerAs(server, other)
    isApiError(t, refused, 'IDENTITY_CONFLICT')
    t.equal(refused.headers.get('retry-after'), '33', 'when the server would let it in')
    isApiError(t, await registerAs(server, { nonce: 'nonce-04' }), 'IDENTITY_CONFLICT')
    server.clock.nowMs += 40_000
    t.match(await registerAs(server, other), { status: 200, body: { incarnation: 3 } })
  })

  await t.test('no protocol in common is 426 and says what to do', async (t) => {
    for (const protocol of [
      { min: 2, max: 9 },
      { min: 0, max: 0 },
    ]) {
      const { message } = isApiError(t, await registerAs(server, { agentId: 'old', protocol }), 'PROTOCOL_UNSUPPORTED')
      t.match(message, 'update the older of the two')
    }
    t.match(await registerAs(server, { agentId: 'new', protocol: { min: 1, max: 9 } }), {
      status: 200,
      body: { protocol: 1 },
    })
  })

  await t.test('invalid bodies are refused, unknown fields are not', async (t) => {
    const bad: Record<string, unknown>[] = [
      { agentId: '../etc' },
      { agentId: 'a'.repeat(101) },
      { journalId: 'short' },
      { nonce: 5 },
      { previousNonces: Array.from({ length: 17 }, () => 'nonce-00') },
      { previousIncarnation: -1 },
      { logSeq: 2 ** 53 },
      { protocol: { min: 1 } },
      { version: 'v'.repeat(101) },
      { types: 'DELAY' },
      { labels: ['a b'] },
      { slots: { DELAY: -1 } },
    ]
    for (const fields of bad) {
      const { details } = isApiError(t, await registerAs(server, fields), 'INVALID_REQUEST')
      t.match(details?.[0]?.path, `/${Object.keys(fields)[0]}`)
    }
    isApiError(t, await server.call('POST', '/agents/register', {}), 'INVALID_REQUEST')
    isApiError(t, await server.call('POST', '/agents/register', '{'), 'MALFORMED_JSON')
    const later = { agentId: 'later', protocol: { min: 1, max: 2, preferred: 2 }, capabilities: { adopt: true } }
    t.match(await registerAs(server, later), { status: 200 })
  })
})

t.test('sync carries a command from the offer to its acknowledged result', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit({ payload: { ms: 5 }, labels: ['gpu'] })
  const agent = await withAgent(server)
  const offered = (await agent.sync({ want: { DELAY: 1 }, clockMs: server.clock.nowMs + 250, unknown: 1 }))
    .body as SyncResponse
  const attemptId = `${commandId}.1`
  t.match(offered, {
    incarnation: 1,
    seq: 1,
    epoch: agent.epoch,
    leaseMs: 30_000,
    offers: [
      { attemptId, commandId, attempt: 1, type: 'DELAY', payload: { ms: 5 }, timeoutMs: 60_005, takeover: 'manual' },
    ],
    grants: [],
    acks: [],
    desired: [],
    drop: [],
  })
  t.match(await server.record(commandId), { status: 'PENDING', agentId: 'box-1', attempts: [{ state: 'OFFERED' }] })

  t.match((await agent.sync({ held: [{ attemptId, phase: 'accepted', unknown: 1 }] })).body, {
    grants: [attemptId],
    offers: [],
  })
  t.match(await server.record(commandId), { status: 'RUNNING' })
  t.match((await agent.sync({ held: [{ attemptId, phase: 'running' }] })).body, { grants: [], drop: [], desired: [] })

  await server.call('DELETE', `/commands/${commandId}`)
  t.match((await agent.sync({ held: [{ attemptId, phase: 'running' }] })).body, {
    desired: [{ attemptId, cancel: 'cancelled by request', graceMs: 5000 }],
  })

  const outcome = { state: 'SUCCEEDED', result: { ok: true, tookMs: 5 }, unknown: 1 }
  const held = [{ attemptId, phase: 'finished', outcome, outcomeSha256: 'a'.repeat(64) }]
  t.match((await agent.sync({ held })).body, { acks: [{ attemptId, verdict: 'accepted' }] })
  t.match((await agent.sync({ held })).body, { acks: [{ attemptId, verdict: 'duplicate' }] })
  t.match(await server.record(commandId), { status: 'COMPLETED', result: { ok: true, tookMs: 5 } })
})

t.test('a result that comes by sync is cut and flagged where it is too large', async (t) => {
  const server = await startServer(t, { limits: { resultBytesMax: 1024 } })
  const { commandId } = await server.submit()
  const agent = await withAgent(server)
  await agent.sync({ want: { DELAY: 1 } })
  const attemptId = `${commandId}.1`
  await agent.sync({ held: [{ attemptId, phase: 'accepted' }] })
  const outcome = {
    state: 'FAILED',
    result: 'a'.repeat(5000),
    error: { code: 'X', message: 'm'.repeat(100_000), retryable: false, details: 'd'.repeat(5000) },
  }
  const held = [{ attemptId, phase: 'finished', outcome, outcomeSha256: 'a'.repeat(64) }]
  t.match((await agent.sync({ held })).body, { acks: [{ verdict: 'accepted' }] })
  const record = await server.record(commandId)
  t.match(record, {
    status: 'FAILED',
    resultTruncated: true,
    result: /^"?a{1000,}$/,
    error: { details: /^"?d{1000,}$/ },
  })
  t.equal(record.error?.message.length, 65_536)
})

t.test('sync and heartbeat are refused by code', async (t) => {
  const server = await startServer(t)
  const nobody = {
    incarnation: 1,
    epoch: 'some-epoch',
    seq: 1,
    revSeen: 0,
    logSeq: 0,
    mode: 'ready',
    want: {},
    held: [],
  }
  isApiError(t, await server.call('POST', '/agents/nobody/sync', nobody), 'NOT_REGISTERED')
  isApiError(t, await server.call('POST', '/agents/nobody/heartbeat', nobody), 'NOT_REGISTERED')
  isApiError(t, await server.call('POST', '/agents/a%20b/sync', nobody), 'INVALID_REQUEST')

  const agent = await withAgent(server)
  t.match(await agent.sync(), { status: 200, body: { seq: 1 } })
  isApiError(t, await agent.sync({ seq: 1 }), 'STALE_SYNC')
  t.match(await agent.heartbeat({ unknown: 1 }), { status: 200, body: { incarnation: 1, leaseMs: 30_000 } })
  for (const bad of [
    { mode: 'lazy' },
    { held: 'nothing' },
    { held: [{}] },
    { held: [{ attemptId: 'a.1', phase: 'done' }] },
    { epoch: '' },
    { incarnation: '1' },
  ])
    isApiError(t, await agent.sync(bad), 'INVALID_REQUEST')
  isApiError(t, await agent.heartbeat({ epoch: 5 }), 'INVALID_REQUEST')
  isApiError(t, await server.call('POST', '/agents/box-1/heartbeat'), 'INVALID_REQUEST')

  const successor = await withAgent(server, { nonce: 'nonce-02', previousIncarnation: 1 })
  isApiError(t, await agent.sync(), 'INCARNATION_SUPERSEDED')
  isApiError(t, await agent.heartbeat(), 'INCARNATION_SUPERSEDED')
  t.equal((await successor.sync()).status, 200)

  await server.store.beginEpoch('another-epoch', server.clock.nowMs)
  isApiError(t, await successor.sync(), 'EPOCH_CHANGED')
  isApiError(t, await successor.heartbeat(), 'EPOCH_CHANGED')
  t.match((await server.call('GET', '/health')).body, { epoch: 'another-epoch', recovery: { waitingFor: ['box-1'] } })
  const back = await withAgent(server, { nonce: 'nonce-03', previousIncarnation: successor.incarnation })
  t.match(await back.sync(), { status: 200, body: { epoch: 'another-epoch' } })
  t.match((await server.call('GET', '/health')).body, { recovery: null })
  t.match(await server.call('POST', '/recovery/end'), { status: 200, body: { ended: false } })
})

t.test('wait', async (t) => {
  await t.test('is answered within milliseconds of a submit that the agent can take', async (t) => {
    const server = await startServer(t)
    const agent = await withAgent(server)
    await agent.sync({ want: { DELAY: 1 } })
    const waited = agent.wait(20_000).then((answer) => ({ answer, atMs: performance.now() }))
    await parked(server, 1)
    await server.call('POST', '/commands', { type: 'HTTP_GET_JSON', payload: { url: 'http://a/' } })
    t.equal(server.waiting.size, 1, 'it has no slot for this one')
    const startedMs = performance.now()
    await server.submit()
    const { answer, atMs } = await waited
    t.match(answer, { status: 200, body: { rev: Number } })
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.ok(atMs - startedMs < 500, `${(atMs - startedMs).toFixed(1)} ms`)
    t.match(await agent.wait(20_000), { status: 200 }, 'and at once, until it syncs')
    t.match(await agent.sync({ want: { DELAY: 1 } }), { body: { offers: [{ type: 'DELAY' }] } })
  })

  await t.test('one command wakes one agent', async (t) => {
    const server = await startServer(t)
    const agents = await Promise.all(['a', 'b', 'c'].map((agentId) => withAgent(server, { agentId })))
    for (const agent of agents) await agent.sync({ want: { DELAY: 1 } })
    const waits = agents.map((agent) => agent.wait(20_000))
    await parked(server, 3)
    await server.submit()
    t.match(await Promise.race(waits), { status: 200 })
    t.equal(server.waiting.size, 2)
    server.stop()
    const statuses = (await Promise.all(waits)).map(({ status }) => status)
    t.strictSame(statuses.toSorted(), [200, 204, 204])
  })

  await t.test('is answered when a command of the agent is cancelled', async (t) => {
    const server = await startServer(t)
    const { commandId } = await server.submit()
    const agent = await withAgent(server)
    await agent.sync({ want: { DELAY: 1 } })
    await agent.sync({ held: [{ attemptId: `${commandId}.1`, phase: 'accepted' }] })
    const waited = agent.wait(20_000)
    await parked(server, 1)
    t.equal((await server.call('DELETE', `/commands/${commandId}`)).status, 202)
    t.match(await waited, { status: 200 })
  })

  await t.test('is 204 at its deadline', async (t) => {
    const server = await startServer(t)
    const agent = await withAgent(server)
    const startedMs = performance.now()
    const answer = await agent.wait(100)
    t.match(answer, { status: 204, text: '' })
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.ok(performance.now() - startedMs >= 95)
    t.equal((await agent.wait(0)).status, 204)
  })

  await t.test('a later one of the same agent lets the earlier go', async (t) => {
    const server = await startServer(t)
    const agent = await withAgent(server)
    const earlier = agent.wait(20_000)
    await parked(server, 1)
    const later = agent.wait(20_000)
    t.equal((await earlier).status, 204)
    server.stop()
    t.equal((await later).status, 204)
  })

  await t.test('leaves nothing behind when the client goes away', async (t) => {
    const server = await startServer(t)
    const agent = await withAgent(server)
    await agent.sync({ want: { DELAY: 1 } })
    const gone = new AbortController()
    const aborted = t.rejects(server.call('GET', '/agents/box-1/wait', undefined, {}, gone.signal))
    await parked(server, 1)
    gone.abort()
    await aborted
    t.strictSame(await Promise.all(server.waiting), [false])
    t.equal(server.waiting.size, 0)
    await server.submit()
    t.match(await agent.wait(20_000), { status: 200 }, 'what came meanwhile is told with the next wait')
  })
})

t.test('GET /agents shows each with its load', async (t) => {
  const server = await startServer(t)
  t.strictSame((await server.call('GET', '/agents')).body, [])
  await server.submit({ priority: 1 })
  await server.submit()
  const agent = await withAgent(server)
  const { offers } = (await agent.sync({ want: { DELAY: 2 }, clockMs: server.clock.nowMs - 1500 })).body as SyncResponse
  await agent.sync({
    held: [{ attemptId: offers[0]?.attemptId, phase: 'accepted' }],
    mode: 'ready',
    clockMs: server.clock.nowMs - 1500,
  })
  await server.submit()
  await server.call('GET', '/commands/next?agentId=curl')
  const seenAt = new Date(server.clock.nowMs).toISOString()
  server.clock.nowMs += 60_000
  const agents = (await server.call('GET', '/agents')).body as AgentRecord[]
  t.match(
    agents.toSorted((a, b) => (a.agentId < b.agentId ? -1 : 1)),
    [
      {
        agentId: 'box-1',
        kind: 'sync',
        online: false,
        mode: 'ready',
        version: '1.2.3',
        types: ['DELAY', 'HTTP_GET_JSON'],
        labels: ['gpu'],
        slots: { DELAY: 10, HTTP_GET_JSON: 2 },
        incarnation: 1,
        lastSeenAt: seenAt,
        clockSkewMs: -1500,
        running: 1,
        offered: 1,
        lost: 0,
      },
      { agentId: 'curl', kind: 'simple', version: null, clockSkewMs: null, running: 1, offered: 0 },
    ],
  )
})

t.test('health', async (t) => {
  const server = await startServer(t)
  t.match(await server.call('GET', '/health'), {
    status: 200,
    body: {
      status: 'ok',
      version: '0.0.0-test',
      protocol: { min: 1, max: 1 },
      uptimeMs: Number,
      epoch: String,
      recovery: null,
    },
  })
  t.match(await server.call('GET', '/livez'), { status: 200, body: { status: 'ok' } })
  t.match(await server.call('GET', '/readyz'), {
    status: 200,
    body: { status: 'ok', checks: { database: true, accepting: true } },
  })
})

t.test('while it stops the server answers what waits, finishes what it began, and refuses the rest', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit()
  const agent = await withAgent(server)
  const waited = agent.wait(20_000)
  await parked(server, 1)
  const json = JSON.stringify({ type: 'DELAY', payload: { ms: 1 } })
  const refusals = new AbortController()
  async function* slowly() {
    yield `POST /commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n`
    await once(refusals.signal, 'abort')
    yield json
  }
  const begun = once(server.app.server, 'request')
  const inFlight = raw(server.port, slowly())
  await begun
  server.stop()
  const answer = await waited
  t.match(answer, { status: 204 })
  t.equal(answer.headers.get('connection'), 'close')
  for (const [method, path] of [
    ['POST', '/commands'],
    ['GET', `/commands/${commandId}`],
    ['GET', '/health'],
    ['GET', '/agents/box-1/wait'],
    ['GET', '/nope'],
  ] as const) {
    const refused = await server.call(method, path, method === 'POST' ? JSON.parse(json) : undefined)
    isApiError(t, refused, 'SHUTTING_DOWN')
    t.match([refused.headers.get('retry-after'), refused.headers.get('connection')], ['2', 'close'])
  }
  t.match(await server.call('GET', '/livez'), { status: 200 })
  t.match(await server.call('GET', '/readyz'), {
    status: 503,
    body: { status: 'unavailable', checks: { database: true, accepting: false } },
  })
  const closed = server.app.close()
  refusals.abort()
  t.match(await inFlight, { status: 201, headers: /connection: close/, closed: true }, 'began before the stop')
  await closed
  t.equal(await server.countCommands(), 2)
})

t.test('an agent that asks is told of all engines once, and again when they change', async (t) => {
  const server = await startServer(t)
  const agent = await withAgent(server)
  const told = async (request: object = {}) => ((await agent.sync(request)).body as SyncResponse).definitions
  t.equal(await told(), undefined, 'one that knows nothing of this')
  const first = await told({ definitionsSeen: '' })
  t.same(
    first?.engines.map(({ name }) => name),
    ['claude-code', 'codex', 'gemini', 'opencode', 'shell'],
  )
  const seen = { definitionsSeen: first?.fingerprint }
  t.equal(await told(seen), undefined)

  const waiting = agent.wait(20_000)
  await parked(server, 1)
  const engine = { adapter: 'program', program: { argv: ['own'] }, probe: { argv: ['own', '-v'], prints: '1.0' } }
  await server.call('POST', '/engines', { name: 'own', engine })
  t.equal((await waiting).status, 200, 'who waits is woken')
  const second = await told(seen)
  t.match(
    second?.engines.find(({ name }) => name === 'own'),
    { version: 1, program: { argv: ['own'] }, probe: { prints: '1.0' } },
  )
  t.equal(await told({ definitionsSeen: second?.fingerprint }), undefined)
  await server.call('DELETE', '/engines/own', undefined, { 'if-match': '*' })
  t.equal((await told({ definitionsSeen: second?.fingerprint }))?.fingerprint, first?.fingerprint)
})
