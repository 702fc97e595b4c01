// Prices over HTTP: what operators say of models, and that agents can ask for it as often as they like.
import { PRICES_MAX, type PriceList } from '@agent-executor/protocol'
import t from 'tap'
import { isApiError, type Server, startServer } from './harness.ts'

const put = (server: Server, path: string, body: object) => server.call('PUT', `/prices/${path}`, body)
const prices = async (server: Server) => ((await server.call('GET', '/prices')).body as PriceList).prices

t.test('prices are kept by provider, model and time, and are said again without a second row', async (t) => {
  const server = await startServer(t)
  t.same(await prices(server), [])
  const first = await put(server, 'openai/my-model', { input: 0.1, output: '0.40' })
  const record = {
    provider: 'openai',
    model: 'my-model',
    effectiveFrom: '1970-01-01T00:00:00.000Z',
    input: 0.1,
    output: 0.4,
  }
  t.match(first, { status: 201 })
  t.same(first.body, record)
  t.match(await put(server, 'openai/my-model', { input: 0.1, output: 0.4 }), { status: 200 })
  const later = { effectiveFrom: '2027-01-01T01:00:00+01:00', input: 0, output: 0, cacheRead: '0.000000001' }
  t.match(await put(server, 'openai/my-model', { ...later, cacheWrite: 1, cacheWrite1h: 2 }), { status: 201 })
  t.match(await put(server, 'anthropic/org%2Fmodel:1', { input: 1, output: 2 }), { status: 201 })
  t.same(await prices(server), [
    { provider: 'anthropic', model: 'org/model:1', effectiveFrom: record.effectiveFrom, input: 1, output: 2 },
    record,
    {
      ...record,
      ...{ effectiveFrom: '2027-01-01T00:00:00.000Z', input: 0, output: 0, cacheRead: 1e-9 },
      ...{ cacheWrite: 1, cacheWrite1h: 2 },
    },
  ])
})

t.test('whoever has the newest prices is not sent them again', async (t) => {
  const server = await startServer(t)
  const get = (tag: string) => server.call('GET', '/prices', undefined, { 'if-none-match': tag })
  const etag = (await server.call('GET', '/prices')).headers.get('etag') as string
  for (const tag of [etag, `W/${etag}`, `"x", ${etag}`, '*']) t.match(await get(tag), { status: 304, text: '' }, tag)
  await put(server, 'gemini/m', { input: 1, output: 1 })
  const changed = await get(etag)
  t.equal(changed.status, 200)
  t.not(changed.headers.get('etag'), etag)
  await server.call('DELETE', '/prices/gemini/m')
  t.equal((await get(etag)).status, 304, 'what is as it was has the name it had')
})

t.test('a price is deleted with its time, and without all of the model', async (t) => {
  const server = await startServer(t)
  const from = '2026-12-01T00:00:00Z'
  for (const effectiveFrom of [from, '2026-12-02T00:00:00Z', '2026-12-03T00:00:00Z'])
    await put(server, 'gemini/m', { effectiveFrom, input: 1, output: 1 })
  await put(server, 'gemini/n', { input: 1, output: 1 })
  t.equal((await server.call('DELETE', `/prices/gemini/m?effectiveFrom=${from}`)).status, 204)
  t.equal((await prices(server)).length, 3)
  isApiError(t, await server.call('DELETE', `/prices/gemini/m?effectiveFrom=${from}`), 'PRICE_NOT_FOUND')
  t.equal((await server.call('DELETE', '/prices/gemini/m')).status, 204)
  t.match(await prices(server), [{ model: 'n' }])
  isApiError(t, await server.call('DELETE', '/prices/gemini/m'), 'PRICE_NOT_FOUND')
})

t.test('what is no price is refused by its field, and nothing is stored', async (t) => {
  const server = await startServer(t)
  const rows: [object, string][] = [
    [{ output: 1 }, '/input'],
    [{ input: 1 }, '/output'],
    [{ input: -1, output: 1 }, '/input'],
    [{ input: '-1', output: 1 }, '/input'],
    [{ input: '1e3', output: 1 }, '/input'],
    [{ input: 1_000_001, output: 1 }, '/input'],
    [{ input: null, output: 1 }, '/input'],
    [{ input: 1, output: 1, cacheRead: '' }, '/cacheRead'],
    [{ input: 1, output: 1, more: 1 }, '/more'],
    [{ input: 1, output: 1, effectiveFrom: 'now' }, '/effectiveFrom'],
    [{ input: 1, output: 1, effectiveFrom: '2026-11-21T23:59:60Z' }, '/effectiveFrom'],
  ]
  for (const [body, path] of rows) {
    const { details = [] } = isApiError(t, await put(server, 'openai/m', body), 'INVALID_REQUEST')
    t.ok(
      details.some((each) => each.path === path),
      `${JSON.stringify(body)}: ${JSON.stringify(details)} has ${path}`,
    )
  }
  isApiError(t, await put(server, 'nobody/m', { input: 1, output: 1 }), 'INVALID_REQUEST')
  isApiError(t, await put(server, 'openai/-m', { input: 1, output: 1 }), 'INVALID_REQUEST')
  isApiError(t, await server.call('DELETE', '/prices/openai/m?effectiveFrom=now'), 'INVALID_REQUEST')
  t.same(await prices(server), [])
})

t.test('there are no more prices than every gateway can take', async (t) => {
  const server = await startServer(t)
  const rates = { effectiveFromMs: 0, input: 1, output: 1, cacheRead: null, cacheWrite: null, cacheWrite1h: null }
  const saved = Array.from({ length: PRICES_MAX }, (_, index) => ({
    ...{ provider: 'openai' as const, model: `m${index}` },
    ...rates,
  }))
  await server.store.prices.change(() => ({ saved }))
  isApiError(t, await put(server, 'openai/more', { input: 1, output: 1 }), 'PRICES_FULL')
  t.match(await put(server, 'openai/m7', { input: 2, output: 2 }), { status: 200 }, 'one that is there may change')
  t.equal((await prices(server)).length, PRICES_MAX)
})
