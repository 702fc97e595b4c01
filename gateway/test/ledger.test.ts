// The books: what is under way when the gateway dies counts as spent, and history does not change.
import { cpSync } from 'node:fs'
import t from 'tap'
import type { Amounts } from '../src/allowance.ts'
import { type Limit, openLedger, type Scope } from '../src/ledger.ts'
import { NO_USAGE } from '../src/wire/wire.ts'

const COMMAND: Scope = { scope: 'command', id: 'c' }
const CALL = { attemptId: 'c.1', wire: 'gemini', model: 'm', atMs: 5, rates: { input_mtok: 1 } } as const
const RESERVED: Amounts = { microUsd: 40, tokens: 30, requests: 1 }
const allow = () => ({ ok: true, outputTokensMax: 9, reserved: RESERVED }) as const

t.test('a call that was under way when the gateway died has cost what was reserved', async (t) => {
  const dir = t.testdir()
  const ledger = openLedger({ file: `${dir}/one/ledger.db`, nowMs: 1 })
  t.teardown(ledger.close)
  const first = ledger.begin(CALL, [COMMAND], [], allow)
  ledger.begin(CALL, [COMMAND], [], allow)
  const usage = { ...NO_USAGE, inputTokens: 3, outputTokens: 4 }
  if (first.ok) ledger.settle({ callId: first.callId, atMs: 6, state: 'settled', status: 200, usage, costMicroUsd: 7 })
  t.same(ledger.used(COMMAND, 'microUsd'), { spent: 7, reserved: 40 })

  // As kill -9 would leave it.
  cpSync(`${dir}/one`, `${dir}/two`, { recursive: true })
  const next = openLedger({ file: `${dir}/two/ledger.db`, nowMs: 99 })
  t.same(next.used(COMMAND, 'microUsd'), { spent: 47, reserved: 0 })
  t.same(next.used(COMMAND, 'tokens'), { spent: 37, reserved: 0 })
  t.match(next.calls('c.1'), [
    { state: 'settled', costMicroUsd: 7, usage },
    { state: 'unknown', endedAtMs: 99, costMicroUsd: 40 },
  ])
  next.close()
  const third = openLedger({ file: `${dir}/two/ledger.db`, nowMs: 100 })
  t.same(third.used(COMMAND, 'microUsd'), { spent: 47, reserved: 0 }, 'once')
  third.close()
})

t.test('settled is settled, and a refusal leaves nothing', async (t) => {
  const ledger = openLedger({ file: `${t.testdir()}/ledger.db`, nowMs: 1 })
  t.teardown(ledger.close)
  const limits: Limit[] = [{ ...COMMAND, unit: 'microUsd', most: 50 }]
  const begun = ledger.begin(CALL, [COMMAND], limits, (left) => {
    t.same(left, { microUsd: 50, tokens: Number.POSITIVE_INFINITY, requests: Number.POSITIVE_INFINITY })
    return allow()
  })
  t.match(begun, { ok: true, outputTokensMax: 9 })
  t.same(
    ledger.begin(CALL, [COMMAND], limits, ({ microUsd }) => {
      t.equal(microUsd, 10)
      return { ok: false, unit: 'microUsd' }
    }),
    { ok: false, unit: 'microUsd', scope: COMMAND },
  )
  t.equal(ledger.calls('c.1').length, 1)
  for (const costMicroUsd of [1, 1000])
    ledger.settle({ callId: 1, atMs: 6, state: 'settled', status: 200, usage: NO_USAGE, costMicroUsd })
  t.same(ledger.used(COMMAND, 'microUsd'), { spent: 1, reserved: 0 })
})

t.test('what is over, old and passed on is forgotten, and what it cost is not', async (t) => {
  const ledger = openLedger({ file: `${t.testdir()}/ledger.db`, nowMs: 1 })
  t.teardown(ledger.close)
  const day: Scope = { scope: 'day', id: '2026-11-22' }
  const use = (attemptId: string, commandId: string) => {
    ledger.openSession({ attemptId, agentId: 'a', commandId, profile: null }, 1)
    const begun = ledger.begin({ ...CALL, attemptId }, [{ scope: 'command', id: commandId }, day], [], allow)
    if (!begun.ok) throw new Error('it was allowed')
    ledger.settle({ callId: begun.callId, atMs: 6, state: 'settled', status: 200, usage: NO_USAGE, costMicroUsd: 7 })
    const tunnel = { host: 'h', port: 1, address: null, startedAtMs: 1, endedAtMs: 1, refused: 'no' }
    ledger.addTunnel(attemptId, tunnel)
    return begun.callId
  }
  const [old, other, unreported, open] = [use('c.1', 'c'), use('d.1', 'd'), use('d.2', 'd'), use('e.1', 'e')]
  ledger.report([old, other, open])
  for (const attemptId of ['c.1', 'd.1', 'd.2']) ledger.closeSession(attemptId, 50)
  t.equal(ledger.prune(50), 0, 'not before its time')
  t.equal(ledger.prune(51), 2)
  for (const attemptId of ['c.1', 'd.1'])
    t.same([ledger.session(attemptId), ledger.calls(attemptId), ledger.tunnels(attemptId)], [null, [], []])
  t.match(ledger.unreported('a', 9), [{ callId: unreported }])
  t.match(ledger.calls('e.1'), [{ callId: open }])
  t.same(ledger.used({ scope: 'command', id: 'c' }, 'microUsd'), { spent: 0, reserved: 0 })
  t.same(ledger.used({ scope: 'command', id: 'd' }, 'microUsd'), { spent: 14, reserved: 0 }, 'another attempt is left')
  t.same(ledger.used(day, 'microUsd'), { spent: 28, reserved: 0 })
})

t.test('how the newest call failed is known until one succeeds', async (t) => {
  const ledger = openLedger({ file: `${t.testdir()}/ledger.db`, nowMs: 1, newGatewayId: 'g' })
  t.teardown(ledger.close)
  t.equal(ledger.gatewayId, 'g')
  ledger.openSession({ attemptId: 'c.1', agentId: 'a', commandId: 'c', profile: 'p' }, 1)
  t.match(ledger.session('c.1'), { profile: 'p', openedAtMs: 1, closedAtMs: null, lastError: null })
  const end = (status: number | null, failure: string | null) => {
    const begun = ledger.begin(CALL, [COMMAND], [], allow)
    if (begun.ok)
      ledger.settle({
        ...{ callId: begun.callId, atMs: 2, state: 'settled', status, failure },
        usage: NO_USAGE,
        costMicroUsd: 0,
      })
    return ledger.session('c.1')?.lastError
  }
  t.same(end(529, 'answered 529'), { status: 529, message: 'answered 529' })
  t.same(end(null, 'not there'), { status: null, message: 'not there' })
  t.same(end(200, null), null)
  ledger.failed('c.1', 400, 'not allowed')
  t.same(ledger.session('c.1')?.lastError, { status: 400, message: 'not allowed' })
})
