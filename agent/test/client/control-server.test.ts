import { getEventListeners } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { RegisterRequest, SyncRequest } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { createControlServer, Refused, Unreachable } from '../../src/client/control-server.ts'
import { renew } from '../../src/heartbeat/renew.ts'
import { offer, syncResponse } from '../decide/fixtures/builders.ts'
import { listen, listenRaw, reset } from '../fixtures/loopback.ts'
import { html, JSON_HEADERS, Reply, refusal } from './fixtures/fake-control-server.ts'

const SIGNAL = new AbortController().signal
const REGISTER: RegisterRequest = {
  agentId: 'agent-1',
  journalId: 'journal-0001',
  nonce: 'nonce-0001',
  previousNonces: [],
  previousIncarnation: 0,
  logSeq: 0,
  protocol: { min: 1, max: 1 },
  version: '0.1.0',
  types: ['DELAY'],
  labels: [],
  slots: { DELAY: 1 },
}
const REGISTERED = {
  incarnation: 1,
  epoch: 'epoch-00001',
  rev: 1,
  leaseMs: 30_000,
  syncMs: 10_000,
  protocol: 1,
  recovery: false,
}
const SYNC: SyncRequest = {
  incarnation: 1,
  seq: 1,
  epoch: 'epoch-00001',
  revSeen: 0,
  logSeq: 0,
  mode: 'ready',
  want: { DELAY: 1 },
  held: [],
}

const clientOf = (t: Test, url: string, timeoutMs = 5000) => {
  const client = createControlServer({ url, timeoutMs })
  t.teardown(() => client.close())
  return {
    ...client,
    calls: {
      register: () => client.register(REGISTER, SIGNAL),
      sync: () => client.sync('agent-1', SYNC, SIGNAL),
      heartbeat: () => renew(url, 'agent-1', { incarnation: 1, epoch: 'epoch-00001' }, timeoutMs),
      wait: () => client.wait('agent-1', 1, SIGNAL),
    },
  }
}

const serving = async (t: Test, listener: RequestListener, timeoutMs?: number) =>
  clientOf(t, (await listen(t, createServer(listener))).url, timeoutMs)

const replying = (t: Test, reply: Reply) =>
  serving(t, (_request, response) => response.writeHead(reply.status, reply.headers).end(reply.body))

const json = (status: number, body: unknown) => new Reply(status, body, JSON_HEADERS)

t.test('every call goes to its path with its body, and its answer comes back', async (t) => {
  const seen: string[] = []
  const client = await serving(t, (request, response) => {
    request.setEncoding('utf8')
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => {
      seen.push(`${request.method} ${request.url} ${text === '' ? '-' : Object.keys(JSON.parse(text))[0]}`)
      const call = request.url?.replace(/\?.*/, '').split('/').at(-1)
      const answers: Record<string, object> = {
        register: REGISTERED,
        sync: syncResponse(),
        heartbeat: { incarnation: 1, leaseMs: 7 },
        wait: { rev: 2 },
      }
      response.writeHead(200, JSON_HEADERS).end(JSON.stringify(answers[call ?? '']))
    })
  })
  t.same(await client.calls.register(), REGISTERED)
  t.same(await client.calls.sync(), syncResponse())
  t.same(await client.calls.heartbeat(), { incarnation: 1, leaseMs: 7 })
  t.equal(await client.calls.wait(), true)
  t.same(seen, [
    'POST /agents/register agentId',
    'POST /agents/agent-1/sync incarnation',
    'POST /agents/agent-1/heartbeat incarnation',
    'GET /agents/agent-1/wait?rev=1 -',
  ])
})

t.test('a wait in vain is false', async (t) => {
  t.equal(await (await replying(t, new Reply(204))).calls.wait(), false)
})

t.test('fields that this version does not know are ignored', async (t) => {
  const client = await replying(
    t,
    json(200, { ...syncResponse({ offers: [{ ...offer(), colour: 'red' } as never] }), control: { drain: false } }),
  )
  t.match(await client.calls.sync(), { control: { drain: false }, offers: [{ attemptId: 'c1.1' }] })
  t.match(await (await replying(t, json(200, { ...REGISTERED, motd: 'hello' }))).calls.register(), REGISTERED)
})

t.test('what is not a well-formed answer says nothing', async (t) => {
  const whole = JSON.stringify(syncResponse())
  const wrong = {
    '200 with HTML': html(200),
    '500 with HTML': html(500),
    '502 with nothing': new Reply(502),
    'half a JSON': new Reply(200, whole.slice(0, whole.length / 2), JSON_HEADERS),
    'JSON of another shape': json(200, { ok: true }),
    'JSON null': json(200, null),
    'an array': json(200, [syncResponse()]),
    'a field of the wrong type': json(200, { ...syncResponse(), leaseMs: '30000' }),
    'a negative number': json(200, { ...syncResponse(), leaseMs: -1 }),
    'a malformed offer': json(200, syncResponse({ offers: [offer('no-number')] })),
    'a grant that is no attempt id': json(200, syncResponse({ grants: ['../../etc'] })),
    'a redirect to a login page': new Reply(302, '', { location: '/login' }),
    'a redirect that keeps the method': new Reply(307, '', { location: '/agents/agent-1/sync' }),
    '401 of a proxy': new Reply(401, 'Unauthorized', { 'www-authenticate': 'Basic' }),
    '404 with JSON of somebody else': json(404, { message: 'no such application' }),
    '201 with a good body': json(201, syncResponse()),
    '204 where a body is due': new Reply(204),
    'an error in our shape with status 200': json(200, JSON.parse(refusal(409, 'INCARNATION_SUPERSEDED').body)),
  }
  for (const [name, reply] of Object.entries(wrong)) {
    const client = await replying(t, reply)
    await t.rejects(client.calls.sync(), Unreachable, name)
    if (reply.status !== 204 && !reply.body.includes('"rev"'))
      await t.rejects(client.calls.wait(), Unreachable, `${name}: wait`)
  }
  await t.rejects((await replying(t, new Reply(204))).calls.register(), Unreachable)
  // An answer to a sync renews as well.
  for (const [name, reply] of Object.entries(wrong))
    if (!/offer|grant/.test(name)) await t.rejects((await replying(t, reply)).calls.heartbeat(), Error, name)
  const endless = json(200, { incarnation: 1, leaseMs: 7, more: 'x'.repeat(100_000) })
  await t.rejects((await replying(t, endless)).calls.heartbeat(), { message: 'the answer is too large' })
})

t.test('a connection that is refused, reset, cut or no HTTP at all says nothing', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'
  const broken = {
    'reset at once': await listenRaw(t, (socket) => reset(socket)),
    'closed at once': await listenRaw(t, (socket) => socket.end()),
    'cut in the body': await listenRaw(t, (socket) =>
      socket.end(`${head}content-length: 1000\r\n\r\n{"incarnation":1,`),
    ),
    'cut in a chunk': await listenRaw(t, (socket) =>
      socket.end(`${head}transfer-encoding: chunked\r\n\r\n400\r\n{"inc`),
    ),
    'not HTTP': await listenRaw(t, (socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n')),
  }
  for (const [name, { url }] of Object.entries(broken))
    await t.rejects(clientOf(t, url).calls.sync(), Unreachable, name)
  const { url } = broken['reset at once']
  const refused = clientOf(t, url.replace(/:\d+$/, ':1'))
  await t.rejects(refused.calls.register(), { name: 'Unreachable', message: 'ECONNREFUSED' })
})

t.test('a server that never answers, or never ends its answer, costs no more than the deadline', async (t) => {
  const silent = await serving(t, () => {}, 200)
  const endless = await serving(
    t,
    (_request, response) => {
      response.writeHead(200, JSON_HEADERS)
      const timer = setInterval(() => response.write(' '), 20)
      response.on('close', () => clearInterval(timer))
    },
    200,
  )
  for (const client of [silent, endless])
    for (const call of ['register', 'sync', 'heartbeat'] as const) {
      const beganMs = performance.now()
      await t.rejects(client.calls[call](), call === 'heartbeat' ? Error : Unreachable, call)
      t.ok(performance.now() - beganMs < 2000)
    }
})

t.test("an error in the server's own shape is its word: status, code, message and Retry-After", async (t) => {
  const client = await replying(t, refusal(409, 'IDENTITY_CONFLICT', { 'retry-after': '17' }))
  await t.rejects(client.calls.register(), {
    name: 'Refused',
    statusCode: 409,
    code: 'IDENTITY_CONFLICT',
    message: 'refused: IDENTITY_CONFLICT',
    retryAfterMs: 17_000,
  })
  await t.rejects((await replying(t, refusal(503, 'NO_SPACE'))).calls.sync(), { code: 'NO_SPACE', retryAfterMs: null })
  await t.rejects((await replying(t, refusal(409, 'EPOCH_CHANGED'))).calls.wait(), Refused)
  const dated = await replying(t, refusal(503, 'STORE_BUSY', { 'retry-after': 'Sat, 21 Nov 2026 14:00:00 GMT' }))
  await t.rejects(
    dated.calls.sync(),
    { code: 'STORE_BUSY', retryAfterMs: null },
    'a date is not understood, and no harm',
  )
})

t.test('an aborted signal ends any call at once, and one that is aborted already lets none begin', async (t) => {
  const arrived: (() => void)[] = []
  const client = await serving(t, () => arrived.shift()?.())
  const calls: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
    wait: (signal: AbortSignal) => client.wait('agent-1', 1, signal),
    sync: (signal: AbortSignal) => client.sync('agent-1', SYNC, signal),
    register: (signal: AbortSignal) => client.register(REGISTER, signal),
  }
  for (const [name, call] of Object.entries(calls)) {
    const abort = new AbortController()
    const there = new Promise<void>((resolve) => arrived.push(resolve))
    const beganMs = performance.now()
    const rejected = t.rejects(call(abort.signal), Unreachable, name)
    await there
    abort.abort()
    await rejected
    await t.rejects(call(abort.signal), Unreachable)
    t.ok(performance.now() - beganMs < 2000)
    t.equal(getEventListeners(abort.signal, 'abort').length, 0)
  }
})

t.test('a base URL with a path prefix works, with and without a slash at its end', async (t) => {
  const paths: string[] = []
  const { url } = await listen(
    t,
    createServer((request, response) => {
      paths.push(request.url ?? '')
      response.writeHead(204).end()
    }),
  )
  for (const prefix of ['/prefix', '/prefix/', '/a/b']) await clientOf(t, url + prefix).calls.wait()
  await clientOf(t, url).calls.wait()
  t.same(paths, [
    '/prefix/agents/agent-1/wait?rev=1',
    '/prefix/agents/agent-1/wait?rev=1',
    '/a/b/agents/agent-1/wait?rev=1',
    '/agents/agent-1/wait?rev=1',
  ])
})

t.test(
  '200 waits on one signal, answered, refused and cut, leave no listener behind and cause no warning',
  async (t) => {
    const warnings: Error[] = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on('warning', onWarning)
    t.teardown(() => process.off('warning', onWarning))
    let count = 0
    const client = await serving(t, (_request, response) => {
      count += 1
      if (count % 4 === 0) response.writeHead(204).end()
      else if (count % 4 === 1) response.writeHead(200, JSON_HEADERS).end('{"rev":1}')
      else if (count % 4 === 2) response.writeHead(404, JSON_HEADERS).end(refusal(404, 'NOT_FOUND').body)
      else response.socket?.resetAndDestroy()
    })
    const { signal } = new AbortController()
    for (let round = 0; round < 200; round++) await client.wait('agent-1', round, signal).catch(() => {})
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(count, 200)
    t.equal(getEventListeners(signal, 'abort').length, 0)
    t.same(warnings, [])
  },
)
