import type { HeldAttempt, SyncRequest } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import type { Turn, TurnDecision } from '../../src/lifecycle/agent.ts'
import { type Command, phaseOf } from '../../src/lifecycle/command.ts'
import { heartbeat } from '../../src/lifecycle/heartbeat.ts'
import { answerSync, type SyncContext, type Synced } from '../../src/lifecycle/sync.ts'
import {
  after,
  afterTurn,
  agent,
  cancelled,
  completed,
  entriesOf,
  failed,
  failure,
  finish,
  hashOf,
  heldAccepted,
  heldFinished,
  heldRunning,
  heldUntold,
  interrupted,
  LEASE_MS,
  lost,
  offered,
  running,
  simpleAgent,
  stateOf,
  succeeded,
  syncContext,
  syncRequest,
  takenOver,
  turn,
  waiting,
  withOffer,
} from './builders.ts'

const sync = (shown: Turn, request: Partial<SyncRequest> = {}, context: Partial<SyncContext> = {}) =>
  answerSync(shown, syncRequest(request), syncContext(context))

const responseOf = (decision: TurnDecision<Synced>) => {
  if (!decision.answer.ok) throw new Error(`refused: ${decision.answer.code}`)
  const { grants, drop, acks, desired, offers } = decision.answer.response
  return {
    grants,
    drop,
    acks: acks.map(({ attemptId, verdict }) => `${attemptId} ${verdict}`),
    cancels: desired.map(({ attemptId }) => attemptId),
    offers: offers.map(({ attemptId }) => attemptId),
  }
}
const nothing = { grants: [], drop: [], acks: [], cancels: [], offers: [] }
type Told = ReturnType<typeof told>
/** What is not named must be empty: `t.match` would let any array pass for an empty one. */
const says = (
  t: Test,
  answer: Told,
  expected: Partial<ReturnType<typeof responseOf>> & { entries?: string[]; command?: object },
  what = 'the answer',
) => {
  const { entries, command, ...response } = expected
  const { grants, drop, acks, cancels, offers } = answer
  t.same({ grants, drop, acks, cancels, offers }, { ...nothing, ...response }, what)
  if (entries !== undefined) t.same(answer.entries, entries, `${what}: transitions`)
  if (command !== undefined) t.match(answer.command, command, `${what}: command`)
}

const refusalOf = (decision: TurnDecision<Synced>) => (decision.answer.ok ? null : decision.answer.code)
const unchanged = (t: Test, { changes, evidence, agent }: TurnDecision<unknown>) =>
  t.same(
    { changes, evidence, agent },
    { changes: [], evidence: [], agent: undefined },
    'nothing is changed, no lease renewed',
  )

/** One held item against one command: the answer, and the command after it. */
const told = (
  item: HeldAttempt,
  command: Command,
  options: { request?: Partial<SyncRequest>; turn?: Parameters<typeof turn>[0] } = {},
) => {
  const mine = ['OFFERED', 'RUNNING', 'LOST'].includes(phaseOf(command)) && command.attempts.at(-1)?.agentId === 'x'
  const shown = turn({ ...(mine ? { owned: [command] } : { asked: [command] }), ...options.turn })
  const decision = sync(shown, { held: [item], ...options.request })
  return { ...responseOf(decision), decision, command: afterTurn(decision, command), entries: entriesOf(decision) }
}

t.test('who may sync', async (t) => {
  t.test('only an agent that has registered here, in this epoch, as its newest process', async (t) => {
    const newest = agent('x', { incarnation: 3 })
    const cases: [string, Turn, Partial<SyncRequest>][] = [
      ['NOT_REGISTERED', turn({ agent: null }), {}],
      ['NOT_REGISTERED', turn({ agent: simpleAgent('x') }), {}],
      ['NOT_REGISTERED', turn({ agent: newest }), { incarnation: 4 }],
      ['INCARNATION_SUPERSEDED', turn({ agent: newest }), { incarnation: 2 }],
      ['EPOCH_CHANGED', turn({ agent: newest, epoch: 'epoch-two' }), { incarnation: 3 }],
      ['EPOCH_CHANGED', turn({ agent: newest, epoch: 'epoch-two' }), { incarnation: 3, epoch: 'epoch-two' }],
      ['EPOCH_CHANGED', turn({ agent: newest }), { incarnation: 3, epoch: 'epoch-zero' }],
    ]
    for (const [code, shown, request] of cases) {
      const decision = sync(shown, { ...request, held: [heldFinished('a.1')] })
      t.equal(refusalOf(decision), code)
      unchanged(t, decision)
      t.notOk('newEpoch' in decision)
    }
  })

  t.test('a request that is not newer than the last one answered changes nothing', async (t) => {
    for (const seq of [6, 7]) {
      const shown = turn({ agent: agent('x', { seq: 7 }), owned: [running('a')], ready: [waiting('b')] })
      const decision = sync(shown, { seq, want: { DELAY: 1 } })
      t.equal(refusalOf(decision), 'STALE_SYNC')
      unchanged(t, decision)
    }
    t.equal(refusalOf(sync(turn({ agent: agent('x', { seq: 7 }) }), { seq: 8 })), null)
  })

  t.test('a server that was rolled back begins a new epoch as soon as an agent shows a later revision', async (t) => {
    const shown = turn({ rev: 100, owned: [running('a')], ready: [waiting('b')] })
    const decision = sync(shown, { revSeen: 101, want: { DELAY: 1 } })
    t.equal(refusalOf(decision), 'EPOCH_CHANGED')
    unchanged(t, decision)
    t.equal(decision.newEpoch, 'epoch-two')
    t.equal(refusalOf(sync(turn({ rev: 100 }), { revSeen: 100 })), null, 'the same revision proves nothing')
    const old = sync(turn({ rev: 100, agent: agent('x', { seq: 5 }) }), { revSeen: 101, seq: 5 })
    t.notOk('newEpoch' in old, 'nor does a request from before')
  })

  t.test('a journal that has gone back under a living process has to register again, which finds out', async (t) => {
    const shown = turn({ agent: agent('x', { logSeq: 9, seq: 3 }), owned: [running('a')] })
    const decision = sync(shown, { seq: 4, logSeq: 8, held: [heldAccepted('a.1')] })
    t.equal(refusalOf(decision), 'NOT_REGISTERED')
    unchanged(t, decision)
    t.equal(refusalOf(sync(shown, { seq: 4, logSeq: 9 })), null)
  })

  t.test('the agent is remembered as it said it is, and its lease begins anew', async (t) => {
    const request = { seq: 9, logSeq: 60, mode: 'draining' as const, clockMs: 1250, incarnation: 2 }
    const decision = sync(turn({ agent: agent('x', { incarnation: 2, logSeq: 50, inventoried: false }) }), request)
    t.match(decision.agent, { seq: 9, mode: 'draining', clockSkewMs: 250, renewedAtMs: 1000, lastSeenAtMs: 1000 })
    t.match(decision.agent, { inventoried: true, leaseMs: LEASE_MS })
    t.equal(decision.agent?.logSeq, 60)
    t.match(decision.answer, {
      ok: true,
      response: { incarnation: 2, seq: 9, epoch: 'epoch-one', leaseMs: LEASE_MS, recovery: false },
    })
  })
})

t.test('accepted', async (t) => {
  t.test('and OFFERED: granted, durably, to this incarnation', async (t) => {
    const shown = agent('x', { incarnation: 4 })
    const { grants, command, decision } = told(heldAccepted('a.1'), offered('a'), {
      request: { incarnation: 4 },
      turn: { agent: shown },
    })
    t.same(grants, ['a.1'])
    t.match(command, {
      status: 'RUNNING',
      grantedCount: 1,
      attempts: [{ incarnation: 4, grantedAtMs: 1000, leaseMs: 32_300 }],
    })
    t.match(decision.changes[0]?.entry, { type: 'granted', from: 'OFFERED', to: 'RUNNING', attempt: 1, agentId: 'x' })
  })

  t.test('and granted before: granted again, for the answer was lost', async (t) => {
    const same = told(heldAccepted('a.1'), running('a'))
    says(t, same, { grants: ['a.1'], entries: [] })
    const next = told(heldAccepted('a.1'), running('a'), {
      request: { incarnation: 2 },
      turn: { agent: agent('x', { incarnation: 2 }) },
    })
    says(t, next, {
      grants: ['a.1'],
      entries: ['regranted'],
      command: { grantedCount: 1, attempts: [{ incarnation: 2 }] },
    })
  })

  t.test('and granted to a state of the journal that is gone: LOST, dropped, and never granted again', async (t) => {
    const shown = agent('x', { incarnation: 5, trustedSince: 5 })
    const options = { request: { incarnation: 5 }, turn: { agent: shown } }
    const first = told(heldAccepted('a.1'), running('a', { incarnation: 4 }), options)
    says(t, first, { grants: [], drop: ['a.1'], entries: ['lost'] })
    t.equal(phaseOf(first.command), 'LOST')
    const again = told(heldAccepted('a.1'), first.command, { ...options, request: { incarnation: 5, seq: 2 } })
    says(t, again, { grants: [], drop: ['a.1'], entries: [] })
  })

  t.test('and LOST: granted, for it never started', async (t) => {
    says(t, told(heldAccepted('a.1'), lost('a')), { grants: ['a.1'], command: { status: 'RUNNING' } })
  })

  t.test('and a cancel was asked for: cancelled instead of granted', async (t) => {
    for (const command of [running('a'), lost('a')]) {
      const wished = after(command, { type: 'cancel', nowMs: 500, reason: 'no more needed' })
      const answer = told(heldAccepted('a.1'), wished)
      says(t, answer, { grants: [], drop: [], cancels: ['a.1'], command: { status: 'RUNNING' } })
      const response = answer.decision.answer.ok ? answer.decision.answer.response : undefined
      t.match(response?.desired, [{ attemptId: 'a.1', cancel: 'no more needed', graceMs: 5000 }])
    }
  })

  t.test('and anything else: dropped', async (t) => {
    const gone = [
      waiting('a'),
      after(offered('a'), { type: 'withdraw', nowMs: 500, reason: 'notAccepted' }),
      after(offered('a'), { type: 'tick', nowMs: 40_000 }, { type: 'offer', nowMs: 40_001, agentId: 'y' }),
      running('a', { agentId: 'y' }),
      lost('a', { agentId: 'y' }),
      completed('a'),
      failed('a'),
      cancelled('a'),
      takenOver('a'),
    ]
    for (const command of gone) {
      const answer = told(heldAccepted('a.1'), command)
      says(t, answer, { drop: ['a.1'], entries: [] }, `${phaseOf(command)} ${command.attempts.at(-1)?.state}`)
    }
    says(t, told(heldAccepted('nowhere.1'), waiting('a')), { drop: ['nowhere.1'] })
  })

  t.test('too late for expiresAt: dropped, and the command ends at once instead of being offered again', async (t) => {
    const { drop, grants, offers, command } = told(heldAccepted('a.1'), offered('a', { expiresAtMs: 900 }))
    t.match({ drop, grants, offers }, { drop: ['a.1'], grants: [], offers: [] })
    t.match(command, { status: 'FAILED', error: { code: 'EXPIRED' } })
  })
})

t.test('running', async (t) => {
  t.test('and RUNNING: goes on, and is told where a cancel is wanted', async (t) => {
    says(t, told(heldRunning('a.1'), running('a')), { entries: [] })
    const wished = after(running('a'), { type: 'cancel', nowMs: 500, reason: 'no more needed' })
    says(t, told(heldRunning('a.1'), wished), { cancels: ['a.1'] })
  })

  t.test('and LOST: it is back, and a cancel that was asked for meanwhile reaches it', async (t) => {
    says(t, told(heldRunning('a.1'), lost('a')), { entries: ['agentReturned'], command: { status: 'RUNNING' } })
    const wished = after(lost('a'), { type: 'cancel', nowMs: 500, reason: 'no more needed' })
    says(t, told(heldRunning('a.1'), wished), { cancels: ['a.1'], entries: ['agentReturned'] })
  })

  t.test('and anything else: dropped, the agent stops it', async (t) => {
    const second = after(takenOver('a'), { type: 'offer', nowMs: 60_000, agentId: 'y' })
    for (const command of [
      waiting('a'),
      offered('a'),
      completed('a'),
      cancelled('a'),
      takenOver('a'),
      second,
      running('a', { agentId: 'y' }),
    ])
      says(t, told(heldRunning('a.1'), command), { drop: ['a.1'], entries: [] }, phaseOf(command))
    says(t, told(heldRunning('a.2'), running('a')), { drop: ['a.2'] }, 'an attempt that was never made')
    says(t, told(heldRunning('nowhere.1'), waiting('a')), { drop: ['nowhere.1'] })
  })

  t.test('an attempt of which the outcome comes later is held all the same', async (t) => {
    says(t, told(heldUntold('a.1'), running('a')), { entries: [] })
    says(t, told(heldUntold('a.1'), lost('a')), { entries: ['agentReturned'] })
    says(t, told(heldUntold('a.1'), completed('a')), { entries: [] })
    const again = after(
      takenOver('a'),
      { type: 'offer', nowMs: 60_000, agentId: 'x' },
      { type: 'grant', nowMs: 60_001, agentId: 'x', incarnation: 1, leaseMs: 1 },
      { type: 'lose', nowMs: 60_002, reason: 'absent' },
    )
    says(t, told(heldUntold('a.1'), again), { entries: [] }, 'only the one it names')
    says(t, told(heldUntold('nowhere.1'), waiting('a')), { entries: [] })
  })
})

t.test('finished', async (t) => {
  t.test('and RUNNING or LOST: stored and acknowledged', async (t) => {
    for (const command of [running('a'), lost('a')]) {
      const answer = told(heldFinished('a.1', succeeded([7])), command)
      says(t, answer, { acks: ['a.1 accepted'], entries: ['completed'] })
      t.match(answer.command, {
        status: 'COMPLETED',
        result: [7],
        attempts: [{ outcomeSha256: hashOf(succeeded([7])) }],
      })
      t.same(answer.decision.evidence, [])
    }
  })

  t.test('of the last granted attempt while the command waits again: stored, the offer withdrawn', async (t) => {
    const second = after(takenOver('a'), { type: 'offer', nowMs: 60_000, agentId: 'y' })
    for (const command of [takenOver('a', { random: 0.5 }), second]) {
      const answer = told(heldFinished('a.1'), command)
      says(t, answer, { acks: ['a.1 accepted'], command: { status: 'COMPLETED' } })
    }
    const mine = after(takenOver('a'), { type: 'offer', nowMs: 60_000, agentId: 'x' })
    const answer = told(heldFinished('a.1'), mine)
    says(t, answer, { acks: ['a.1 accepted'], offers: [] }, 'an offer to the same agent is off too')
    says(t, told(heldAccepted('a.2'), answer.command), { drop: ['a.2'] })
  })

  t.test('twice with the same outcome: acknowledged again, nothing changed', async (t) => {
    const first = told(heldFinished('a.1'), running('a'))
    says(t, told(heldFinished('a.1'), first.command), { acks: ['a.1 duplicate'], entries: [] })
    const retrying = told(heldFinished('a.1', interrupted), running('a', { maxAttempts: 2 }))
    t.equal(retrying.command.status, 'PENDING')
    says(t, told(heldFinished('a.1', interrupted), retrying.command), { acks: ['a.1 duplicate'], entries: [] })
    const late = told(heldFinished('a.1', interrupted), takenOver('a'))
    says(t, told(heldFinished('a.1', interrupted), late.command), {
      acks: ['a.1 duplicate'],
      entries: [],
      command: { crashCount: 1 },
    })
  })

  t.test('twice with two outcomes: the first stands, the second is kept as evidence and rejected', async (t) => {
    const { command } = told(heldFinished('a.1', succeeded([1])), running('a'))
    const answer = told(heldFinished('a.1', succeeded([2])), command)
    says(t, answer, { acks: ['a.1 rejected'], entries: [], command: { result: [1] } })
    t.match(answer.decision.evidence, [
      { attemptId: 'a.1', agentId: 'x', verdict: 'rejected', outcome: succeeded([2]) },
    ])
  })

  t.test('of an attempt that is not current: kept as evidence, acknowledged, nothing changed', async (t) => {
    const second = after(
      takenOver('a'),
      { type: 'offer', nowMs: 60_000, agentId: 'y' },
      { type: 'grant', nowMs: 60_001, agentId: 'y', incarnation: 1, leaseMs: 1 },
    )
    const givenUp = after(lost('a', { lostAfterMs: 0 }), { type: 'tick', nowMs: 400 })
    for (const command of [second, givenUp, cancelled('a'), waiting('a'), offered('a')]) {
      const answer = told(heldFinished('a.1'), command)
      says(t, answer, { acks: ['a.1 superseded'], grants: [], drop: [], entries: [] }, phaseOf(command))
      t.match(answer.decision.evidence, [
        { attemptId: 'a.1', verdict: 'superseded', outcomeSha256: hashOf(succeeded()) },
      ])
    }
  })

  t.test('of another agent, though the attempt is current: kept as evidence, the attempt goes on', async (t) => {
    for (const command of [
      running('a', { agentId: 'y' }),
      lost('a', { agentId: 'y' }),
      takenOver('a', { agentId: 'y' }),
    ])
      says(t, told(heldFinished('a.1'), command), { acks: ['a.1 superseded'], entries: [] }, phaseOf(command))
    const done = completed('a', { agentId: 'y' })
    says(t, told(heldFinished('a.1'), done), { acks: ['a.1 rejected'], entries: [] }, 'also with the same outcome')
  })

  t.test('of a command the server does not know: an orphan, kept and acknowledged', async (t) => {
    const decision = sync(turn({}), { held: [heldFinished('gone.3', interrupted), heldFinished('gone.4')] })
    t.same(responseOf(decision).acks, ['gone.3 orphan', 'gone.4 orphan'])
    t.match(decision.evidence, [
      { attemptId: 'gone.3', verdict: 'orphan', outcome: interrupted },
      { attemptId: 'gone.4' },
    ])
  })

  t.test('one poisoned item never blocks the rest', async (t) => {
    const shown = turn({ owned: [running('a'), running('b'), offered('c')] })
    const held = [
      heldFinished('gone.1'),
      heldFinished('a.7'),
      heldFinished('b.1'),
      heldAccepted('c.1'),
      heldRunning('a.1'),
    ]
    const decision = sync(shown, { held })
    t.same(responseOf(decision), {
      ...nothing,
      acks: ['gone.1 orphan', 'a.7 superseded', 'b.1 accepted'],
      grants: ['c.1'],
    })
  })
})

t.test('interrupted', async (t) => {
  t.test('fails the command with that name where nobody asked for retries', async (t) => {
    for (const command of [running('a'), lost('a')])
      says(t, told(heldFinished('a.1', interrupted), command), {
        acks: ['a.1 accepted'],
        command: { status: 'FAILED', error: { code: 'INTERRUPTED' }, attempts: [{ state: 'INTERRUPTED' }] },
      })
  })

  t.test('is tried again where retries were asked for, and POISONED after so many agents', async (t) => {
    says(t, told(heldFinished('a.1', interrupted), running('a', { maxAttempts: 2 })), {
      acks: ['a.1 accepted'],
      command: { status: 'PENDING', crashCount: 1 },
    })
    const twice = { ...running('a', { maxAttempts: 9 }), crashCount: 2 }
    says(t, told(heldFinished('a.1', interrupted), twice), {
      acks: ['a.1 accepted'],
      command: { status: 'FAILED', error: { code: 'POISONED' } },
    })
  })
})

t.test('by absence', async (t) => {
  t.test('an offer that is not held is made again, as the same attempt, and counts against want', async (t) => {
    const shown = turn({ owned: [offered('a')], ready: [waiting('b'), waiting('c')] })
    const decision = sync(shown, { want: { DELAY: 2 } })
    t.same(responseOf(decision).offers, ['a.1', 'b.1'])
    t.same(entriesOf(decision), ['offered'], 'the repeated offer is no transition')
    t.same(responseOf(sync(shown, { want: {} })).offers, ['a.1'], 'free: also to an agent that is full')
  })

  t.test('what it was granted and does not hold is LOST', async (t) => {
    const decision = sync(turn({ owned: [running('a'), lost('b')] }), {})
    t.same(entriesOf(decision), ['lost'])
    t.match(decision.changes[0]?.entry, { detail: { reason: 'absent' } })
  })

  t.test('holding an earlier attempt is not holding the current one', async (t) => {
    const mine = after(takenOver('a'), { type: 'offer', nowMs: 900, agentId: 'x' })
    const decision = sync(turn({ owned: [mine] }), { held: [heldRunning('a.1')] })
    t.same(responseOf(decision), { ...nothing, drop: ['a.1'], offers: ['a.2'] })
  })

  t.test('an agent that drains or pauses gives its offers back and is offered nothing', async (t) => {
    for (const mode of ['draining', 'paused'] as const) {
      const shown = turn({ owned: [offered('a'), running('b')], ready: [waiting('c')] })
      const decision = sync(shown, { mode, want: { DELAY: 5 }, held: [heldRunning('b.1')] })
      t.same(responseOf(decision), nothing)
      t.same(entriesOf(decision), ['withdrawn'])
      t.match(decision.changes[0]?.entry.detail, { reason: mode })
      says(
        t,
        told(heldAccepted('a.1'), offered('a'), { request: { mode } }),
        { grants: ['a.1'] },
        'what it accepted it may finish',
      )
    }
  })
})

t.test('new offers', async (t) => {
  t.test(
    'are as many as are wanted of each type, in the order shown, with all the agent needs to run them',
    async (t) => {
      const ready = [
        waiting('a'),
        waiting('b'),
        waiting('c'),
        waiting('h', { type: 'HTTP_GET_JSON', takeover: 'auto', maxAttempts: 2 }),
      ]
      const decision = sync(turn({ ready }), { want: { DELAY: 2, HTTP_GET_JSON: 1 } })
      t.same(responseOf(decision).offers, ['a.1', 'b.1', 'h.1'])
      t.same(entriesOf(decision), ['offered', 'offered', 'offered'])
      t.match(decision.answer.ok && decision.answer.response.offers[2], {
        attemptId: 'h.1',
        commandId: 'h',
        attempt: 1,
        type: 'HTTP_GET_JSON',
        payload: { url: 'http://example.test/' },
        timeoutMs: 90_000,
        takeover: 'auto',
        resultBytesMax: 1_048_576,
        createdAtMs: 0,
      })
      t.same(responseOf(sync(turn({ ready }), { want: { DELAY: 0 } })).offers, [])
      t.same(responseOf(sync(turn({ ready }), {})).offers, [])
    },
  )

  t.test('give an attempt no more time than is left of totalTimeoutMs', async (t) => {
    const ready = [waiting('a', { timeoutMs: 60_000, totalTimeoutMs: 11_000 })]
    const decision = sync(turn({ ready }), { want: { DELAY: 1 } })
    t.equal(decision.answer.ok && decision.answer.response.offers[0]?.timeoutMs, 10_000)
  })

  t.test('are not made of what has expired, and that costs nobody a slot', async (t) => {
    const ready = [waiting('a', { expiresAtMs: 1000 }), waiting('b', { totalTimeoutMs: 1000 }), waiting('c')]
    t.same(responseOf(sync(turn({ ready }), { want: { DELAY: 1 } })).offers, ['c.1'])
  })
})

t.test('recovery: the server was restored from a backup', async (t) => {
  const recovering = ['x', 'y']

  t.test('nothing is granted and nothing is offered, whatever is held or wanted', async (t) => {
    const shown = turn({ recovering, owned: [offered('a'), offered('b'), running('c')], ready: [waiting('d')] })
    const held = [heldAccepted('a.1'), heldAccepted('c.1')]
    const decision = sync(shown, { held, want: { DELAY: 9 } })
    t.same(responseOf(decision), nothing, 'what was accepted is neither granted nor dropped')
    t.same(entriesOf(decision), ['withdrawn'], 'an offer that never arrived goes back')
    t.match(decision.answer, { ok: true, response: { recovery: true } })
  })

  t.test('a command that only the journal knows is taken in from its offer', async (t) => {
    const accepted = sync(turn({ recovering }), {
      held: [withOffer(heldAccepted('a.2'), { payload: { ms: 5 }, timeoutMs: 777 })],
    })
    t.match(accepted.changes.at(-1)?.command, {
      commandId: 'a',
      status: 'PENDING',
      spec: { payload: { ms: 5 }, timeoutMs: 777, retry: { maxAttempts: 1 } },
    })
    const runs = sync(turn({ recovering }), { held: [withOffer(heldRunning('a.2'))] })
    t.match(runs.changes.at(-1)?.command, { status: 'RUNNING', attempts: [{ number: 2, state: 'RUNNING' }] })
    const done = sync(turn({ recovering }), { held: [withOffer(heldFinished('a.2', succeeded([9])))] })
    t.match(done.changes.at(-1)?.command, { status: 'COMPLETED', result: [9] })
    t.same(responseOf(done).acks, ['a.2 accepted'])
    t.same(done.evidence, [])
  })

  t.test('without recovery, or without its offer, or with the offer of another attempt, it is not', async (t) => {
    const stranger = withOffer(heldRunning('a.2'), { attempt: 3, attemptId: 'a.3' })
    t.same(responseOf(sync(turn({}), { held: [withOffer(heldRunning('a.2'))] })), { ...nothing, drop: ['a.2'] })
    t.same(responseOf(sync(turn({ recovering }), { held: [heldRunning('a.2')] })), { ...nothing, drop: ['a.2'] })
    t.same(responseOf(sync(turn({ recovering }), { held: [stranger] })), { ...nothing, drop: ['a.2'] })
    t.same(responseOf(sync(turn({ recovering }), { held: [heldFinished('a.2')] })).acks, ['a.2 orphan'])
  })

  t.test('two attempts of a command that only the journal knows are two of one command', async (t) => {
    const held = [withOffer(heldFinished('a.1', interrupted)), withOffer(heldFinished('a.2', succeeded([2])))]
    const decision = sync(turn({ recovering }), { held: [held[1] as HeldAttempt, held[0] as HeldAttempt] })
    t.same(entriesOf(decision), ['recovered', 'adopted', 'completed'])
    t.same(responseOf(decision).acks, ['a.2 accepted', 'a.1 superseded'])
  })

  t.test('an attempt number that is ahead of the backup is believed', async (t) => {
    for (const before of [
      waiting('a'),
      offered('a', { agentId: 'y' }),
      running('a', { agentId: 'y' }),
      lost('a', { agentId: 'y' }),
    ]) {
      const answer = told(heldRunning('a.2'), before, { turn: { recovering } })
      says(t, answer, { command: { status: 'RUNNING' } }, phaseOf(before))
      t.same(stateOf(answer.command).attempts.at(-1), [2, 'RUNNING', 'x'])
    }
  })

  t.test('the outcome of an attempt that the backup knows as merely OFFERED is taken in', async (t) => {
    const answer = told(heldFinished('a.1', succeeded([5])), offered('a'), { turn: { recovering } })
    says(t, answer, { acks: ['a.1 accepted'], command: { status: 'COMPLETED', result: [5], grantedCount: 1 } })
    t.same(answer.decision.evidence, [])
    const runs = told(heldRunning('a.1'), offered('a'), { turn: { recovering } })
    t.match(runs, { command: { status: 'RUNNING' } })
  })

  t.test('the same journal shown twice is taken in once', async (t) => {
    for (const item of [
      withOffer(heldAccepted('a.1')),
      withOffer(heldRunning('a.1')),
      withOffer(heldFinished('a.1')),
    ]) {
      const drop = item.phase === 'accepted' ? ['a.1'] : []
      const acks = item.phase === 'finished' ? ['a.1 duplicate'] : []
      const first = sync(turn({ recovering }), { held: [item] })
      const command = first.changes.at(-1)?.command as Command
      const again = told(item, command, { request: { seq: 2 }, turn: { recovering } })
      says(t, again, { acks, drop, entries: [] }, item.phase)
    }
  })

  t.test(
    'an outcome that comes only with a later sync finds its attempt running, also after the recovery',
    async (t) => {
      const first = sync(turn({ recovering }), { held: [withOffer(heldUntold('a.1'))] })
      const command = first.changes.at(-1)?.command as Command
      t.equal(command.status, 'RUNNING')
      says(t, told(heldFinished('a.1'), command), { acks: ['a.1 accepted'], command: { status: 'COMPLETED' } })
    },
  )

  t.test('a final command of the backup stays as it is', async (t) => {
    for (const command of [cancelled('a'), completed('a')]) {
      says(t, told(heldFinished('a.2'), command, { turn: { recovering } }), { acks: ['a.2 superseded'], entries: [] })
      says(t, told(heldRunning('a.2'), command, { turn: { recovering } }), { drop: ['a.2'], entries: [] })
    }
  })

  t.test('two journals that know two attempts of one command leave the later one, in either order', async (t) => {
    const earlier = withOffer(heldAccepted('a.1'))
    const later = withOffer(heldRunning('a.2'))
    const toX = sync(turn({ recovering }), { held: [earlier] })
    const byX = toX.changes.at(-1)?.command as Command
    t.same(responseOf(toX), { ...nothing, drop: ['a.1'] }, 'what was only accepted')
    const shownToY = turn({ recovering, agent: agent('y'), asked: [byX] })
    const byBoth = sync(shownToY, { held: [later] }, { agentId: 'y' })
    t.same(stateOf(afterTurn(byBoth, byX)), { status: 'RUNNING', attempts: [[2, 'RUNNING', 'y']] })

    const byY = sync(turn({ recovering, agent: agent('y') }), { held: [later] }, { agentId: 'y' }).changes.at(-1)
      ?.command as Command
    says(t, told(earlier, byY, { turn: { recovering } }), { drop: ['a.1'], entries: [] })
  })

  t.test('what was only accepted is dropped, and its command, where nobody has run it, handed out anew', async (t) => {
    const unknown = sync(turn({ recovering }), { held: [withOffer(heldAccepted('a.3'))] })
    const command = unknown.changes.at(-1)?.command
    t.same(responseOf(unknown), { ...nothing, drop: ['a.3'] })
    t.same(entriesOf(unknown), ['recovered'])
    t.match(command, { status: 'PENDING', grantedCount: 0 })
    t.same(command?.attempts, [])
    const known = told(withOffer(heldAccepted('a.1')), waiting('a'), { turn: { recovering } })
    says(t, known, { drop: ['a.1'], entries: [] })
  })

  // Broken before: the accepted attempt 2 became the newest, the outcome of attempt 1 evidence, and attempt 2 ran.
  t.test('an accepted offer does not outrank the outcome that has decided its command', async (t) => {
    const before = takenOver('a', { agentId: 'y' })
    says(t, told(withOffer(heldAccepted('a.2')), before, { turn: { recovering } }), { drop: ['a.2'], entries: [] })
    const shownToY = turn({ recovering, agent: agent('y'), asked: [before] })
    const toY = sync(shownToY, { held: [withOffer(heldFinished('a.1'))] }, { agentId: 'y' })
    t.same(responseOf(toY).acks, ['a.1 accepted'])
    t.equal(afterTurn(toY, before).status, 'COMPLETED')
  })

  t.test('an accepted offer that stands in the backup waits for the end of recovery', async (t) => {
    const command = offered('a')
    says(t, told(heldAccepted('a.1'), command, { turn: { recovering } }), { entries: [] })
    says(t, told(heldAccepted('a.1'), command, { request: { seq: 2 } }), { grants: ['a.1'] })
  })

  t.test('ends with the last awaited journal, and not before', async (t) => {
    t.notOk('recoveryEnded' in sync(turn({ recovering: ['x', 'y'] })))
    t.equal(sync(turn({ recovering: ['x'] })).recoveryEnded, true)
    t.notOk('recoveryEnded' in sync(turn({ recovering: ['y'] })), 'an agent that nobody waits for ends nothing')
    t.equal(sync(turn({ recovering: [] })).recoveryEnded, true)
    t.notOk('recoveryEnded' in sync(turn({})))
    t.notOk(
      'recoveryEnded' in sync(turn({ recovering: ['x'], agent: agent('x', { seq: 5 }) })),
      'a stale sync shows nothing',
    )
    t.notOk(
      'recoveryEnded' in sync(turn({ recovering: ['x'], agent: agent('x', { epoch: 'epoch-zero' }) })),
      'nor one of the epoch before',
    )
  })
})

t.test('combinations that look like a second run', async (t) => {
  t.test('the grant is lost, the lease ends, the agent restarts and asks: it starts once', async (t) => {
    const { command } = told(heldAccepted('a.1'), offered('a'))
    const silent = after(command, { type: 'leaseOver', nowMs: 50_000, random: 0.5 })
    const back = agent('x', { incarnation: 2 })
    const answer = told(heldAccepted('a.1'), silent, { request: { incarnation: 2 }, turn: { agent: back } })
    says(t, answer, { grants: ['a.1'], command: { status: 'RUNNING', grantedCount: 1 } })
    const old = sync(turn({ agent: back, owned: [answer.command] }), {
      incarnation: 1,
      seq: 9,
      held: [heldAccepted('a.1')],
    })
    t.equal(refusalOf(old), 'INCARNATION_SUPERSEDED', 'and the process before can no longer ask')
  })

  t.test(
    'taken over, then accepted by the next agent, then reported by the first: the second is never granted',
    async (t) => {
      const second = after(takenOver('a'), { type: 'offer', nowMs: 60_000, agentId: 'y' })
      const { command } = told(heldFinished('a.1'), second)
      const accept = sync(
        turn({ agent: agent('y'), asked: [command] }),
        { held: [heldAccepted('a.2')] },
        { agentId: 'y' },
      )
      t.same(responseOf(accept), { ...nothing, drop: ['a.2'] })
    },
  )

  t.test('cancel and retry: an interrupted attempt of a cancelled command is not tried again', async (t) => {
    const wished = after(running('a', { maxAttempts: 5, takeover: 'auto' }), {
      type: 'cancel',
      nowMs: 500,
      reason: 'stop',
    })
    says(t, told(heldFinished('a.1', interrupted), wished), {
      acks: ['a.1 accepted'],
      command: { status: 'CANCELLED' },
    })
    says(t, told(heldFinished('a.1', failure('NETWORK_ERROR', true)), wished), {
      acks: ['a.1 accepted'],
      command: { status: 'FAILED' },
    })
  })

  t.test(
    'a journal that was restored from a copy while the attempt ran elsewhere cannot make it run again',
    async (t) => {
      const shown = { agent: agent('x', { incarnation: 3, trustedSince: 3 }) }
      const request = { incarnation: 3 }
      for (const command of [running('a', { incarnation: 2 }), lost('a', { incarnation: 2 })])
        says(t, told(heldAccepted('a.1'), command, { request, turn: shown }), { grants: [], drop: ['a.1'] })
      says(t, told(heldAccepted('a.1'), after(running('a'), finish()), { request, turn: shown }), { drop: ['a.1'] })
    },
  )
})

t.test('a heartbeat renews the lease of the newest process and moves nothing', async (t) => {
  const beat = (shown: Turn, request = {}) =>
    heartbeat(shown, { incarnation: 1, epoch: 'epoch-one', ...request }, { agentId: 'x', nowMs: 1000 })
  const renewed = beat(
    turn({ agent: agent('x', { seq: 4, leaseMs: 12_000 }), owned: [running('a')], ready: [waiting('b')] }),
  )
  t.same([renewed.changes, renewed.evidence], [[], []])
  t.match(renewed, { answer: { ok: true }, agent: { renewedAtMs: 1000, lastSeenAtMs: 1000, seq: 4 } })
  t.match(renewed.answer, { leaseMs: 12_000 }, 'it promises no longer lease than the one the server keeps')
  const cases: [string, Turn, object][] = [
    ['NOT_REGISTERED', turn({ agent: null }), {}],
    ['NOT_REGISTERED', turn({ agent: simpleAgent('x') }), {}],
    ['NOT_REGISTERED', turn({}), { incarnation: 2 }],
    ['INCARNATION_SUPERSEDED', turn({ agent: agent('x', { incarnation: 2 }) }), {}],
    ['EPOCH_CHANGED', turn({ epoch: 'epoch-two' }), {}],
    ['EPOCH_CHANGED', turn({ epoch: 'epoch-two' }), { epoch: 'epoch-two' }],
  ]
  for (const [code, shown, request] of cases) {
    const decision = beat(shown, request)
    t.match(decision.answer, { ok: false, code })
    unchanged(t, decision)
  }
})
