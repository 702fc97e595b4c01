// Usage over HTTP: what agents bring is counted once, clients read it by call, attempt, command and day.
import type { CommandUsage, LlmCall, UsageGroups } from '@agent-executor/protocol'
import t from 'tap'
import { isApiError, type Server, startServer } from './harness.ts'
import { runningAgent } from './running-agent.ts'

const TOKENS = {
  ...{ inputTokens: 100, cacheReadTokens: 0, cacheWriteTokens: 0, cacheWrite1hTokens: 0, outputTokens: 10 },
  webSearches: 0,
}
const call = (callId: number, change: object = {}): LlmCall => ({
  ...{ callId, wire: 'anthropic-messages', model: 'claude-x', state: 'settled', status: 200, usage: TOKENS },
  ...{ startedAt: '2026-11-21T14:00:00.000Z', endedAt: '2026-11-21T14:00:02.000Z', costMicroUsd: 450 },
  rates: { input_mtok: 3, output_mtok: 15 },
  ...change,
})
type RunningAgent = Awaited<ReturnType<typeof runningAgent>>
const bring = (agent: RunningAgent, calls: object[], change: object = {}, report: object = {}) =>
  agent.putAny('usage', { gatewayId: 'gateway-1', calls, ...report }, {}, change)
const usageOf = async (server: Server, commandId: string, query = ''): Promise<CommandUsage> =>
  (await server.call('GET', `/commands/${commandId}/usage${query}`)).body as CommandUsage
const groups = async (server: Server, query: string): Promise<UsageGroups> =>
  (await server.call('GET', `/usage${query}`)).body as UsageGroups

t.test('what an agent brings is counted once, however often it brings it', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  t.same((await usageOf(server, agent.commandId)).calls, [])
  t.match(await bring(agent, [call(1), call(2)]), { status: 200, body: { stored: 2 } })
  t.match(await bring(agent, [call(1), call(2), call(3, { costMicroUsd: null })]), { body: { stored: 1 } })
  const usage = await usageOf(server, agent.commandId)
  const sum = { calls: 3, ...TOKENS, inputTokens: 300, outputTokens: 30, isEstimated: false }
  t.same(usage.total, { ...sum, costMicroUsd: 900, unpricedCalls: 1 })
  t.same(usage.attempts, [{ attempt: 1, ...usage.total }])
  const receivedAt = new Date(server.clock.nowMs).toISOString()
  t.same(usage.calls[0], { attempt: 1, gatewayId: 'gateway-1', ...call(1), receivedAt })
  t.equal(usage.nextCursor, null)
  const { total } = await groups(server, '?groupBy=command&from=2026-11-21&to=2026-11-21')
  t.same(total, usage.total)
})

t.test('calls are evidence of their attempt, also when that is over and its command final', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await agent.finish()
  t.match(await bring(agent, [call(1)]), { status: 200, body: { stored: 1 } })
  t.equal((await server.record(agent.commandId)).status, 'COMPLETED')
})

t.test('the calls come in pages', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await bring(
    agent,
    Array.from({ length: 5 }, (_, index) => call(index + 1)),
  )
  const seen: number[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await usageOf(server, agent.commandId, `?limit=2${cursor === undefined ? '' : `&cursor=${cursor}`}`)
    t.equal(page.total.calls, 5)
    seen.push(...page.calls.map(({ callId }) => callId))
    cursor = page.nextCursor
  }
  t.same(seen, [1, 2, 3, 4, 5])
  const wrong = await server.call('GET', `/commands/${agent.commandId}/usage?cursor=abc`)
  t.match(isApiError(t, wrong, 'INVALID_REQUEST').details, [{ path: 'query/cursor' }])
})

t.test('sums are by day, model, engine, profile, agent and command', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await bring(agent, [call(1), call(2, { startedAt: '2026-11-22T00:00:00+01:00', model: 'other' })])
  const keys = async (groupBy: string) =>
    (await groups(server, `?groupBy=${groupBy}&from=2026-11-01&to=2026-11-30`)).groups.map(({ key }) => key)
  t.same(await keys('day'), ['2026-11-21'], 'days are those of UTC')
  t.same(await keys('model'), ['claude-x', 'other'])
  t.same(await keys('engine'), ['shell'])
  t.same(await keys('profile'), [null])
  t.same(await keys('agent'), ['box-1'])
  t.same(await keys('command'), [agent.commandId])
  t.match(await groups(server, ''), { groupBy: 'day', to: new Date(server.clock.nowMs).toISOString().slice(0, 10) })
})

t.test('bad reports are refused with a code and a path, and nothing of them is kept', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const rows: [object, string][] = [
    [{ callId: 0 }, '/calls/0/callId'],
    [{ callId: 2 ** 53 }, '/calls/0/callId'],
    [{ model: '' }, '/calls/0/model'],
    [{ state: 'free' }, '/calls/0/state'],
    [{ startedAt: 'yesterday' }, '/calls/0/startedAt'],
    [{ endedAt: '2026-11-21T23:59:60Z' }, '/calls/0/endedAt'],
    [{ costMicroUsd: -1 }, '/calls/0/costMicroUsd'],
    [{ costMicroUsd: 0.5 }, '/calls/0/costMicroUsd'],
    [{ usage: { ...TOKENS, inputTokens: 1e300 } }, '/calls/0/usage/inputTokens'],
    [{ usage: {} }, '/calls/0/usage'],
    [{ status: 1e9 }, '/calls/0/status'],
  ]
  for (const [change, path] of rows) {
    const { details = [] } = isApiError(t, await bring(agent, [call(1, change)]), 'INVALID_REQUEST')
    t.ok(
      details.some((each) => each.path.startsWith(path)),
      `${path} of ${JSON.stringify(details)}`,
    )
  }
  const many = Array.from({ length: 501 }, (_, index) => call(index + 1))
  isApiError(t, await bring(agent, many), 'INVALID_REQUEST')
  isApiError(t, await bring(agent, [], {}, { gatewayId: 'a b' }), 'INVALID_REQUEST')
  isApiError(t, await bring(agent, [call(1, { model: 'm'.repeat(201) })]), 'INVALID_REQUEST')
  isApiError(t, await bring(agent, [], {}, { more: 'x'.repeat(1_048_576) }), 'BODY_TOO_LARGE')
  isApiError(t, await bring(agent, [], { agentId: 'nobody' }), 'NOT_REGISTERED')
  isApiError(t, await bring(agent, [], { incarnation: '0' }), 'INCARNATION_SUPERSEDED')
  isApiError(t, await bring(agent, [], { epoch: 'another-epoch' }), 'EPOCH_CHANGED')
  const { body: registered } = { body: agent.query }
  for (const [attemptId, code] of [
    ['nobody.1', 'COMMAND_NOT_FOUND'],
    [`${agent.commandId}.2`, 'ATTEMPT_NOT_FOUND'],
    ['x', 'INVALID_REQUEST'],
  ] as const) {
    const query = new URLSearchParams(registered)
    const answer = await server.call('PUT', `/attempts/${attemptId}/usage?${query}`, { gatewayId: 'g', calls: [] })
    isApiError(t, answer, code)
  }
  t.equal((await usageOf(server, agent.commandId)).total.calls, 0)
})

t.test('questions that have no answer are refused', async (t) => {
  const server = await startServer(t)
  isApiError(t, await server.call('GET', '/commands/nobody/usage'), 'COMMAND_NOT_FOUND')
  for (const query of [
    'groupBy=mood',
    'from=2026-02-30',
    'to=today',
    'limit=0',
    'limit=1001',
    'from=9999-01-01',
    'x=1',
  ])
    isApiError(t, await server.call('GET', `/usage?${query}`), 'INVALID_REQUEST')
  const { details } = isApiError(t, await server.call('GET', '/usage?from=2026-02-02&to=2026-02-01'), 'INVALID_REQUEST')
  t.same(details, [{ path: 'query/from', message: 'must not be after to, 2026-02-01' }])
})
