// The way of usage from the books of a gateway to a server that loses requests and answers, and refuses.
import type { LlmCall } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { createPricesKeeper } from '../../src/gateway/prices.ts'
import { createUsageUploader } from '../../src/gateway/usage-uploader.ts'
import { createTrigger } from '../../src/trigger.ts'
import { until } from '../fixtures/until.ts'

const call = (callId: number): LlmCall => ({
  ...{ callId, wire: 'gemini', model: 'm', startedAt: '2026-11-30T00:00:00.000Z', endedAt: '2026-11-30T00:00:01.000Z' },
  ...{ state: 'settled', status: 200, usage: null, costMicroUsd: 1, rates: null },
})

type Fault = 'none' | 'lost request' | 'lost answer'

const world = (
  t: Test,
  faults: Fault[] = [],
  books: [attemptId: string, callId: number][] = [
    ['c.1', 1],
    ['d.1', 2],
    ['c.1', 3],
  ],
) => {
  const reported = new Set<number>()
  const stored = new Map<string, number>()
  const warned: string[] = []
  const refusals = new Map<string, string>()
  const open = new Set<string>()
  const news = createTrigger()
  const uploader = createUsageUploader({
    agentId: 'a',
    books: {
      unreported: async () => ({
        gatewayId: 'g',
        attempts: [...new Set(books.map(([attemptId]) => attemptId))].flatMap((attemptId) => {
          const calls = books.filter(([of, callId]) => of === attemptId && !reported.has(callId))
          return calls.length === 0 ? [] : [{ attemptId, calls: calls.map(([, callId]) => call(callId)) }]
        }),
      }),
      reported: async (callIds) => {
        for (const callId of callIds) reported.add(callId)
      },
    },
    server: {
      async uploadUsage(attemptId, _uploader, { gatewayId, calls }) {
        const fault = faults.shift() ?? 'none'
        if (fault === 'lost request') throw new Error('no answer')
        const code = refusals.get(attemptId)
        if (code !== undefined) return { type: 'refused', code }
        for (const { callId } of calls)
          stored.set(`${gatewayId} ${callId}`, (stored.get(`${gatewayId} ${callId}`) ?? 0) + 1)
        if (fault === 'lost answer') throw new Error('no answer')
        return { type: 'stored' }
      },
    },
    registration: () => ({ agentId: 'a', incarnation: 1, epoch: 'e' }),
    up: () => true,
    isOpen: (attemptId) => open.has(attemptId),
    news,
    random: () => 0,
    warn: (_facts, message) => void warned.push(message),
  })
  t.teardown(uploader.stop)
  return { reported, stored, warned, refusals, open, news }
}

t.test('every call gets there, whatever is lost on the way', async (t) => {
  const { reported, stored } = world(t, ['lost answer', 'lost request', 'none', 'lost answer'])
  await until('all are reported', () => reported.size === 3)
  t.same([...stored.keys()].sort(), ['g 1', 'g 2', 'g 3'])
})

t.test('an attempt that the server does not know keeps no other waiting, and is not asked for again', async (t) => {
  const { reported, stored, warned, refusals } = world(t)
  refusals.set('c.1', 'ATTEMPT_NOT_FOUND')
  await until('all are told', () => reported.size === 3)
  t.same([...stored.keys()], ['g 2'])
  t.match(warned, [/the gateway keeps it/])
})

t.test('one that the journal still has is told again: the server may learn of it yet', async (t) => {
  const { reported, refusals, open, news } = world(t)
  refusals.set('c.1', 'ATTEMPT_NOT_FOUND')
  open.add('c.1')
  await until('the other one is reported', () => reported.has(2))
  t.notOk(reported.has(1))
  refusals.clear()
  news.ring()
  await until('and the first one', () => reported.size === 3)
})

t.test('prices go to the gateway when they have changed, and to another gateway anyway', async (t) => {
  let [etag, prices, gatewayId] = ['"1"', ['one'] as unknown[], 'g' as string | null]
  const asked: (string | null)[] = []
  const given: unknown[][] = []
  let fails = false
  const keeper = createPricesKeeper({
    server: {
      prices: async (known) => {
        asked.push(known)
        if (fails) throw new Error('no answer')
        return known === etag ? null : { etag, prices }
      },
    },
    gateway: { setPrices: async (rows) => void given.push([...rows]) },
    gatewayId: () => gatewayId,
    warn: () => {},
  })
  t.teardown(keeper.stop)
  await keeper.look()
  await keeper.fresh()
  t.same([asked, given], [[null, '"1"'], [['one']]])
  ;[etag, prices] = ['"2"', ['two']]
  await keeper.fresh()
  t.same(given, [['one'], ['two']])
  fails = true
  await t.resolves(keeper.fresh(), 'older prices are better than none')
  fails = false
  gatewayId = 'another'
  await keeper.look()
  t.same([asked.at(-1), given.at(-1)], [null, ['two']])
  gatewayId = null
  const before = asked.length
  await keeper.look()
  t.equal(asked.length, before, 'nobody to bring them to')
})
