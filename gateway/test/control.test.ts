// The control API of a real process: what an agent can ask it, and what it answers to what it cannot understand.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startFakeProvider } from './fixtures/fake-provider.ts'
import { call, SESSION, startGateway } from './fixtures/gateway-process.ts'

const KEY = 'sk-the-key-of-the-provider'
const MESSAGE = { model: 'claude-sonnet-4-5', max_tokens: 2000, messages: [], stream: true }
const post = (body: object) => ({ method: 'POST', body })

t.test('an attempt is let in, uses its socket, and what it used is told', async (t) => {
  const provider = await startFakeProvider()
  t.teardown(provider.close)
  const gateway = await startGateway(t, { env: { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: provider.url } })

  const health = await gateway.control('/health')
  t.match(health.json, { gatewayId: /^[0-9a-f-]{36}$/, providers: { anthropic: true, openai: false, gemini: false } })
  t.equal(statSync(gateway.socket).mode & 0o777, 0o600, 'the control API is of the owner alone')

  const change = { limits: { costMicroUsd: 40_000, requests: 9 }, profile: 'p', profileLimits: { tokens: 1e9 } }
  const socketPath = await gateway.openSession('c.1', change)
  t.ok(socketPath.startsWith(join(gateway.dir, 'sockets/')))
  t.equal(statSync(socketPath).mode & 0o777, 0o666, 'the sandbox is another user')
  t.equal(statSync(join(socketPath, '..')).mode & 0o777, 0o755)
  t.equal(statSync(join(socketPath, '../..')).mode & 0o777, 0o700, 'and nobody else gets there')

  t.same((await gateway.control('/sessions/c.1/usage')).json, {
    ...{ calls: [], started: 0, refusals: [], costMicroUsd: 0, lastError: null, egress: [] },
    total: {
      ...{ inputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, cacheWrite1hTokens: 0, outputTokens: 0 },
      ...{ webSearches: 0, calls: 0, isEstimated: false },
    },
  })
  provider.behave({ told: { input: 1000, cacheRead: 0, cacheWrite: 0, output: 1000, thoughts: 0 } })
  t.match(await call(socketPath, '/v1/messages', post(MESSAGE)), { status: 200 })
  t.equal(provider.heard[0]?.headers['x-api-key'], KEY)
  for (const _ of [1, 2])
    t.match(await call(socketPath, '/v1/messages', post({ ...MESSAGE, thinking: { budget_tokens: 1900 } })), {
      status: 402,
    })
  const used = (await gateway.control('/sessions/c.1/usage')).json
  t.match(used, {
    calls: [
      {
        ...{ callId: 1, wire: 'anthropic-messages', model: MESSAGE.model, state: 'settled', status: 200 },
        ...{ startedAt: /^2.*Z$/, endedAt: /^2.*Z$/, costMicroUsd: 18_000, rates: { output_mtok: { base: 15 } } },
        usage: { inputTokens: 1000, outputTokens: 1000 },
      },
    ],
    ...{ started: 0, costMicroUsd: 18_000, lastError: null },
    refusals: [{ unit: 'costMicroUsd', scope: 'command', count: 2 }],
    total: { inputTokens: 1000, outputTokens: 1000, calls: 1, isEstimated: false },
  })
  const day = new Date().toISOString().slice(0, 10)
  for (const query of ['scope=command&id=c', 'scope=profile&id=p', `scope=day&id=${day}`, 'scope=global&id='])
    t.same((await gateway.control(`/usage?${query}`)).json, {
      spent: { costMicroUsd: 18_000, tokens: 2000, requests: 1 },
      reserved: { costMicroUsd: 0, tokens: 0, requests: 0 },
    })

  const { json: unreported } = await gateway.control('/calls?agentId=a&unreported=1&limit=500')
  t.same(unreported, { gatewayId: health.json.gatewayId, attempts: [{ attemptId: 'c.1', calls: used.calls }] })
  t.same((await gateway.control('/calls?agentId=another')).json.attempts, [])
  t.match(await gateway.control('/calls/reported', post({ callIds: [1, 77] })), { status: 204, text: '' })
  t.same((await gateway.control('/calls?agentId=a')).json.attempts, [])

  for (const _ of [1, 2]) t.match(await gateway.control('/sessions/c.1', { method: 'DELETE' }), { status: 204 })
  t.notOk(existsSync(join(socketPath, '..')), 'its folder is gone')
  t.same((await gateway.control('/sessions/c.1/usage')).json, used, 'what it used stays')
  t.notMatch(gateway.output() + JSON.stringify(used), KEY)
})

t.test('an attempt that is let in again has the same folder, and what was said last', async (t) => {
  const provider = await startFakeProvider()
  t.teardown(provider.close)
  const gateway = await startGateway(t, { env: { ANTHROPIC_API_KEY: KEY, ANTHROPIC_BASE_URL: provider.url } })
  const paths = await Promise.all([1, 2, 3].map(() => gateway.openSession('c.1', { limits: { requests: 0 } })))
  const [path = ''] = paths
  t.same(new Set(paths).size, 1)
  t.match(await call(path, '/v1/messages', post(MESSAGE)), { status: 402 })
  t.equal(await gateway.openSession('c.1', { limits: { requests: 1 } }), path)
  t.match(await call(path, '/v1/messages', post(MESSAGE)), { status: 200 })
  t.equal(await gateway.openSession('c.1', { models: ['another'] }), path)
  t.match(await call(path, '/v1/messages', post(MESSAGE)), { status: 400, text: /not allowed/ })
  t.match((await gateway.control('/sessions/c.1/usage')).json, {
    lastError: { status: 400, message: 'The model claude-sonnet-4-5 is not allowed here.' },
  })
})

t.test('prices of the overlay go before the list, as numbers and as decimals', async (t) => {
  const provider = await startFakeProvider()
  t.teardown(provider.close)
  const gateway = await startGateway(t, { env: { OPENAI_BASE_URL: provider.url } })
  t.equal((await gateway.control('/health')).json.providers.openai, true, 'what is elsewhere needs no key')
  const path = await gateway.openSession('c.1', { limits: { costMicroUsd: 1e9 } })
  const chat = post({ model: 'our-own', messages: [] })
  t.match(await call(path, '/v1/chat/completions', chat), { status: 402, text: /price of our-own/ })
  t.match((await gateway.control('/sessions/c.1/usage')).json.refusals, [{ unit: null, count: 1 }])
  const row = { provider: 'openai', model: 'our-own', effectiveFrom: '2026-01-01T00:00:00Z' }
  const prices = [{ ...row, input: '1.5', output: 2, cacheRead: '0' }]
  t.match(await gateway.control('/prices', { method: 'PUT', body: { prices } }), { status: 204 })
  t.match(await call(path, '/v1/chat/completions', chat), { status: 200 })
  t.match((await gateway.control('/sessions/c.1/usage')).json, { costMicroUsd: 190 })
  t.equal(provider.heard[0]?.headers.authorization, undefined)
})

t.test('what cannot be understood is refused in the one shape of errors', async (t) => {
  const gateway = await startGateway(t, { env: { OPENAI_API_KEY: KEY } })
  const put = (body: unknown) => ({ method: 'PUT', body })
  const text = { 'content-type': 'text/plain' }
  const json = { 'content-type': 'application/json' }
  const rows: [string, Parameters<typeof gateway.control>[1], number, string, RegExp?][] = [
    ['/nothing', {}, 404, 'NOT_FOUND'],
    ['/health', { method: 'POST', body: {} }, 404, 'NOT_FOUND'],
    ['/sessions/c.1/usage', {}, 404, 'SESSION_NOT_FOUND'],
    ['/sessions/c/usage', {}, 400, 'INVALID_REQUEST', /attemptId/],
    ['/sessions/..%2f..%2fetc.1', put(SESSION), 400, 'INVALID_REQUEST', /attemptId/],
    ['/sessions/c.1', put('{'), 400, 'MALFORMED_JSON'],
    ['/sessions/c.1', put(''), 400, 'MALFORMED_JSON'],
    ['/sessions/c.1', put('{"__proto__":{}}'), 400, 'MALFORMED_JSON'],
    ['/sessions/c.1', put([]), 400, 'INVALID_REQUEST'],
    ['/sessions/c.1', put({}), 400, 'INVALID_REQUEST', /required/],
    ['/sessions/c.1', put({ ...SESSION, more: 1 }), 400, 'INVALID_REQUEST', /more/],
    ['/sessions/c.1', put({ ...SESSION, limits: { tokens: '5' } }), 400, 'INVALID_REQUEST', /limits\/tokens/],
    ['/sessions/c.1', put({ ...SESSION, limits: { tokens: -1 } }), 400, 'INVALID_REQUEST', /limits\/tokens/],
    ['/sessions/c.1', put({ ...SESSION, limits: { dollars: 1 } }), 400, 'INVALID_REQUEST', /dollars/],
    ['/sessions/c.1', put({ ...SESSION, egress: [{ host: 'h', port: 0 }] }), 400, 'INVALID_REQUEST', /port/],
    ['/sessions/c.1', { method: 'PUT', body: 'x', headers: text }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['/sessions/c.1', { method: 'PUT', headers: { ...json, 'content-length': '5000000' } }, 413, 'BODY_TOO_LARGE'],
    ['/calls', {}, 400, 'INVALID_REQUEST', /agentId/],
    ['/calls?agentId=a&limit=501', {}, 400, 'INVALID_REQUEST', /limit/],
    ['/calls/reported', post({ callIds: [0] }), 400, 'INVALID_REQUEST', /callIds\/0/],
    ['/prices', put({ prices: [{ provider: 'elsewhere' }] }), 400, 'INVALID_REQUEST'],
    ['/usage?scope=planet&id=', {}, 400, 'INVALID_REQUEST', /scope/],
  ]
  for (const [path, request, status, code, message = /./] of rows) {
    const { json } = await gateway.control(path, request)
    t.match(
      json,
      { statusCode: status, error: /./, code, message, requestId: /./ },
      `${path} ${JSON.stringify(request).slice(0, 60)}`,
    )
  }
  t.same(readdirSync(join(gateway.dir, 'sockets')), [], 'nothing was opened')
  t.notMatch(gateway.output(), KEY)
})
