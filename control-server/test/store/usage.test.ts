// Usage in the store: the promises of src/store/usage.ts.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { KeptCall, UsageOrigin } from '../../src/lifecycle/usage.ts'
import { openSqliteStore } from '../../src/store/sqlite-store.ts'
import type { UsageQuery } from '../../src/store/usage.ts'
import { policy, running } from '../lifecycle/builders.ts'

const open = async (t: Test, usageRowsMax?: number) => {
  const file = join(t.testdir(), 'commands.db')
  const openFile = () =>
    openSqliteStore({
      ...{ file, policy, nowMs: 1, newEpoch: 'epoch-one' },
      ...(usageRowsMax === undefined ? {} : { usageRowsMax }),
      onFatal: (error) => {
        throw error
      },
    })
  let store = openFile()
  t.teardown(() => store.close())
  const keep = async (attemptId: string, calls: KeptCall[], origin: Partial<UsageOrigin> = {}) => {
    const [commandId = '', attempt] = attemptId.split('.')
    const { added } = await store.usage.change(commandId, Number(attempt), 'a', 9, () => ({
      answer: { ok: true, origin: { agentId: 'a', profile: null, engine: 'codex', ...origin } },
      calls,
    }))
    return added.length
  }
  return {
    keep,
    store: () => store,
    async reopen() {
      await store.close()
      store = openFile()
    },
  }
}

const TOKENS = {
  ...{ inputTokens: 1000, cacheReadTokens: 100, cacheWriteTokens: 10, cacheWrite1hTokens: 1, outputTokens: 50 },
  webSearches: 2,
}
const at = (day: string): number => Date.parse(`${day}T12:00:00Z`)
const call = (callId: number, change: Partial<KeptCall> = {}): KeptCall => ({
  ...{ gatewayId: 'g', callId, wire: 'openai-responses', model: 'm', state: 'settled', status: 200 },
  ...{ startedAtMs: at('2026-11-21'), endedAtMs: at('2026-11-21') + 5, usage: TOKENS, costMicroUsd: 30 },
  rates: { input_mtok: 3 },
  ...change,
})
const question = (change: Partial<UsageQuery> = {}): UsageQuery => ({
  ...{ groupBy: 'day', from: '2026-01-01', to: '2026-12-31', limit: 100 },
  ...change,
})

t.test('a call is kept once, as it came first, and counted once, also after a restart', async (t) => {
  const { store, keep, reopen } = await open(t)
  await store().submit(running('c', { agentId: 'a' }), null)
  t.equal(await keep('c.1', [call(1), call(1), call(2)]), 2)
  await reopen()
  t.equal(await keep('c.1', [call(2, { costMicroUsd: 999 }), call(3)]), 1)
  const { attempts, calls } = await store().usage.ofCommand('c', null, 10)
  t.same(calls[0], { ...call(1), attempt: 1, receivedAtMs: 9 })
  t.same(
    calls.map(({ callId, costMicroUsd }) => [callId, costMicroUsd]),
    [
      [1, 30],
      [2, 30],
      [3, 30],
    ],
  )
  const sum = {
    ...{ calls: 3, inputTokens: 3000, cacheReadTokens: 300, cacheWriteTokens: 30, cacheWrite1hTokens: 3 },
    ...{ outputTokens: 150, webSearches: 6, isEstimated: false, costMicroUsd: 90, unpricedCalls: 0 },
  }
  t.same(attempts, [{ attempt: 1, ...sum }])
  t.same(await store().usage.groups(question()), {
    ...{ total: sum, groupCount: 1, groups: [{ key: '2026-11-21', ...sum }], isComplete: true },
  })
})

t.test('two gateways, and two attempts, have calls of the same number', async (t) => {
  const { store, keep } = await open(t)
  t.equal(await keep('c.1', [call(1), call(1, { gatewayId: 'h' })]), 2)
  t.equal(await keep('c.2', [call(1)]), 1, 'who says first what is not its own is before nobody')
  const { attempts } = await store().usage.ofCommand('c', null, 10)
  t.same(
    attempts.map(({ attempt, calls }) => [attempt, calls]),
    [
      [1, 2],
      [2, 1],
    ],
  )
})

t.test('what is not known is not counted as nothing', async (t) => {
  const { store, keep } = await open(t)
  await keep('c.1', [
    call(1),
    call(2, { usage: null, state: 'unknown', costMicroUsd: 70 }),
    call(3, { costMicroUsd: null, rates: null, status: null }),
  ])
  const { attempts, calls } = await store().usage.ofCommand('c', null, 10)
  t.match(attempts, [{ calls: 3, inputTokens: 2000, isEstimated: true, costMicroUsd: 100, unpricedCalls: 1 }])
  t.match(calls, [{}, { usage: null }, { costMicroUsd: null, rates: null, status: null }])
})

t.test('the calls of a command come in pages, in an order', async (t) => {
  const { store, keep } = await open(t)
  await keep('c.10', [call(1)])
  await keep('c.2', [call(2), call(10), call(1, { gatewayId: 'h' })])
  await keep('d.1', [call(1)])
  const seen: string[] = []
  for (let after = null as Parameters<ReturnType<typeof store>['usage']['ofCommand']>[1]; ; ) {
    const { calls } = await store().usage.ofCommand('c', after, 2)
    if (calls.length === 0) break
    seen.push(...calls.map(({ attempt, gatewayId, callId }) => `${attempt}.${gatewayId}.${callId}`))
    after = calls.at(-1) ?? null
  }
  t.same(seen, ['2.g.2', '2.g.10', '2.h.1', '10.g.1'])
})

t.test('sums by everything that they can be by, the dearest first, and days from the newest on', async (t) => {
  const { store, keep } = await open(t)
  const day = (text: string) => ({ startedAtMs: at(text) })
  await keep('c.1', [call(1), call(2, { model: 'n', costMicroUsd: 500 })], { profile: 'p', engine: 'codex' })
  await keep('d.1', [call(3, day('2026-11-22'))], { agentId: 'b', engine: 'gemini' })
  await keep('e.1', [call(4, day('2026-10-01'))], { engine: null })
  const by = async (groupBy: UsageQuery['groupBy'], change: object = {}) =>
    (await store().usage.groups(question({ groupBy, ...change }))).groups.map((each) => [each.key, each.costMicroUsd])
  t.same(await by('day'), [
    ['2026-11-22', 30],
    ['2026-11-21', 530],
    ['2026-10-01', 30],
  ])
  t.same(await by('profile'), [
    ['p', 530],
    [null, 60],
  ])
  t.same(await by('model'), [
    ['n', 500],
    ['m', 90],
  ])
  t.same(await by('engine'), [
    ['codex', 530],
    [null, 30],
    ['gemini', 30],
  ])
  t.same(await by('agent'), [
    ['a', 560],
    ['b', 30],
  ])
  t.same(await by('command'), [
    ['c', 530],
    ['d', 30],
    ['e', 30],
  ])
  t.same(await by('command', { from: '2026-11-22', to: '2026-11-22' }), [['d', 30]])
  t.match(await store().usage.groups(question({ groupBy: 'command', limit: 1 })), {
    ...{ total: { costMicroUsd: 590 }, groupCount: 3, groups: [{ key: 'c' }], isComplete: true },
  })
  t.match(await store().usage.groups(question({ from: '2027-01-01', to: '2027-01-01' })), {
    ...{ total: { calls: 0, costMicroUsd: 0, isEstimated: false }, groupCount: 0, groups: [], isComplete: true },
  })
})

t.test('a question looks at so many rows, and says where there were more', async (t) => {
  const { store, keep } = await open(t, 2)
  for (const [index, day] of ['2026-11-01', '2026-11-02', '2026-11-03'].entries())
    await keep(`c${index}.1`, [call(1, { startedAtMs: at(day) })])
  for (const groupBy of ['day', 'command'] as const) {
    t.match(await store().usage.groups(question({ groupBy })), { total: { calls: 2 }, isComplete: false }, groupBy)
    t.match(await store().usage.groups(question({ groupBy, from: '2026-11-02' })), { isComplete: true })
  }
  const { groups } = await store().usage.groups(question())
  t.same(
    groups.map(({ key }) => key),
    ['2026-11-03', '2026-11-02'],
    'the oldest is missing',
  )
})

t.test('the largest numbers are added up without an error', async (t) => {
  const { store, keep } = await open(t)
  const most = Number.MAX_SAFE_INTEGER
  const all = Object.fromEntries(Object.keys(TOKENS).map((name) => [name, most])) as typeof TOKENS
  const huge = (callId: number, day: string) =>
    call(callId, { callId: most - callId, usage: all, costMicroUsd: most, startedAtMs: at(day) })
  await keep('c.1', [huge(0, '2026-11-01'), huge(1, '2026-11-01'), huge(2, '2026-11-02')])
  t.match((await store().usage.ofCommand('c', null, 10)).attempts, [
    { calls: 3, inputTokens: most, costMicroUsd: most },
  ])
  t.match(await store().usage.groups(question()), { total: { calls: 3, costMicroUsd: most } })
})

t.test('what is refused stores nothing', async (t) => {
  const { store } = await open(t)
  const { added } = await store().usage.change('c', 1, 'a', 9, (facts) => {
    t.same(facts, { epoch: 'epoch-one', agent: null, hasCommand: false, attempt: null, command: null })
    return { answer: { ok: false, code: 'NOT_REGISTERED', message: 'no' }, calls: [call(1)] }
  })
  t.same(added, [])
  t.same(await store().usage.ofCommand('c', null, 10), { attempts: [], calls: [] })
})
