import type { LlmCall, UsageReport } from '@agent-executor/protocol'
import t from 'tap'
import { dayOf, daysAsked, takeUsage, type UsageFacts, usageProblems } from '../../src/lifecycle/usage.ts'
import { agent, running } from './builders.ts'

const UPLOADER = { agentId: 'a', incarnation: 1, epoch: 'epoch-one' }
const commandWith = (payload: object) => running('c', { agentId: 'a', payload: payload as never })
const facts = (payload: object = {}, change: Partial<UsageFacts> = {}): UsageFacts => {
  const command = commandWith(payload)
  return {
    ...{ epoch: 'epoch-one', agent: agent('a'), hasCommand: true, attempt: command.attempts[0] ?? null, command },
    ...change,
  }
}
const call = (change: Partial<LlmCall> = {}): LlmCall => ({
  ...{ callId: 1, wire: 'anthropic-messages', model: 'm', startedAt: '2026-11-21T14:00:00Z', state: 'settled' },
  ...{ endedAt: '2026-11-21T14:00:01.5+01:00', status: 200, usage: null, costMicroUsd: null, rates: null },
  ...change,
})
const report = (...calls: LlmCall[]): UsageReport => ({ gatewayId: 'g', calls })

t.test('a report becomes calls of its gateway, without what this server does not know', async (t) => {
  const usage = {
    ...{ inputTokens: 1, cacheReadTokens: 2, cacheWriteTokens: 3, cacheWrite1hTokens: 4, outputTokens: 5 },
    webSearches: 6,
  }
  const told = call({ usage: { ...usage, audioTokens: 7 } as never, rates: { input_mtok: 3 }, costMicroUsd: 9 })
  const { calls } = takeUsage(facts(), UPLOADER, report({ ...told, later: true } as never))
  t.same(calls, [
    {
      ...{ gatewayId: 'g', callId: 1, wire: 'anthropic-messages', model: 'm', state: 'settled', status: 200 },
      ...{ startedAtMs: Date.UTC(2026, 10, 21, 14), endedAtMs: Date.UTC(2026, 10, 21, 13, 0, 1, 500) },
      ...{ usage, costMicroUsd: 9, rates: { input_mtok: 3 } },
    },
  ])
})

t.test('its sums are those of the run: its profile and engine, where the command says them', async (t) => {
  const rows: [object, object][] = [
    [
      { engine: 'codex', resolvedFrom: { profile: 'p' } },
      { profile: 'p', engine: 'codex' },
    ],
    [{ engine: 'codex' }, { profile: null, engine: 'codex' }],
    [
      { engine: 7, resolvedFrom: 'x' },
      { profile: null, engine: null },
    ],
    [
      { engine: 'e'.repeat(101), resolvedFrom: { profile: '' } },
      { profile: null, engine: null },
    ],
  ]
  for (const [payload, origin] of rows)
    t.same(takeUsage(facts(payload), UPLOADER, report()).answer, { ok: true, origin: { agentId: 'a', ...origin } })
})

t.test('who may bring usage: whoever may bring logs and files', async (t) => {
  const other = { ...facts().attempt, agentId: 'b' } as UsageFacts['attempt']
  const rows: [Partial<UsageFacts>, string][] = [
    [{ agent: null }, 'NOT_REGISTERED'],
    [{ epoch: 'epoch-two' }, 'EPOCH_CHANGED'],
    [{ hasCommand: false, command: null }, 'COMMAND_NOT_FOUND'],
    [{ attempt: null }, 'ATTEMPT_NOT_FOUND'],
    [{ attempt: other }, 'NOT_YOUR_ATTEMPT'],
  ]
  for (const [change, code] of rows)
    t.match(takeUsage(facts({}, change), UPLOADER, report(call())), { answer: { ok: false, code }, calls: [] })
})

t.test('a second that does not exist is a fault of its field', async (t) => {
  t.same(usageProblems(report(call(), call({ endedAt: '2026-11-21T23:59:60Z' }))), [
    { path: '/calls/1/endedAt', message: 'must be a date that exists' },
  ])
})

t.test('without days, the last thirty are meant; one alone is the first or the last of them', async (t) => {
  const nowMs = Date.UTC(2026, 10, 30, 23, 59)
  t.equal(dayOf(nowMs), '2026-11-30')
  t.same(daysAsked({}, nowMs), { from: '2026-11-01', to: '2026-11-30', isNone: false })
  t.same(daysAsked({ to: '2026-03-01' }, nowMs), { from: '2026-01-31', to: '2026-03-01', isNone: false })
  t.same(daysAsked({ from: '2020-01-01' }, nowMs), { from: '2020-01-01', to: '2026-11-30', isNone: false })
  t.match(daysAsked({ from: '2026-12-01' }, nowMs), { isNone: true })
  t.same(daysAsked({ to: '0000-01-02' }, nowMs), { from: '0000-01-01', to: '0000-01-02', isNone: false })
})
