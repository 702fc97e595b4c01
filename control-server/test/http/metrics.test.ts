// What Prometheus reads: counts of commands, attempts, models and requests, with labels that nobody can make endless.
import t from 'tap'
import { createMetrics } from '../../src/metrics.ts'
import { type Server, startServer } from './harness.ts'
import { runningAgent } from './running-agent.ts'

const CALL = {
  ...{ wire: 'anthropic-messages', model: 'claude-x', state: 'settled', status: 200, costMicroUsd: 450, rates: null },
  ...{ startedAt: '2026-11-21T14:00:00Z', endedAt: '2026-11-21T14:00:02Z' },
  usage: {
    ...{ inputTokens: 100, cacheReadTokens: 40, cacheWriteTokens: 0, cacheWrite1hTokens: 0, outputTokens: 10 },
    webSearches: 0,
  },
}
/** Each line by its name and labels. */
const scraped = async (server: Server): Promise<Map<string, number>> => {
  const { status, headers, text } = await server.call('GET', '/metrics')
  if (status !== 200) throw new Error(text)
  t.match(headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  return linesOf(text)
}
const linesOf = (text: string): Map<string, number> =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  )
const name = (metric: string, labels = ''): string => `agent_executor_${metric}${labels && `{${labels}}`}`

t.test('commands and attempts are counted through their lives', async (t) => {
  const server = await startServer(t)
  const delays = (status: string) => name('commands', `type="DELAY",status="${status}"`)
  t.equal((await scraped(server)).get(delays('PENDING')), 0)
  await server.submit()
  const { commandId } = await server.submit()
  server.clock.nowMs += 5000
  let now = await scraped(server)
  t.equal(now.get(delays('PENDING')), 2)
  t.equal(now.get(name('queue_oldest_seconds')), 5)
  t.equal(now.get(name('commands_submitted_total', 'type="DELAY"')), 2)
  await server.call('GET', '/commands/next?agentId=curl')
  now = await scraped(server)
  t.same([now.get(delays('PENDING')), now.get(delays('RUNNING'))], [1, 1])
  t.equal(now.get(name('agents', 'online="true"')), 1)
  const { body } = await server.call('GET', '/commands?status=RUNNING')
  const [running] = body as { commandId: string }[]
  await server.call('PUT', `/commands/${running?.commandId}/result`, {
    agentId: 'curl',
    error: { message: 'no', code: 'MY_OWN_CODE' },
  })
  await server.call('DELETE', `/commands/${[commandId].find((id) => id !== running?.commandId) ?? commandId}`)
  now = await scraped(server)
  t.equal(now.get(delays('RUNNING')), 0)
  t.equal(now.get(name('commands_finished_total', 'type="DELAY",status="FAILED"')), 1)
  t.equal(
    now.get(name('attempts_finished_total', 'type="DELAY",state="FAILED",code="other"')),
    1,
    'a code of a client is no label',
  )
  t.equal(now.get(name('command_wait_seconds_sum', 'type="DELAY"')), 5)
  t.equal(now.get(name('attempt_duration_seconds_count', 'type="DELAY"')), 1)
})

t.test('what is lost, and what is tried again, is counted', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit({ retry: { maxAttempts: 2, retryOn: ['MINE'] }, timeoutMs: 1000 })
  await server.call('GET', '/commands/next?agentId=curl')
  const error = { message: 'no', code: 'MINE', retryable: true }
  await server.call('PUT', `/commands/${commandId}/result`, { agentId: 'curl', error })
  server.clock.nowMs += 60_000
  await server.sweep()
  await server.call('GET', '/commands/next?agentId=curl')
  server.clock.nowMs += 60_000
  await server.sweep()
  const now = await scraped(server)
  t.equal(now.get(name('command_retries_total', 'type="DELAY"')), 1)
  t.equal(now.get(name('attempts_lost_total', 'type="DELAY"')), 1)
  t.equal(now.get(name('command_wait_seconds_count', 'type="DELAY"')), 1, 'of the first start')
})

t.test('usage of models is counted once, however often it is told', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const calls = [
    { ...CALL, callId: 1 },
    { ...CALL, callId: 2, costMicroUsd: null, state: 'estimated' },
  ]
  for (let round = 0; round < 2; round++) await agent.putAny('usage', { gatewayId: 'g', calls })
  const now = await scraped(server)
  const of = (metric: string, labels = '') => now.get(name(metric, `model="claude-x"${labels}`))
  t.equal(of('model_calls_total', ',state="settled"'), 1)
  t.equal(of('model_calls_total', ',state="estimated"'), 1)
  t.equal(of('model_cost_micro_usd_total'), 450)
  t.equal(of('model_unpriced_calls_total'), 1)
  t.equal(of('model_tokens_total', ',kind="input"'), 200)
  t.equal(of('model_tokens_total', ',kind="cacheRead"'), 80)
  t.equal(of('model_tokens_total', ',kind="output"'), 20)
})

t.test('requests are timed by route, and what has none is one of all', async (t) => {
  const server = await startServer(t)
  await server.submit()
  for (const path of ['/nowhere', '/else', '/commands/nobody']) await server.call('GET', path)
  const now = await scraped(server)
  const count = (labels: string) => now.get(name('http_request_duration_seconds_count', labels))
  t.equal(count('method="POST",route="/commands",status="201"'), 1)
  t.equal(count('method="GET",route="/commands/:commandId",status="404"'), 1)
  t.equal(count('method="other",route="other",status="404"'), 2)
})

t.test('names of models do not make labels without end', async (t) => {
  const metrics = createMetrics({ version: '1', open: [], ofProcess: false })
  const call = { gatewayId: 'g', callId: 1, startedAtMs: 0, endedAtMs: 0 }
  metrics.used(
    Array.from({ length: 1000 }, (_, index) => ({ ...CALL, ...call, model: `m${index}`, state: 'settled' as const })),
  )
  const lines = linesOf(await metrics.text({ oldestReadyMs: null, agents: [], nowMs: 0 }))
  t.equal([...lines.keys()].filter((line) => line.startsWith(name('model_cost'))).length, 201)
  t.equal(lines.get(name('model_cost_micro_usd_total', 'model="other"')), 800 * 450)
})

t.test('what is open when a server starts is counted from there', async (t) => {
  const metrics = createMetrics({
    version: '1',
    open: [{ type: 'DELAY', status: 'PENDING', count: 7 }],
    ofProcess: false,
  })
  const lines = linesOf(await metrics.text({ oldestReadyMs: 10, agents: [{ online: false }], nowMs: 5 }))
  t.equal(lines.get(name('commands', 'type="DELAY",status="PENDING"')), 7)
  t.equal(lines.get(name('queue_oldest_seconds')), 0, 'no time is negative')
  t.equal(lines.get(name('agents', 'online="false"')), 1)
})
