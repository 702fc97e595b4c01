import t from 'tap'
import {
  type Command,
  lastGrantedAttempt,
  newestAttempt,
  PHASES,
  type Phase,
  phaseOf,
} from '../../src/lifecycle/command.ts'
import { lifecycleDiagram } from '../../src/lifecycle/diagram.ts'
import { dueAtMs, isReady, type LifecycleEvent, type Transition, transition } from '../../src/lifecycle/transition.ts'
import {
  after,
  cancelled,
  completed,
  failed,
  failure,
  finish,
  frozen,
  interrupted,
  lost,
  offered,
  policy,
  running,
  seededRandom,
  stateOf,
  stored,
  succeeded,
  takenOver,
  waiting,
} from './builders.ts'

const MINUTE = 60_000
const FINALS: Phase[] = ['COMPLETED', 'FAILED', 'CANCELLED']

const IN_PHASE: Record<Phase, () => Command> = {
  WAITING: () => waiting('a'),
  OFFERED: () => offered('a'),
  RUNNING: () => running('a'),
  LOST: () => lost('a'),
  COMPLETED: () => completed('a'),
  FAILED: () => failed('a'),
  CANCELLED: () => cancelled('a'),
}

const at = 1000
const EVENTS = {
  offer: { type: 'offer', nowMs: at, agentId: 'y' },
  grant: { type: 'grant', nowMs: at, agentId: 'x', incarnation: 1, leaseMs: 32_300 },
  regrant: { type: 'regrant', nowMs: at, agentId: 'x', incarnation: 2, trustedSince: 1 },
  return: { type: 'return', nowMs: at, agentId: 'x' },
  finish: finish({ nowMs: at }),
  withdraw: { type: 'withdraw', nowMs: at, reason: 'draining' },
  lose: { type: 'lose', nowMs: at, reason: 'absent' },
  leaseOver: { type: 'leaseOver', nowMs: at, random: 0.5 },
  cancel: { type: 'cancel', nowMs: at, reason: 'no more needed' },
  tick: { type: 'tick', nowMs: at },
  adopt: { type: 'adopt', nowMs: at, agentId: 'x', attempt: 7, incarnation: 3, leaseMs: 32_300 },
} as const satisfies { [Type in LifecycleEvent['type']]: Extract<LifecycleEvent, { type: Type }> }

/** Where each event leads from each phase; what is not named is refused. */
const TABLE: Record<LifecycleEvent['type'], Partial<Record<Phase, Phase>>> = {
  offer: { WAITING: 'OFFERED' },
  grant: { OFFERED: 'RUNNING' },
  regrant: { RUNNING: 'RUNNING', LOST: 'RUNNING' },
  return: { LOST: 'RUNNING' },
  finish: { RUNNING: 'COMPLETED', LOST: 'COMPLETED' },
  withdraw: { OFFERED: 'WAITING' },
  lose: { RUNNING: 'LOST' },
  leaseOver: { RUNNING: 'LOST' },
  cancel: { WAITING: 'CANCELLED', OFFERED: 'CANCELLED', RUNNING: 'RUNNING', LOST: 'LOST' },
  tick: {},
  adopt: { WAITING: 'RUNNING', OFFERED: 'RUNNING', RUNNING: 'RUNNING', LOST: 'RUNNING' },
}

const move = (command: Command, event: LifecycleEvent): Transition => transition(frozen(command), event, policy)
const refusal = (moved: Transition): string | null => (moved.ok ? null : moved.reason)
const tick = (nowMs: number): LifecycleEvent => ({ type: 'tick', nowMs })
const offer = (agentId: string, nowMs: number): LifecycleEvent => ({ type: 'offer', nowMs, agentId })
const grant = (agentId: string, nowMs: number, incarnation = 1): LifecycleEvent => ({
  type: 'grant',
  nowMs,
  agentId,
  incarnation,
  leaseMs: 32_300,
})
const leaseOver = (nowMs: number, random = 0): LifecycleEvent => ({ type: 'leaseOver', nowMs, random })
const cancel = (nowMs: number): LifecycleEvent => ({ type: 'cancel', nowMs, reason: 'no more needed' })

t.test('every builder makes the phase it is named for', async (t) => {
  for (const phase of PHASES) t.equal(phaseOf(IN_PHASE[phase]()), phase)
})

for (const [name, event] of Object.entries(EVENTS)) {
  t.test(`${name} is taken where the table says so, refused everywhere else, and logged as it happened`, async (t) => {
    for (const phase of PHASES) {
      const command = IN_PHASE[phase]()
      const moved = move(command, event)
      const to = TABLE[event.type][phase]
      t.equal(moved.ok, to !== undefined, `${name} in ${phase}`)
      if (!moved.ok) continue
      const newest = newestAttempt(moved.command)
      t.equal(phaseOf(moved.command), to, `${phase} to ${to}`)
      t.match(moved.entry, { from: phase, to, attempt: newest?.number ?? null, agentId: newest?.agentId ?? null })
    }
  })
}

t.test('final is final: no event of any kind changes a finished command', async (t) => {
  const events: LifecycleEvent[] = [
    ...Object.values(EVENTS),
    finish({ outcome: failure('NETWORK_ERROR', true), nowMs: at }),
    finish({ outcome: interrupted, nowMs: at }),
    { ...EVENTS.adopt, attempt: 1 },
    { ...EVENTS.regrant, trustedSince: 9 },
    tick(10 ** 12),
    leaseOver(10 ** 12),
  ]
  const retried = { takeover: 'auto', maxAttempts: 5 } as const
  for (const command of [completed('a', retried), failed('a', retried), cancelled('a', retried)])
    for (const event of events) t.notOk(move(command, event).ok, `${event.type} in ${command.status}`)
})

t.test('only the agent it was offered to is granted, gets it back, or reports', async (t) => {
  t.equal(refusal(move(offered('a'), grant('y', at))), 'OFFERED')
  t.equal(refusal(move(running('a'), { ...EVENTS.regrant, agentId: 'y' })), 'RUNNING')
  t.equal(refusal(move(lost('a'), { ...EVENTS.regrant, agentId: 'y' })), 'LOST')
  t.equal(refusal(move(lost('a'), { ...EVENTS.return, agentId: 'y' })), 'LOST')
  t.equal(refusal(move(running('a'), finish({ agentId: 'y' }))), 'otherAgent')
  t.equal(refusal(move(lost('a'), finish({ agentId: 'y' }))), 'otherAgent')
})

t.test('offers', async (t) => {
  t.test('count up, and a withdrawn one costs no attempt of the retry budget', async (t) => {
    const again = after(offered('a'), { type: 'withdraw', nowMs: 200, reason: 'draining' }, offer('y', 300))
    t.same(stateOf(again), { status: 'PENDING', attempts: [[2, 'OFFERED', 'y']] })
    t.equal(again.grantedCount, 0)
    t.equal(again.startedAtMs, null)
  })

  t.test('are not made before the time has come', async (t) => {
    const later = waiting('a', { notBeforeMs: 5000 })
    t.notOk(isReady(later))
    t.equal(refusal(move(later, offer('x', 4999))), 'notYet')
    t.equal(refusal(move(later, tick(4999))), 'notDue')
    t.ok(move(later, offer('x', 5000)).ok)
    const ready = after(later, tick(5000))
    t.ok(isReady(ready))
    t.equal(phaseOf(after(ready, offer('x', 5000))), 'OFFERED')
  })

  t.test('nobody accepts go back after offerMs', async (t) => {
    const command = offered('a', { offeredAtMs: 100 })
    t.equal(dueAtMs(command, policy), 30_100)
    t.equal(refusal(move(command, tick(30_099))), 'notDue')
    const withdrawn = after(command, tick(30_100))
    t.same(stateOf(withdrawn), { status: 'PENDING', attempts: [[1, 'WITHDRAWN', 'x']] })
    t.ok(isReady(withdrawn))
    t.equal(refusal(move(withdrawn, grant('x', 30_101))), 'WAITING', 'too late to accept')
  })
})

t.test('expiry', async (t) => {
  const options = { expiresAtMs: 5000 }
  const expired = { status: 'FAILED', error: { code: 'EXPIRED', retryable: false }, finishedAtMs: 5000 }

  t.test('ends a command that nobody took in time', async (t) => {
    t.equal(dueAtMs(waiting('a', options), policy), 5000)
    t.match(after(waiting('a', options), tick(5000)), expired)
  })

  t.test('ends an offer that nobody accepted in time, and withdraws it', async (t) => {
    const command = after(offered('a', options), tick(5000))
    t.match(command, expired)
    t.match(command.attempts, [{ state: 'WITHDRAWN', grantedAtMs: null, finishedAtMs: 5000 }])
  })

  t.test('refuses offer and grant from its moment on, also before the sweeper comes', async (t) => {
    t.equal(refusal(move(waiting('a', options), offer('x', 5000))), 'expired')
    t.ok(move(offered('a', options), grant('x', 4999)).ok)
    t.equal(refusal(move(offered('a', options), grant('x', 5000))), 'expired')
  })

  t.test('does not count once an attempt was granted, for it was started before', async (t) => {
    const retrying = after(
      running('a', { ...options, maxAttempts: 2 }),
      finish({ outcome: failure('NETWORK_ERROR', true) }),
    )
    t.equal(phaseOf(retrying), 'WAITING')
    t.equal(phaseOf(after(retrying, tick(6000), offer('y', 6001), grant('y', 6002))), 'RUNNING')
  })
})

t.test('totalTimeoutMs', async (t) => {
  t.test('ends a command that waits for its first attempt as TIMED_OUT', async (t) => {
    const command = waiting('a', { totalTimeoutMs: 9000 })
    t.equal(dueAtMs(command, policy), 9000)
    t.match(after(command, tick(9000)), { status: 'FAILED', error: { code: 'TIMED_OUT' } })
  })

  t.test('ends a command between two attempts with the error of the last', async (t) => {
    const options = { totalTimeoutMs: 9000, maxAttempts: 3, backoff: { initialMs: 4000, maxMs: 4000, factor: 1 } }
    const retrying = after(
      running('a', options),
      finish({ nowMs: 400, outcome: failure('NETWORK_ERROR', true), random: 0.9 }),
    )
    t.equal(retrying.availableAtMs, 4000)
    const again = after(retrying, tick(4000), offer('y', 8000))
    t.equal(refusal(move(again, grant('y', 9000))), 'expired')
    t.match(after(again, tick(9000)), {
      status: 'FAILED',
      error: { code: 'NETWORK_ERROR' },
      attempts: [{ state: 'FAILED' }, { state: 'WITHDRAWN' }],
    })
  })

  t.test('leaves no room for a retry that would come after it', async (t) => {
    const options = { totalTimeoutMs: 9000, maxAttempts: 3, backoff: { initialMs: 20_000, maxMs: 20_000, factor: 1 } }
    const command = after(running('a', options), finish({ outcome: failure('NETWORK_ERROR', true), random: 0.99 }))
    t.match(command, { status: 'FAILED', error: { code: 'NETWORK_ERROR' } })
  })

  t.test('does not touch an attempt that runs: its own timeout does', async (t) => {
    t.equal(dueAtMs(running('a', { totalTimeoutMs: 9000 }), policy), null)
    t.equal(refusal(move(running('a', { totalTimeoutMs: 9000 }), tick(10 ** 9))), 'notDue')
  })
})

t.test('a grant', async (t) => {
  t.test('makes the command RUNNING for one incarnation and counts against the budget', async (t) => {
    t.match(running('a', { incarnation: 4 }), {
      status: 'RUNNING',
      grantedCount: 1,
      startedAtMs: 200,
      attempts: [{ number: 1, state: 'RUNNING', incarnation: 4, grantedAtMs: 200, leaseMs: 32_300 }],
    })
  })

  t.test('repeated to the same incarnation is refused as one that stands', async (t) => {
    const moved = move(running('a', { incarnation: 2 }), { ...EVENTS.regrant, incarnation: 2 })
    t.equal(refusal(moved), 'granted')
  })

  t.test('moves to the next incarnation of the same journal without costing an attempt', async (t) => {
    const regranted = after(running('a'), { ...EVENTS.regrant, incarnation: 2 })
    t.match(regranted, { status: 'RUNNING', grantedCount: 1, attempts: [{ incarnation: 2, grantedAtMs: 200 }] })
    const fromLost = after(lost('a'), { ...EVENTS.regrant, incarnation: 2 })
    t.match(fromLost, { status: 'RUNNING', grantedCount: 1, attempts: [{ incarnation: 2, lostAtMs: null }] })
  })

  t.test(
    'made to a state of the journal that is gone is never made again, however often it is asked for',
    async (t) => {
      const untrusted: LifecycleEvent = { ...EVENTS.regrant, incarnation: 5, trustedSince: 5 }
      const command = after(running('a', { incarnation: 4 }), untrusted)
      t.equal(phaseOf(command), 'LOST', 'it may have started there')
      t.equal(refusal(move(command, untrusted)), 'untrusted')
      t.equal(refusal(move(command, { ...untrusted, incarnation: 6, trustedSince: 5 })), 'untrusted')
      t.match(after(command, tick(dueAtMs(command, policy) ?? 0)), { status: 'FAILED', error: { code: 'LOST' } })
    },
  )
})

t.test('an outcome', async (t) => {
  t.test('completes the command with its result', async (t) => {
    const command = after(
      running('a'),
      finish({ outcome: { ...succeeded([1]), resultTruncated: true }, outcomeSha256: 'h' }),
    )
    t.match(command, { status: 'COMPLETED', result: [1], resultTruncated: true, error: null, finishedAtMs: 400 })
    t.match(command.attempts, [{ state: 'SUCCEEDED', outcomeSha256: 'h', error: null, finishedAtMs: 400 }])
  })

  t.test('is whole unless it says that it was cut', async (t) => {
    t.equal(after(running('a'), finish()).resultTruncated, false)
  })

  t.test('of a LOST attempt counts as if nothing had happened', async (t) => {
    const command = after(lost('a'), finish({ nowMs: 5000 }))
    t.match(command, { status: 'COMPLETED', attempts: [{ state: 'SUCCEEDED', lostAtMs: null }] })
  })

  t.test('fails the command where nobody asked for retries', async (t) => {
    for (const code of ['NETWORK_ERROR', 'HTTP_ERROR'])
      t.match(after(running('a'), finish({ outcome: failure(code, code === 'NETWORK_ERROR') })), {
        status: 'FAILED',
        error: { code },
        attempts: [{ state: 'FAILED', error: { code } }],
      })
    t.match(after(running('a'), finish({ outcome: interrupted })), {
      status: 'FAILED',
      error: { code: 'INTERRUPTED' },
      crashCount: 1,
    })
    t.match(after(running('a'), finish({ outcome: { state: 'TIMED_OUT' } })), {
      status: 'FAILED',
      error: { code: 'INTERNAL_ERROR' },
      attempts: [{ state: 'TIMED_OUT' }],
    })
  })

  t.test('keeps the result that came with a failure', async (t) => {
    const outcome = { ...failure('HTTP_ERROR'), result: { status: 500 } }
    t.match(after(running('a'), finish({ outcome })), { status: 'FAILED', result: { status: 500 } })
  })

  t.test('with a retryable error brings another attempt as long as the budget lasts', async (t) => {
    const outcome = failure('NETWORK_ERROR', true)
    const once = after(running('a', { maxAttempts: 2 }), finish({ outcome, random: 0 }))
    t.match(once, { status: 'PENDING', error: null, result: null, attempts: [{ state: 'FAILED' }] })
    t.ok(isReady(once))
    const twice = after(
      once,
      offer('y', 500),
      grant('y', 600),
      finish({ agentId: 'y', attempt: 2, outcome, random: 0 }),
    )
    t.match(twice, { status: 'FAILED', grantedCount: 2, error: { code: 'NETWORK_ERROR' } })
  })

  t.test('is retried by its code where retryOn names some, and by nothing else', async (t) => {
    const options = { maxAttempts: 2, retryOn: ['HTTP_ERROR'] }
    t.equal(after(running('a', options), finish({ outcome: failure('HTTP_ERROR') })).status, 'PENDING')
    t.equal(after(running('a', options), finish({ outcome: failure('NETWORK_ERROR', true) })).status, 'FAILED')
    t.equal(after(running('a', { maxAttempts: 2, retryOn: [] }), finish({ outcome: interrupted })).status, 'FAILED')
  })

  t.test('CANCELLED ends the command, with the reason given or without', async (t) => {
    const outcome = { ...failure('CANCELLED'), state: 'CANCELLED' as const }
    t.match(after(running('a', { maxAttempts: 3 }), finish({ outcome })), {
      status: 'CANCELLED',
      error: { code: 'CANCELLED' },
    })
    t.match(after(running('a'), cancel(300), finish({ outcome })), {
      status: 'CANCELLED',
      error: { code: 'CANCELLED', message: 'no more needed' },
    })
  })

  t.test('of any attempt but the current one changes nothing', async (t) => {
    t.equal(refusal(move(running('a'), finish({ attempt: 2 }))), 'superseded')
    t.equal(refusal(move(offered('a'), finish({ attempt: 1 }))), 'superseded', 'never granted')
    t.equal(refusal(move(waiting('a'), finish({ attempt: 1 }))), 'superseded')
    const second = after(takenOver('a'), offer('y', 50_001), grant('y', 50_002))
    t.equal(refusal(move(second, finish({ attempt: 1 }))), 'superseded', 'the second one runs already')
    t.equal(
      refusal(move(after(second, leaseOver(99_000)), finish({ attempt: 1 }))),
      'superseded',
      'the second one is LOST',
    )
    const retrying = after(running('a', { maxAttempts: 2 }), finish({ outcome: failure('NETWORK_ERROR', true) }))
    t.equal(refusal(move(retrying, finish({ attempt: 1 }))), 'superseded', 'it has an outcome already')
  })
})

t.test('backoff grows with every granted attempt, is capped, and is a random share of its bound', async (t) => {
  const options = { maxAttempts: 9, backoff: { initialMs: 1000, maxMs: 5000, factor: 2 } }
  const bounds = [1000, 2000, 4000, 5000, 5000]
  for (const random of [0, 0.25, 0.999]) {
    let command = waiting('a', options)
    let nowMs = 0
    for (const [index, boundMs] of bounds.entries()) {
      const attempt = index + 1
      const outcome = failure('NETWORK_ERROR', true)
      command = after(command, offer('x', nowMs), grant('x', nowMs), finish({ nowMs, attempt, outcome, random }))
      const waitMs = Math.floor(random * boundMs)
      t.equal(command.availableAtMs, waitMs === 0 ? null : nowMs + waitMs, `attempt ${attempt}, random ${random}`)
      nowMs += waitMs
      if (waitMs > 0) command = after(command, tick(nowMs))
    }
  }
})

t.test('a command that crashes its agents is POISONED instead of tried once more', async (t) => {
  const crash = (command: Command, attempt: number): Command =>
    after(command, offer('x', at), grant('x', at), finish({ nowMs: at, attempt, outcome: interrupted, random: 0 }))
  const twice = crash(crash(waiting('a', { maxAttempts: 9 }), 1), 2)
  t.match(twice, { status: 'PENDING', crashCount: 2 })
  t.match(crash(twice, 3), {
    status: 'FAILED',
    crashCount: 3,
    error: { code: 'POISONED', retryable: false, details: { last: 'INTERRUPTED' } },
    attempts: [{ state: 'INTERRUPTED' }],
  })
})

t.test('cancel', async (t) => {
  // Broken before: cancelled at once after a restore, a command stayed CANCELLED whose outcome had been acknowledged.
  t.test('while the server recovers it waits for what the journals say', async (t) => {
    const recovering = { ...EVENTS.cancel, recovering: true } as LifecycleEvent
    for (const command of [waiting('a'), offered('a'), takenOver('a', { maxAttempts: 3 })]) {
      const wished = after(command, recovering)
      t.match(wished, { status: 'PENDING', cancel: { reason: 'no more needed' } })
      t.notOk(isReady(wished))
      t.equal(refusal(move(wished, offer('y', at))), phaseOf(wished) === 'WAITING' ? 'cancelled' : 'OFFERED')
      t.notOk(move(wished, EVENTS.grant).ok, 'nothing is granted any more')
      t.match(after(wished, tick(at)), { status: 'CANCELLED', error: { code: 'CANCELLED' } }, 'recovery is over')
      const proven = after(wished, EVENTS.adopt, finish({ attempt: EVENTS.adopt.attempt, nowMs: at }))
      t.match(proven, { status: 'COMPLETED' }, 'a journal knows better')
    }
  })

  t.test('ends at once what does not run', async (t) => {
    const inQueue = after(waiting('a'), cancel(300))
    t.match(inQueue, {
      status: 'CANCELLED',
      finishedAtMs: 300,
      error: { code: 'CANCELLED', message: 'no more needed' },
    })
    const shown = after(offered('a'), cancel(300))
    t.match(shown, { status: 'CANCELLED', attempts: [{ state: 'WITHDRAWN', finishedAtMs: 300 }] })
    t.equal(refusal(move(shown, grant('x', 301))), 'CANCELLED', 'the accept that was on its way comes too late')
    t.match(after(takenOver('a'), cancel(50_001)), { status: 'CANCELLED' })
  })

  t.test('is only a wish while it runs, and the first reason stays', async (t) => {
    const wished = after(running('a'), cancel(300))
    t.match(wished, { status: 'RUNNING', cancel: { reason: 'no more needed', requestedAtMs: 300 } })
    t.equal(refusal(move(wished, { type: 'cancel', nowMs: 400, reason: 'another' })), 'requested')
    t.match(after(wished, finish()), { status: 'COMPLETED', error: null }, 'the work finished first: its result stands')
    t.match(after(wished, finish({ outcome: failure('HTTP_ERROR') })), {
      status: 'FAILED',
      error: { code: 'HTTP_ERROR' },
    })
  })

  t.test('is never followed by a retry', async (t) => {
    const wished = after(running('a', { maxAttempts: 5 }), cancel(300))
    t.equal(after(wished, finish({ outcome: failure('NETWORK_ERROR', true) })).status, 'FAILED')
    t.equal(after(wished, finish({ outcome: interrupted })).status, 'CANCELLED')
    t.equal(after(wished, finish({ outcome: { state: 'TIMED_OUT' } })).status, 'FAILED')
    const auto = after(running('a', { maxAttempts: 5, takeover: 'auto' }), cancel(300))
    const over = after(auto, leaseOver(50_000))
    t.match(over, { status: 'CANCELLED', attempts: [{ state: 'EXPIRED' }] }, 'the agent fenced itself before')
  })

  t.test('of a LOST command does not guess: without a word from the agent it ends as LOST', async (t) => {
    const wished = after(lost('a'), cancel(400))
    t.match(wished, { status: 'RUNNING', attempts: [{ state: 'LOST' }] })
    t.match(after(wished, tick(dueAtMs(wished, policy) ?? 0)), { status: 'FAILED', error: { code: 'LOST' } })
    t.match(after(wished, finish({ outcome: interrupted })), { status: 'CANCELLED' })
  })
})

t.test('the end of a lease', async (t) => {
  t.test('makes the attempt LOST by default, and it stays resumable', async (t) => {
    const command = after(running('a', { maxAttempts: 3 }), leaseOver(50_000))
    t.match(command, { status: 'RUNNING', attempts: [{ state: 'LOST', lostAtMs: 50_000, finishedAtMs: null }] })
    t.match(after(command, { type: 'return', nowMs: 60_000, agentId: 'x' }), {
      status: 'RUNNING',
      attempts: [{ state: 'RUNNING', lostAtMs: null }],
    })
  })

  t.test('brings the next attempt only where takeover is auto, retries were asked for, and one is left', async (t) => {
    const options = { takeover: 'auto', maxAttempts: 2, backoff: { initialMs: 1000, maxMs: 9000, factor: 2 } } as const
    const expired = after(running('a', options), leaseOver(50_000, 0.5))
    t.match(expired, {
      status: 'PENDING',
      availableAtMs: 50_500,
      attempts: [{ state: 'EXPIRED', finishedAtMs: 50_000, error: { code: 'LOST' } }],
    })
    const second = after(expired, tick(50_500), offer('y', 50_501), grant('y', 50_502))
    t.same(stateOf(second), { status: 'RUNNING', attempts: [[2, 'RUNNING', 'y']] })
    t.equal(phaseOf(after(second, leaseOver(99_000))), 'LOST', 'the budget is spent')
  })
})

t.test('an agent that never comes back', async (t) => {
  t.test('costs the command what was left of its timeout and the grace', async (t) => {
    const command = lost('a', { timeoutMs: 10 * MINUTE, grantedAtMs: 200, lostAtMs: 2 * MINUTE })
    t.equal(dueAtMs(command, policy), 10 * MINUTE + 200 + policy.lostGraceMs)
    const late = lost('a', { timeoutMs: MINUTE, lostAtMs: 5 * MINUTE })
    t.equal(dueAtMs(late, policy), 5 * MINUTE + policy.lostGraceMs, 'nothing was left')
  })

  t.test('costs it lostAfterMs where that was given, 0 too', async (t) => {
    const command = lost('a', { lostAfterMs: 5000, lostAtMs: 300 })
    t.equal(refusal(move(command, tick(5299))), 'notDue')
    t.match(after(command, tick(5300)), {
      status: 'FAILED',
      error: { code: 'LOST', retryable: false },
      attempts: [{ state: 'LOST' }],
      finishedAtMs: 5300,
    })
    t.equal(dueAtMs(lost('a', { lostAfterMs: 0, lostAtMs: 300 }), policy), 300)
  })

  t.test('is waited for anew each time it was lost', async (t) => {
    const back = after(lost('a', { lostAfterMs: 5000 }), { type: 'return', nowMs: 4000, agentId: 'x' })
    t.equal(dueAtMs(back, policy), null)
    t.equal(dueAtMs(after(back, { type: 'lose', nowMs: 6000, reason: 'absent' }), policy), 11_000)
  })
})

t.test('the late outcome of an attempt that was taken over', async (t) => {
  const inPhases = () => ({
    WAITING: takenOver('a', { random: 0.5 }),
    OFFERED: after(takenOver('a'), offer('y', 50_001)),
  })

  t.test('saves the second run where nobody was granted it yet, and withdraws its offer', async (t) => {
    t.match(after(inPhases().WAITING, finish({ nowMs: 50_002 })), {
      status: 'COMPLETED',
      availableAtMs: null,
      attempts: [{ number: 1, state: 'SUCCEEDED' }],
    })
    const command = after(inPhases().OFFERED, finish({ nowMs: 50_002 }))
    t.same(stateOf(command), {
      status: 'COMPLETED',
      attempts: [
        [1, 'SUCCEEDED', 'x'],
        [2, 'WITHDRAWN', 'y'],
      ],
    })
    t.equal(refusal(move(command, grant('y', 50_003))), 'COMPLETED', 'the accept comes too late')
  })

  t.test('completes only the history where it is one that is retried anyway', async (t) => {
    for (const outcome of [interrupted, failure('NETWORK_ERROR', true)])
      for (const command of Object.values(inPhases())) {
        const told = move(command, finish({ nowMs: 50_002, outcome }))
        if (!told.ok) return t.fail(told.reason)
        t.equal(told.entry.type, 'reportedLate')
        t.equal(phaseOf(told.command), phaseOf(command))
        t.equal(told.command.availableAtMs, command.availableAtMs, 'the backoff goes on')
        t.match(told.command.attempts, [{ number: 1, state: outcome.state }])
        t.equal(told.command.crashCount, outcome.state === 'INTERRUPTED' ? 1 : 0)
        t.equal(refusal(move(told.command, finish({ nowMs: 50_003, outcome }))), 'superseded', 'it counts once')
      }
  })

  t.test(
    'that is unknown does not fail the command, whatever retryOn names: it is on its way to the next attempt',
    async (t) => {
      const command = takenOver('a', { retryOn: ['HTTP_ERROR'] })
      t.match(after(command, finish({ nowMs: 50_002, outcome: interrupted })), { status: 'PENDING', crashCount: 1 })
    },
  )

  t.test('fails the command where its error is one that nobody wants retried', async (t) => {
    for (const command of Object.values(inPhases()))
      t.match(after(command, finish({ nowMs: 50_002, outcome: failure('HTTP_ERROR') })), {
        status: 'FAILED',
        error: { code: 'HTTP_ERROR' },
      })
  })

  t.test('is taken from the agent that ran it and from nobody else', async (t) => {
    for (const command of Object.values(inPhases()))
      t.equal(refusal(move(command, finish({ nowMs: 50_002, agentId: 'y' }))), 'superseded')
    t.equal(refusal(move(inPhases().OFFERED, finish({ nowMs: 50_002, agentId: 'y', attempt: 2 }))), 'superseded')
  })
})

t.test('adoption after a restore', async (t) => {
  const adopt = (attempt: number, agentId = 'x'): LifecycleEvent => ({ ...EVENTS.adopt, attempt, agentId })

  t.test('takes a granted attempt that only a journal knows', async (t) => {
    t.match(after(waiting('a'), adopt(1)), {
      status: 'RUNNING',
      grantedCount: 1,
      startedAtMs: at,
      attempts: [{ number: 1, state: 'RUNNING', agentId: 'x', incarnation: 3, leaseMs: 32_300 }],
    })
  })

  t.test('ends the attempts before it: an offer was withdrawn, a running one taken over', async (t) => {
    t.same(stateOf(after(offered('a'), adopt(2))), { status: 'RUNNING', attempts: [[2, 'RUNNING', 'x']] })
    for (const command of [running('a', { agentId: 'y' }), lost('a', { agentId: 'y' })])
      t.same(stateOf(after(command, adopt(2))).attempts, [[2, 'RUNNING', 'x']])
  })

  t.test('grants the offer that stands where the journal shows that it ran', async (t) => {
    const command = after(offered('a'), adopt(1))
    t.match(command, { status: 'RUNNING', grantedCount: 1 })
    t.same(stateOf(command).attempts, [[1, 'RUNNING', 'x']])
    t.equal(refusal(move(command, adopt(1))), 'older', 'once')
  })

  // Broken before: two attempts granted after the backup counted as one, and a third one ran where two were asked for.
  t.test('counts every attempt that may have been granted meanwhile', async (t) => {
    t.equal(after(waiting('a'), adopt(3)).grantedCount, 3)
    t.equal(after(offered('a'), adopt(2)).grantedCount, 2, 'the offer may have been granted')
    t.equal(after(running('a'), adopt(2, 'y')).grantedCount, 2)
    const two = after(waiting('a', { maxAttempts: 2 }), adopt(2))
    const ended = after(two, finish({ attempt: 2, outcome: interrupted, nowMs: at }))
    t.equal(ended.status, 'FAILED', 'no third one')
  })

  t.test('never goes back to an older attempt, and never to the same number of another agent', async (t) => {
    t.equal(refusal(move(offered('a'), adopt(1, 'y'))), 'older')
    t.equal(refusal(move(running('a'), adopt(1))), 'older')
    const second = after(takenOver('a'), offer('y', 50_001))
    t.equal(refusal(move(second, adopt(1))), 'older')
  })
})

t.test('the diagram shows what transition does', async (t) => {
  const lines = lifecycleDiagram().split('\n')
  const edges = lines.filter((line) => line.includes(': ') && !line.includes('[*]')).map((line) => line.trim())
  t.equal(lines[0], 'stateDiagram-v2')
  t.same([...new Set(edges)], edges, 'no edge twice')
  for (const edge of [
    'WAITING --> OFFERED: offer',
    'OFFERED --> RUNNING: grant',
    'OFFERED --> WAITING: withdraw',
    'OFFERED --> WAITING: tick',
    'WAITING --> FAILED: tick',
    'RUNNING --> WAITING: finish',
    'RUNNING --> WAITING: leaseOver',
    'RUNNING --> CANCELLED: leaseOver',
    'RUNNING --> LOST: regrant',
    'RUNNING --> RUNNING: cancel',
    'LOST --> RUNNING: return',
    'LOST --> FAILED: tick',
    'OFFERED --> COMPLETED: finish',
  ])
    t.ok(edges.includes(edge), edge)
  for (const [type, row] of Object.entries(TABLE))
    for (const [from, to] of Object.entries(row))
      if (from !== to) t.ok(edges.includes(`${from} --> ${to}: ${type}`), type)
  const legal =
    /^(WAITING|OFFERED|RUNNING|LOST) --> (WAITING|OFFERED|RUNNING|LOST|COMPLETED|FAILED|CANCELLED): [a-zA-Z]+$/
  for (const edge of edges) t.match(edge, legal, 'nothing leaves a final phase')
  for (const never of ['WAITING --> RUNNING: grant', 'LOST --> WAITING: leaseOver', 'OFFERED --> LOST: lose'])
    t.notOk(edges.includes(never), `never ${never}`)
  t.equal(lifecycleDiagram(), lifecycleDiagram(), 'the same each time')
})

t.test('no sequence of events breaks the promises', async (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 1_000_000)
  t.comment(`SEED=${seed} repeats this run`)
  const steps = new Map<string, number>()
  for (let walk = 0; walk < 20_000; walk++) randomWalk(seed * 20_000 + walk, steps)
  t.comment(JSON.stringify(Object.fromEntries(steps)))
  for (const type of Object.keys(EVENTS))
    t.ok((steps.get(type) ?? 0) > 100, `${type} was taken often enough to mean something`)
})

/** One command, three agents, twelve steps; throws with the whole story where an invariant is broken. */
function randomWalk(seed: number, taken: Map<string, number>): void {
  const random = seededRandom(seed)
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)] as Value
  let nowMs = 0
  const command0 = waiting('a', {
    maxAttempts: pick([1, 1, 2, 3]),
    takeover: pick(['manual', 'auto']),
    retryOn: pick([null, null, ['HTTP_ERROR']]),
    expiresAtMs: pick([null, null, 20_000]),
    totalTimeoutMs: pick([null, null, 100_000]),
    lostAfterMs: pick([null, 0, 10_000]),
    notBeforeMs: pick([null, null, 5000]),
    timeoutMs: pick([1000, 60_000]),
    backoff: { initialMs: 1000, maxMs: 8000, factor: 2 },
  })
  let command = command0
  let adopted = false
  const started = new Set<number>()
  const story: string[] = [JSON.stringify(command.spec)]
  const broken = (what: string): never => {
    throw new Error(`walk ${seed}: ${what}\n${story.join('\n')}\n${JSON.stringify(command, null, 1)}`)
  }

  for (let step = 0; step < 12; step++) {
    nowMs += Math.floor(random() ** 3 * 60_000)
    const event = anEvent(command, nowMs)
    const before = command
    const moved = transition(frozen(before), event, policy)
    story.push(
      `${nowMs} ${JSON.stringify(event)} ${moved.ok ? `${moved.entry.from} -> ${moved.entry.to}` : moved.reason}`,
    )
    if (!moved.ok) continue
    taken.set(event.type, (taken.get(event.type) ?? 0) + 1)
    command = stored(moved.command)
    adopted ||= event.type === 'adopt'
    check(before, event, moved.entry.type)
  }
  toTheEnd()

  function anEvent(command: Command, nowMs: number): LifecycleEvent {
    const newest = newestAttempt(command)
    const agentId = random() < 0.8 && newest !== undefined ? newest.agentId : pick(['x', 'y', 'z'])
    const attempt = random() < 0.7 ? (newest?.number ?? 1) : 1 + Math.floor(random() * 3)
    const incarnation = (newest?.incarnation ?? 1) + Math.floor(random() * 2)
    switch (pick(Object.keys(EVENTS) as LifecycleEvent['type'][])) {
      case 'offer':
        return { type: 'offer', nowMs, agentId: pick(['x', 'y', 'z']) }
      case 'grant':
        return { type: 'grant', nowMs, agentId, incarnation, leaseMs: 32_300 }
      case 'regrant': {
        // An agent that has logged the start says so; only a journal that has gone back asks again, and is not trusted.
        const goneBack = newest !== undefined && (started.has(newest.number) || random() < 0.2)
        const next = (newest?.incarnation ?? 0) + 1
        return goneBack
          ? { type: 'regrant', nowMs, agentId, incarnation: next, trustedSince: next }
          : { type: 'regrant', nowMs, agentId, incarnation, trustedSince: 0 }
      }
      case 'return':
        return { type: 'return', nowMs, agentId }
      case 'finish': {
        const cut = { state: 'CANCELLED' as const }
        const outcome = pick([succeeded(), failure('NETWORK_ERROR', true), failure('HTTP_ERROR'), interrupted, cut])
        return finish({ nowMs, agentId, attempt, outcome, random: random() })
      }
      case 'withdraw':
        return { type: 'withdraw', nowMs, reason: 'draining' }
      case 'lose':
        return { type: 'lose', nowMs, reason: 'absent' }
      case 'leaseOver':
        return { type: 'leaseOver', nowMs, random: random() }
      case 'cancel':
        // Rare, or every walk would end with it.
        return random() < 0.2 ? { type: 'cancel', nowMs, reason: 'no more needed' } : { type: 'tick', nowMs }
      case 'tick':
        return { type: 'tick', nowMs }
      case 'adopt':
        return random() < 0.2
          ? { type: 'adopt', nowMs, agentId, attempt, incarnation, leaseMs: 32_300 }
          : { type: 'tick', nowMs }
    }
  }

  function check(before: Command, event: LifecycleEvent, entry: string): void {
    const from = phaseOf(before)
    const to = phaseOf(command)
    const newest = newestAttempt(command)
    const granted = lastGrantedAttempt(command)
    const { maxAttempts } = command.spec.retry
    if (FINALS.includes(from)) broken('a final command changed')
    if ((newest?.number ?? 0) < (newestAttempt(before)?.number ?? 0)) broken('the attempt number fell')
    if ((granted?.number ?? 0) < (lastGrantedAttempt(before)?.number ?? 0)) broken('the last grant was forgotten')
    const runs = !FINALS.includes(to) && (newest?.state === 'RUNNING' || newest?.state === 'LOST')
    if ((command.status === 'RUNNING') !== runs) broken('RUNNING is not what the newest attempt says')
    const live = command.attempts.filter(({ finishedAtMs, state }) => finishedAtMs === null && state !== 'LOST')
    if (live.length > 1 || (live.length === 1 && live[0] !== newest)) broken('two attempts are live')
    if (FINALS.includes(to) && live.length > 0) broken('an attempt outlives its command')
    if (command.grantedCount > maxAttempts && !adopted) broken('more attempts were granted than asked for')
    if (command.grantedCount < before.grantedCount) broken('the number of grants fell')
    const finalMatches = FINALS.includes(to) === (command.finishedAtMs !== null)
    if (!finalMatches || (to === 'FAILED' || to === 'CANCELLED') !== (command.error !== null))
      broken('an end without reason')

    const dueMs = dueAtMs(command, policy)
    if ((FINALS.includes(to) || to === 'RUNNING') && dueMs !== null) broken('nothing is due, yet a time is set')
    if ((to === 'OFFERED' || to === 'LOST' || (to === 'WAITING' && !isReady(command))) && dueMs === null)
      broken('nobody would look at it again')
    if (dueMs !== null && !transition(command, { type: 'tick', nowMs: dueMs }, policy).ok)
      broken('it is due and nothing happens')
    if (dueMs !== null && transition(command, { type: 'tick', nowMs: dueMs - 1 }, policy).ok)
      broken('something is due earlier')

    // R7: back in the queue after a start only on request of the submitter.
    const wasStarted = from === 'RUNNING' || from === 'LOST'
    if (to === 'WAITING' && wasStarted && !(entry === 'retried' || entry === 'takenOver'))
      broken(`back in the queue by ${entry}`)
    if (to === 'WAITING' && wasStarted && before.grantedCount >= maxAttempts) broken('retried beyond the budget')
    if (to === 'WAITING' && wasStarted && before.cancel !== null) broken('retried although cancelled')

    // R1 and R6: one start an attempt, and only while it is the one that holds the command.
    if (to === 'RUNNING' && (event.type === 'grant' || event.type === 'regrant') && newest !== undefined) {
      if (started.has(newest.number)) broken('granted again although it was started')
      if (random() < 0.5) started.add(newest.number)
    }
    if (to === 'RUNNING' && event.type === 'adopt' && newest !== undefined) started.add(newest.number)
  }

  /** R8: with time and nothing but the timers, and an agent that takes what is offered and dies, it ends. */
  function toTheEnd(): void {
    for (let round = 0; round < 60 && !FINALS.includes(phaseOf(command)); round++) {
      nowMs += 10
      const phase = phaseOf(command)
      const agentId = newestAttempt(command)?.agentId ?? 'x'
      const dueMs = dueAtMs(command, policy)
      const events: LifecycleEvent[] = [
        { type: 'tick', nowMs },
        ...(phase === 'WAITING' ? [{ type: 'offer', nowMs, agentId } as const] : []),
        ...(phase === 'OFFERED' ? [{ type: 'grant', nowMs, agentId, incarnation: 9, leaseMs: 32_300 } as const] : []),
        ...(phase === 'RUNNING' ? [{ type: 'leaseOver', nowMs, random: 0.5 } as const] : []),
      ]
      const moved = events.map((event) => transition(command, event, policy)).find(({ ok }) => ok)
      if (moved?.ok) command = stored(moved.command)
      else if (dueMs !== null) nowMs = Math.max(nowMs, dueMs)
      else broken('no timer moves it')
    }
    if (!FINALS.includes(phaseOf(command))) broken('it never ends')
  }
}
