// The gateway between real clients and a provider on loopback: what passes, what it costs, and what it refuses.
import { once } from 'node:events'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { begin, call, KEY, limit, REQUESTS, SCOPES, type Sent, world } from './fixtures/world.ts'

t.test('each format passes as it is, and is metered to the token and the micro-dollar', async (t) => {
  const { provider, ledger, socketPath } = await world(t)
  const told = { input: 1000, cacheRead: 300, cacheWrite: 200, output: 70, thoughts: 30 }
  for (const [index, [wire, path, body]] of REQUESTS.entries()) {
    provider.behave({ told, chunkBytes: 7, lineEnd: wire === 'gemini' ? '\r\n' : '\n' })
    const { status, text } = await call(socketPath, path, { body })
    t.equal(status, 200, path)
    t.match(text, path.includes('stream') || 'stream' in body ? /Ferne 🌍/ : /usage/i)
    const made = ledger.calls('c.1')[index]
    const cacheWriteTokens = wire === 'gemini' ? 0 : 200
    t.match(made, {
      ...{ wire, model: 'fake', state: 'settled', status: 200 },
      usage: { inputTokens: 1500, cacheReadTokens: 300, cacheWriteTokens, outputTokens: 100 },
      costMicroUsd: 1200 - cacheWriteTokens + 30 + cacheWriteTokens * 2 + 1000,
      rates: { output_mtok: 10 },
    })
  }
  const cost = ledger.calls('c.1').reduce((sum, { costMicroUsd }) => sum + (costMicroUsd ?? 0), 0)
  for (const scope of SCOPES) {
    t.same(ledger.used(scope, 'microUsd'), { spent: cost, reserved: 0 })
    t.same(ledger.used(scope, 'requests'), { spent: REQUESTS.length, reserved: 0 })
    t.same(ledger.used(scope, 'tokens'), { spent: REQUESTS.length * 1600, reserved: 0 })
  }
})

t.test("the client's credentials stay here, the provider gets its own, and nobody is told", async (t) => {
  const { provider, socketPath, logged } = await world(t)
  const theirs = {
    ...{ authorization: 'Bearer client-secret', 'x-api-key': 'client-secret', 'x-goog-api-key': 'client-secret' },
    ...{ cookie: 'client-secret', 'proxy-authorization': 'client-secret', 'x-anything': 'client-secret' },
    ...{ 'anthropic-version': '2023-06-01', 'user-agent': 'a client' },
  }
  for (const [, path, body] of REQUESTS) {
    const asked = `${path}${path.includes('?') ? '&' : '?'}key=client-secret`
    const { text, headers } = await call(socketPath, asked, { headers: theirs, body })
    const heard = provider.heard.at(-1)
    t.notMatch(JSON.stringify(heard), 'client-secret', path)
    t.match(heard?.headers, { 'user-agent': 'a client', 'accept-encoding': 'identity' })
    t.equal(JSON.stringify(heard).split(KEY).length, 2, 'the key is there once')
    t.notMatch(text + JSON.stringify(headers), KEY)
  }
  t.equal(provider.heard[0]?.headers['x-api-key'], KEY)
  t.equal(provider.heard[2]?.headers.authorization, `Bearer ${KEY}`)
  t.equal(provider.heard[6]?.headers['x-goog-api-key'], KEY)
  t.notMatch(logged.join(), KEY)
})

t.test('nothing but the paths of inference goes out, and counting is free', async (t) => {
  const { provider, ledger, socketPath } = await world(t, { limits: [limit('requests', 0)] })
  const others: [string, string][] = [
    ['POST', '/v1/files'],
    ['POST', '/v1/messages/batches'],
    ['POST', '/v1/messages/../files'],
    ['POST', '/v1/responses/r/cancel'],
    ['POST', '/v1beta/models/fake:batchGenerateContent'],
    ['POST', '/v1beta/models/a/b:generateContent'],
    ['POST', 'http://elsewhere.example/v1/files'],
    ['GET', '/v1/messages'],
    ['GET', '/v1/models'],
    ['DELETE', '/v1/responses'],
  ]
  for (const [method, path] of others) t.match(await call(socketPath, path, { method }), { status: 404 }, path)
  t.same(provider.heard, [])
  for (const path of ['/v1/messages/count_tokens', '/v1beta/models/fake:countTokens'])
    t.match(await call(socketPath, path, { body: { model: 'fake' } }), { status: 200, text: /okens":100/ })
  t.same(ledger.calls('c.1'), [])

  const socket = connect(socketPath)
  socket.write('GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  const [first] = (await once(socket, 'data')) as [Buffer]
  t.match(first.toString(), 'HTTP/1.1 426')
})

t.test('what cannot be understood is refused in the form of its client', async (t) => {
  const { provider, ledger, socketPath } = await world(t, { models: ['fake', 'other'] })
  const rows: [string, Sent, number, RegExp][] = [
    ['/v1/messages', { body: 'no JSON' }, 400, /"type":"error".*not JSON/],
    ['/v1/messages', { body: '[]' }, 400, /not an object/],
    ['/v1/messages', { body: {} }, 400, /\/model must be/],
    ['/v1/messages', { body: { model: 'not allowed' } }, 400, /\/model must be/],
    ['/v1/messages', { body: { model: 'gpt-9' } }, 400, /gpt-9 is not allowed/],
    ['/v1/messages', { body: { model: 'fake', max_tokens: 1.5 } }, 400, /\/max_tokens must be/],
    ['/v1/messages', { body: { model: 'fake', max_tokens: -1 } }, 400, /\/max_tokens must be/],
    ['/v1/responses', { body: { model: 'fake', background: true } }, 400, /"code":"request_refused"/],
    ['/v1/chat/completions', { body: { model: 'fake', n: 3 } }, 400, /\/n must be 1/],
    [
      '/v1beta/models/fake:generateContent',
      { body: { generationConfig: { candidateCount: 8 } } },
      400,
      /INVALID_ARGUMENT/,
    ],
    ['/v1/messages', { body: gzipSync('{'), headers: { 'content-encoding': 'gzip' } }, 400, /not JSON/],
    ['/v1/messages', { body: 'x', headers: { 'content-encoding': 'gzip' } }, 400, /could not be read/],
    ['/v1/messages', { body: 'x', headers: { 'content-encoding': 'rot13' } }, 415, /rot13/],
    [
      '/v1/messages',
      { body: gzipSync(Buffer.alloc(40 * 2 ** 20)), headers: { 'content-encoding': 'gzip' } },
      413,
      /bytes/,
    ],
  ]
  for (const [path, sent, status, text] of rows) t.match(await call(socketPath, path, sent), { status, text })
  t.same(provider.heard, [])
  t.same(ledger.calls('c.1'), [])
  const body = gzipSync(JSON.stringify({ model: 'fake', messages: [] }))
  t.match(await call(socketPath, '/v1/messages', { body, headers: { 'content-encoding': 'gzip' } }), { status: 200 })
})

t.test('where a limit is reached each client is told in the form that ends it at once', async (t) => {
  const refusals = [
    ['/v1/messages', 402, /billing_error/],
    ['/v1/responses', 429, /insufficient_quota/],
    ['/v1/chat/completions', 402, /insufficient_quota/],
    ['/v1beta/models/fake:streamGenerateContent?alt=sse', 403, /PERMISSION_DENIED/],
  ] as const
  for (const reached of [limit('requests', 1), limit('tokens', 2000), limit('microUsd', 11_000, 'day')]) {
    const { provider, socketPath, ledger } = await world(t, { limits: [limit('microUsd', 1e9), reached] })
    provider.behave({ told: { input: 1000, cacheRead: 0, cacheWrite: 0, output: 900, thoughts: 0 } })
    t.match(await call(socketPath, '/v1/messages', { body: { model: 'fake', messages: [] } }), { status: 200 })
    for (const [path, status, text] of refusals) {
      const answer = await call(socketPath, path, { body: { model: 'fake', stream: true } })
      t.match(answer, { status, text })
      t.match(answer.text, reached.unit, 'it says which')
      if (path === '/v1/messages') t.equal(answer.headers['x-should-retry'], 'false')
    }
    t.equal(provider.heard.length, 1)
    t.equal(ledger.calls('c.1').length, 1)
  }
})

t.test('fifty at the same time exceed no limit by a micro-dollar, a token or a request', async (t) => {
  const told = { input: 10, cacheRead: 0, cacheWrite: 10, output: 1500, thoughts: 0 }
  const rows = [
    [limit('microUsd', 100_000), 'microUsd'],
    [limit('microUsd', 50_001, 'day'), 'microUsd'],
    [limit('tokens', 20_000), 'tokens'],
    [limit('requests', 7), 'requests'],
  ] as const
  for (const [reached, unit] of rows) {
    const { provider, ledger, socketPath } = await world(t, { limits: [reached] })
    // As much output as it is allowed, which the fake cannot know of by itself.
    provider.behave({ told, pauseMs: 2 })
    const body = { model: 'fake', max_tokens: 1500, messages: [], stream: true }
    const answers = await Promise.all(Array.from({ length: 50 }, () => call(socketPath, '/v1/messages', { body })))
    const made = answers.filter(({ status }) => status === 200).length
    t.ok(made > 0 && made < 50, `${made} of 50 were made`)
    t.equal(provider.heard.length, made)
    const { spent, reserved } = ledger.used(reached, unit)
    t.equal(reserved, 0)
    t.ok(spent <= reached.most, `${spent} of ${reached.most}`)
  }
})

t.test('a call gets no more output than the rest can pay for', async (t) => {
  const { provider, ledger, socketPath } = await world(t, { limits: [limit('microUsd', 30_000)] })
  await call(socketPath, '/v1/messages', { body: { model: 'fake', max_tokens: 128_000, messages: [] } })
  const allowed = Number(provider.heard[0]?.body.max_tokens)
  t.ok(allowed > 2900 && allowed <= 3000, `${allowed} tokens`)
  const [made] = ledger.calls('c.1')
  t.ok((made?.reserved.microUsd ?? 0) <= 30_000)
  const thinking = { model: 'fake', max_tokens: 128_000, messages: [], thinking: { budget_tokens: 5000 } }
  t.match(await call(socketPath, '/v1/messages', { body: thinking }), { status: 402 }, 'less than it thinks with')
  t.equal(provider.heard.length, 1)
})

t.test('what breaks off is booked as estimated, and looks broken to its client', async (t) => {
  const { provider, ledger, socketPath } = await world(t)
  provider.behave({ told: { input: 500, cacheRead: 0, cacheWrite: 0, output: 90, thoughts: 0 }, cutAfter: 3 })
  const streams = REQUESTS.filter(([, path, body]) => path.includes('stream') || 'stream' in body)
  for (const [, path, body] of streams) await t.rejects(call(socketPath, path, { body }), path)
  const calls = ledger.calls('c.1')
  t.equal(calls.length, streams.length)
  for (const made of calls) {
    t.match(made, { state: 'estimated', status: 200 })
    t.ok((made.usage?.outputTokens ?? 0) > 0)
  }
  t.equal(calls[0]?.usage?.inputTokens, 500, 'told at the start')
})

t.test('a client that goes away ends the call, and pays for what there was', async (t) => {
  const { provider, ledger, socketPath } = await world(t)
  provider.behave({ told: { input: 500, cacheRead: 0, cacheWrite: 0, output: 90, thoughts: 0 }, pauseMs: 50 })
  const { outgoing, response } = await begin(socketPath, '/v1/messages', {
    body: { model: 'fake', messages: [], stream: true },
  })
  await once(response, 'data')
  response.on('error', () => {})
  outgoing.destroy()
  while (provider.aborted() === 0 || ledger.calls('c.1')[0]?.state === 'started') await new Promise(setImmediate)
  t.match(ledger.calls('c.1'), [{ state: 'estimated', usage: { inputTokens: 500 } }])
})

t.test('an error of the provider passes and costs nothing', async (t) => {
  const { provider, ledger, socketPath } = await world(t)
  for (const status of [400, 401, 402, 403, 429, 529]) {
    provider.behave({ status })
    for (const [, path, body] of REQUESTS)
      t.match(await call(socketPath, path, { body }), { status, text: /as asked for/ })
  }
  t.same(ledger.used({ scope: 'command', id: 'c' }, 'microUsd'), { spent: 0, reserved: 0 })
  t.same(ledger.used({ scope: 'command', id: 'c' }, 'requests'), { spent: 48, reserved: 0 })
})

t.test('a provider that is not there costs nothing, and may be tried again', async (t) => {
  const { ledger, socketPath, logged } = await world(t, { baseUrl: 'http://127.0.0.1:9' })
  t.match(await call(socketPath, '/v1/messages', { body: { model: 'fake' } }), { status: 529, text: /overloaded/ })
  t.match(await call(socketPath, '/v1/responses', { body: { model: 'fake' } }), { status: 503 })
  t.match(ledger.calls('c.1'), [
    { state: 'settled', costMicroUsd: 0 },
    { state: 'settled', costMicroUsd: 0 },
  ])
  t.notMatch(logged.join(), KEY)
})

t.test('a price that nobody knows: refused where money is limited, otherwise passed without a cost', async (t) => {
  const body = { model: 'nobody-knows', messages: [] }
  const limited = await world(t, { limits: [limit('microUsd', 1e9)] })
  t.match(await call(limited.socketPath, '/v1/messages', { body }), { status: 402, text: /price of nobody-knows/ })
  const free = await world(t, { limits: [limit('tokens', 1e9)] })
  t.match(await call(free.socketPath, '/v1/messages', { body }), { status: 200 })
  t.match(free.ledger.calls('c.1'), [{ costMicroUsd: null, rates: null, usage: { inputTokens: 100 } }])
})

t.test('a path that the system would cut is refused', async (t) => {
  const { gateway } = await world(t)
  const socketPath = `/tmp/${'a'.repeat(103)}`
  const session = { socketPath, attemptId: 'c.2', scopes: SCOPES, limits: [], models: [] }
  await t.rejects(gateway.open(session), /at most 107 bytes/)
})

t.test('an attempt that is over has no way out any more', async (t) => {
  const { session, socketPath, provider } = await world(t)
  await session.close()
  await t.rejects(call(socketPath, '/v1/messages', { body: { model: 'fake' } }))
  t.same(provider.heard, [])
})
