import type { Outcome, SimpleReport } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import type { Turn } from '../../src/lifecycle/agent.ts'
import { type Command, phaseOf } from '../../src/lifecycle/command.ts'
import { leaseExpiresAtMs, serverLeaseMs } from '../../src/lifecycle/lease-policy.ts'
import { commandRecord } from '../../src/lifecycle/record.ts'
import { nextCommand, outcomeOf, simpleReport } from '../../src/lifecycle/simple-api.ts'
import {
  after,
  afterTurn,
  agent,
  cancelled,
  completed,
  entriesOf,
  failure,
  finish,
  hashOf,
  LEASE_MS,
  lost,
  offered,
  policy,
  running,
  simpleAgent,
  stateOf,
  takenOver,
  turn,
  waiting,
} from './builders.ts'

const NOW = 1000
const LEASE_OVER = serverLeaseMs(LEASE_MS)
const next = (shown: Turn, nowMs = NOW) => nextCommand(shown, { agentId: 'x', nowMs, policy, leaseMs: LEASE_MS })

const report = (
  command: Command | undefined,
  body: Partial<SimpleReport> = {},
  shown: Parameters<typeof turn>[0] = {},
) => {
  const whole: SimpleReport = { agentId: 'x', ...body }
  const outcome = outcomeOf(whole)
  const context = {
    agentId: 'x',
    nowMs: NOW,
    policy,
    leaseMs: LEASE_MS,
    random: 0.5,
    outcome,
    outcomeSha256: hashOf(outcome),
  }
  const asked = command === undefined ? [] : [command]
  const decision = simpleReport(
    turn({ agent: simpleAgent('x'), asked, ...shown }),
    command?.commandId ?? 'nowhere',
    whole,
    context,
  )
  const { answer, evidence } = decision
  return {
    ...decision,
    answer,
    evidence,
    command: command && afterTurn(decision, command),
    code: answer.ok ? null : answer.code,
  }
}

t.test('next offers, accepts and grants in one step, and the lease lasts for the timeout of the command', async (t) => {
  const command = waiting('a', { timeoutMs: 60_000 })
  const decision = next(turn({ agent: null, ready: [command] }))
  t.same(entriesOf(decision), ['offered', 'granted'])
  t.match(decision.answer, { ok: true, command: { commandId: 'a', status: 'RUNNING' } })
  t.match(afterTurn(decision, command).attempts, [
    { number: 1, state: 'RUNNING', agentId: 'x', incarnation: 1, leaseMs: 62_600 },
  ])
  t.match(decision.agent, {
    kind: 'simple',
    agentId: 'x',
    incarnation: 1,
    inventoried: true,
    renewedAtMs: NOW,
    journalId: null,
  })
  const limited = next(turn({ agent: null, ready: [waiting('a', { timeoutMs: 60_000, totalTimeoutMs: 11_000 })] }))
  t.match(limited.changes[1]?.command.attempts[0], { leaseMs: serverLeaseMs(10_000) }, 'or what is left of it')
})

t.test('next takes the most urgent of all types, then the oldest', async (t) => {
  const ready = [
    waiting('c'),
    waiting('b', { type: 'HTTP_GET_JSON', priority: 5 }),
    waiting('a', { priority: 5 }),
    waiting('d', { priority: -1 }),
  ]
  t.match(next(turn({ agent: null, ready })).answer, { command: { commandId: 'a' } })
})

t.test(
  'next answers with nothing, and renews, where nothing is ready, or expired this moment, or a recovery is under way',
  async (t) => {
    for (const shown of [
      {},
      { ready: [waiting('a', { expiresAtMs: NOW })] },
      { ready: [waiting('a')], recovering: ['y'] },
    ]) {
      const decision = next(turn({ agent: simpleAgent('x', { incarnation: 4 }), ...shown }))
      t.same(decision.answer, { ok: true, command: null })
      t.same(decision.changes, [])
      t.match(decision.agent, { renewedAtMs: NOW, incarnation: 4 })
    }
  },
)

t.test('an id that an agent uses which syncs', async (t) => {
  t.test('is refused while that one lives, or while its journal is awaited', async (t) => {
    const refused = (shown: Turn, nowMs?: number) => {
      const decision = next(shown, nowMs)
      t.match(decision.answer, { ok: false, code: 'IDENTITY_CONFLICT' })
      t.same([decision.changes, decision.agent], [[], undefined])
    }
    refused(turn({ ready: [waiting('a')] }), LEASE_OVER - 1)
    refused(turn({ ready: [waiting('a')], epoch: 'epoch-two', recovering: ['x'] }), LEASE_OVER)
  })

  t.test('is free after its lease, and what that one held does not live on by the calls of another', async (t) => {
    const owned = [offered('a'), running('b'), lost('c')]
    const ready = [waiting('d')]
    const decision = next(turn({ agent: agent('x', { incarnation: 3 }), owned, ready }), LEASE_OVER)
    t.match(decision, { agent: { kind: 'simple', incarnation: 4 }, answer: { command: { commandId: 'd' } } })
    t.same(entriesOf(decision), ['withdrawn', 'lost', 'offered', 'granted'])
    t.same(
      owned.map((command) => phaseOf(afterTurn(decision, command))),
      ['WAITING', 'LOST', 'LOST'],
    )
    const empty = next(turn({ agent: agent('x', { incarnation: 3 }), owned }), LEASE_OVER)
    t.same(entriesOf(empty), ['withdrawn', 'lost'], 'also where there is nothing to hand out')
    const again = next(turn({ agent: simpleAgent('x'), owned: [running('b')] }))
    t.same(again.changes, [], 'its own work goes on')
  })
})

t.test('a client that forgot a command and goes on asking for others does not keep it RUNNING for ever', async (t) => {
  const attempt = running('a').attempts[0]
  if (attempt === undefined) return t.fail('no attempt')
  const leaseMs = attempt.leaseMs
  const at = (renewedAtMs: number) => leaseExpiresAtMs(attempt, simpleAgent('x', { renewedAtMs }))
  t.equal(at(0), 200 + leaseMs, 'from the grant')
  t.equal(at(5000), 5000 + leaseMs, 'any call renews it')
  t.equal(at(10 ** 9), 200 + 2 * leaseMs, 'for as long again')
})

t.test('an agent that was told a longer lease after the grant is waited for as long', async (t) => {
  const attempt = running('a').attempts[0]
  if (attempt === undefined) return t.fail('no attempt')
  t.equal(leaseExpiresAtMs(attempt, agent('x', { renewedAtMs: 5000 })), 5000 + LEASE_OVER)
  t.equal(leaseExpiresAtMs(attempt, agent('x', { renewedAtMs: 5000, leaseMs: 60_000 })), 5000 + serverLeaseMs(60_000))
  t.equal(leaseExpiresAtMs(attempt, agent('x', { renewedAtMs: 5000, leaseMs: 1000 })), 5000 + LEASE_OVER)
})

t.test('a report', async (t) => {
  t.test('of a result completes the command and renews the lease', async (t) => {
    for (const command of [running('a'), lost('a')]) {
      const answer = report(command, { result: [1] })
      t.match(answer, {
        code: null,
        command: { status: 'COMPLETED', result: [1] },
        agent: { renewedAtMs: NOW, kind: 'simple' },
      })
    }
    t.match(report(running('a'), { result: null }).command, { status: 'COMPLETED', result: null })
  })

  t.test('of an error fails it, or brings the next attempt where that was asked for', async (t) => {
    t.match(report(running('a'), { error: 'no such file' }).command, {
      status: 'FAILED',
      error: { code: 'EXECUTION_FAILED', message: 'no such file', retryable: false },
    })
    const error = { message: 'try later', code: 'BUSY', retryable: true, details: { afterS: 5 } }
    t.match(report(running('a'), { error }).command, { status: 'FAILED', error })
    t.match(report(running('a', { maxAttempts: 2 }), { error }).command, {
      status: 'PENDING',
      attempts: [{ state: 'FAILED' }],
    })
  })

  t.test('that is repeated word for word is answered as the first time', async (t) => {
    const first = report(running('a'), { result: [1] })
    const again = report(first.command, { result: [1] })
    t.same([again.code, again.changes, again.evidence], [null, [], []])
    const other = report(first.command, { result: [2] })
    t.equal(other.code, 'COMMAND_NOT_RUNNING')
    t.match(other.evidence, [{ attemptId: 'a.1', agentId: 'x', verdict: 'rejected', outcome: { result: [2] } }])
    const retrying = report(running('a', { maxAttempts: 2 }), { error: { message: 'm', retryable: true } })
    t.equal(
      report(retrying.command, { error: { message: 'm', retryable: true } }).code,
      null,
      'also while it waits for a retry',
    )
  })

  t.test('of the next attempt is not taken for a repetition because it says the same', async (t) => {
    const error = { message: 'm', retryable: true }
    const retrying = report(running('a', { maxAttempts: 2 }), { error }).command as Command
    const decision = next(turn({ agent: simpleAgent('x'), ready: [{ ...retrying, availableAtMs: null }] }))
    const second = afterTurn(decision, retrying)
    t.same(stateOf(second).attempts, [[2, 'RUNNING', 'x']])
    t.match(report(second, { error }).command, { status: 'FAILED', attempts: [{ number: 2, state: 'FAILED' }] })
  })

  // Broken before: only the newest attempts were looked at, and the repeat was refused as another's command.
  t.test(
    'that is repeated is answered as the first time also when others have worked on the command since',
    async (t) => {
      const error = { message: 'm', retryable: true }
      const first = report(running('a', { maxAttempts: 3 }), { error }).command as Command
      const [mine] = first.attempts
      const third = running('a', { agentId: 'y', maxAttempts: 3 })
      const attempts = [mine, ...third.attempts.map((attempt) => ({ ...attempt, number: 3 }))] as Command['attempts']
      t.equal(report({ ...third, attempts }, { error }).code, null)
      t.equal(report({ ...third, attempts }, { error, attempt: 1 }).code, null)
      t.equal(report({ ...third, attempts }, { error, attempt: 2 }).code, 'NOT_YOUR_COMMAND')
    },
  )

  const refused = (t: Test, code: string, answer: ReturnType<typeof report>, evidence: string[]) => {
    t.equal(answer.code, code)
    t.same(answer.changes, [], 'nothing changed')
    t.notOk('agent' in answer, 'no lease renewed')
    t.same(
      answer.evidence.map(({ attemptId, verdict }) => `${attemptId} ${verdict}`),
      evidence,
    )
  }

  t.test('is refused, and kept as evidence, where the command is not RUNNING', async (t) => {
    refused(t, 'COMMAND_NOT_RUNNING', report(completed('a'), { result: 'other' }), ['a.1 rejected'])
    refused(t, 'COMMAND_NOT_RUNNING', report(cancelled('a'), { result: 1 }), ['a.1 rejected'])
    refused(t, 'COMMAND_NOT_RUNNING', report(takenOver('a'), { result: 1 }), ['a.1 rejected'])
    refused(t, 'COMMAND_NOT_RUNNING', report(waiting('a'), { result: 1 }), [])
    refused(t, 'COMMAND_NOT_RUNNING', report(completed('a', { agentId: 'y' }), { result: { ok: true } }), [])
  })

  t.test('is refused where another agent holds the command, or another attempt runs, or the agent syncs', async (t) => {
    refused(t, 'NOT_YOUR_COMMAND', report(running('a', { agentId: 'y' }), { result: 1 }), [])
    refused(t, 'NOT_YOUR_COMMAND', report(running('a'), { result: 1, attempt: 2 }), ['a.2 rejected'])
    refused(t, 'NOT_YOUR_COMMAND', report(running('a'), { result: 1 }, { agent: agent('x') }), ['a.1 rejected'])
    t.equal(report(running('a'), { result: 1, attempt: 1 }).code, null, 'the number of the attempt may be said')
    // The agent that synced under this id may still be at work on it.
    const later = simpleAgent('x', { incarnation: 2 })
    for (const command of [running('a'), lost('a')])
      refused(t, 'NOT_YOUR_COMMAND', report(command, { result: 1 }, { agent: later }), ['a.1 rejected'])
  })

  t.test('is refused where there is no such command', async (t) => {
    refused(t, 'COMMAND_NOT_FOUND', report(undefined, { result: 1 }), [])
  })

  t.test('of a cancelled attempt stands if the work was done first', async (t) => {
    const wished = after(running('a'), { type: 'cancel', nowMs: 500, reason: 'stop' })
    t.match(report(wished, { result: 1 }).command, { status: 'COMPLETED' })
    t.match(report(wished, { error: 'gave up' }).command, { status: 'FAILED' })
  })
})

t.test('an error may be a sentence or an object, and without a code it has one all the same', async (t) => {
  const of = (error: NonNullable<SimpleReport['error']>): Outcome => outcomeOf({ agentId: 'x', error })
  t.same(of('broken'), { state: 'FAILED', error: { code: 'EXECUTION_FAILED', message: 'broken', retryable: false } })
  t.same(of({ message: 'broken', code: 'MINE' }), {
    state: 'FAILED',
    error: { code: 'MINE', message: 'broken', retryable: false },
  })
  t.same(of({ message: 'm', retryable: true, details: null }).error, {
    ...{ code: 'EXECUTION_FAILED', message: 'm', retryable: true, details: null },
  })
  t.same(outcomeOf({ agentId: 'x', result: false }), { state: 'SUCCEEDED', result: false })
})

t.test('the record names the agent that has the command, had it last, or made its outcome', async (t) => {
  const agentOf = (command: Command) => commandRecord(command, command.attempts, NOW).agentId
  t.equal(agentOf(waiting('a')), null)
  t.equal(agentOf(offered('a')), 'x')
  t.equal(agentOf(after(offered('a'), { type: 'withdraw', nowMs: 200, reason: 'draining' })), null)
  t.equal(agentOf(lost('a')), 'x')
  t.equal(agentOf(cancelled('a')), null, 'it was never granted')
  const second = after(takenOver('a'), { type: 'offer', nowMs: 60_000, agentId: 'y' })
  t.equal(agentOf(after(second, finish({ nowMs: 60_001 }))), 'x', 'not the one whose offer was withdrawn')
  t.equal(agentOf(after(takenOver('a'), finish({ nowMs: 60_001, outcome: failure('HTTP_ERROR') }))), 'x')
})
