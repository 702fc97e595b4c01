// Calls of language models that a server has acknowledged outlive it, and are counted once, whoever dies in between.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createApi, type Json } from '../src/api.ts'
import { freePort, startServer } from '../src/processes.ts'
import { createRandom, newSeed } from '../src/random.ts'

const CALLS = 40
/** A start of the server takes longer than all the calls. */
const KILLS = 4
const COST = 450

const call = (callId: number): Json => ({
  ...{ callId, wire: 'anthropic-messages', model: `model-${callId % 3}`, state: 'settled', status: 200 },
  ...{ startedAt: '2026-11-21T14:00:00Z', endedAt: '2026-11-21T14:00:01Z', costMicroUsd: COST, rates: null },
  usage: {
    ...{ inputTokens: 10, cacheReadTokens: 0, cacheWriteTokens: 0, cacheWrite1hTokens: 0, outputTokens: 1 },
    webSearches: 0,
  },
})

t.test('a server that is killed again and again while usage comes counts each call once', async (t) => {
  const seed = newSeed()
  const random = createRandom(seed)
  t.comment(`seed ${seed}`)
  const port = await freePort()
  const dir = t.testdir()
  const api = createApi(port)
  let server = await startServer(dir, port)
  t.teardown(() => server.kill())

  const registration = await api.call('POST', '/agents/register', {
    ...{ agentId: 'box', journalId: 'journal-1', nonce: 'nonce-01', previousNonces: [], previousIncarnation: 0 },
    ...{ logSeq: 0, protocol: { min: 1, max: 1 }, version: '1', types: ['DELAY'], labels: [], slots: { DELAY: 1 } },
  })
  const { incarnation, epoch } = registration.body as { incarnation: number; epoch: string }
  const { commandId } = await api.submit({ type: 'DELAY', payload: { ms: 1 }, takeover: 'manual' }, 'one')
  const attemptId = `${commandId}.1`
  const sync = (seq: number, held: Json[]) =>
    api.call('POST', '/agents/box/sync', {
      ...{ incarnation, seq, epoch, revSeen: 0, logSeq: 0, mode: 'ready', want: { DELAY: 1 }, held },
    })
  await sync(1, [])
  await sync(2, [{ attemptId, phase: 'accepted' }])

  const query = new URLSearchParams({ agentId: 'box', incarnation: String(incarnation), epoch })
  const bring = async (callIds: readonly number[]): Promise<void> => {
    const report = { gatewayId: 'gateway-1', calls: callIds.map(call) }
    await api.patiently('bring usage', async () => {
      const { status, body } = await api.call('PUT', `/attempts/${attemptId}/usage?${query}`, report)
      if (status !== 200) throw new Error(`${status} ${JSON.stringify(body)}`)
    })
  }
  const restarted = async (): Promise<void> => {
    await sleep(random.between(0, 10))
    await server.kill()
    server = await startServer(dir, port)
  }
  const killedAt = new Set(Array.from({ length: KILLS }, () => random.between(1, CALLS)))
  const acknowledged: number[] = []
  for (let callId = 1; callId <= CALLS; callId++) {
    // Some that were acknowledged come again, as of an agent that has lost the answer.
    const callIds = [callId, ...acknowledged.filter(() => random.chance(0.05))]
    await Promise.all([bring(callIds), killedAt.has(callId) ? restarted() : undefined])
    acknowledged.push(callId)
  }
  await server.kill()
  server = await startServer(dir, port)

  const { body } = await api.call('GET', `/commands/${commandId}/usage`)
  t.match(body, { total: { calls: CALLS, costMicroUsd: CALLS * COST, inputTokens: 10 * CALLS } })
  t.same(
    (body.calls as { callId: number }[]).map(({ callId }) => callId),
    acknowledged,
  )
  for (const groupBy of ['day', 'model', 'command']) {
    const usage = await api.call('GET', `/usage?groupBy=${groupBy}&from=2026-11-21&to=2026-11-21`)
    t.match(usage.body, { total: { calls: CALLS, costMicroUsd: CALLS * COST }, isComplete: true }, groupBy)
  }
})
