import type { RegisterRequest } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import type { Agent, Turn } from '../../src/lifecycle/agent.ts'
import { type Command, phaseOf } from '../../src/lifecycle/command.ts'
import { serverLeaseMs } from '../../src/lifecycle/lease-policy.ts'
import { register } from '../../src/lifecycle/register.ts'
import { answerSync } from '../../src/lifecycle/sync.ts'
import {
  afterTurn,
  agent,
  entriesOf,
  heldAccepted,
  LEASE_MS,
  lost,
  offered,
  policy,
  registerRequest,
  running,
  simpleAgent,
  syncContext,
  syncRequest,
  turn,
} from './builders.ts'

const NOW = 10_000
const LEASE_OVER = serverLeaseMs(LEASE_MS)

const call = (shown: Turn, request: Partial<RegisterRequest> = {}, nowMs = NOW) =>
  register(shown, registerRequest(request), { nowMs, policy, limits: { leaseMs: LEASE_MS } })

/** The agent that a registration made, alive at NOW. */
const alive = (change: Partial<Agent> = {}) => agent('x', { renewedAtMs: NOW, ...change })

const unchanged = (t: Test, decision: ReturnType<typeof call>, what: string) => {
  t.notOk('agent' in decision, what)
  t.same([decision.changes, decision.evidence], [[], []], what)
}

t.test('a new agent gets the first incarnation, and all it said is remembered', async (t) => {
  const request = {
    labels: ['gpu'],
    types: ['DELAY'],
    slots: { DELAY: 2 },
    version: '9.9',
    logSeq: 12,
    previousIncarnation: 0,
  }
  const decision = call(turn({ agent: null }), request)
  t.match(decision.answer, { ok: true, incarnation: 1, protocol: 1, recovery: false })
  t.match(decision.agent, {
    ...{
      agentId: 'x',
      kind: 'sync',
      journalId: 'journal-of-x',
      nonce: 'nonce-2-of-x',
      labels: ['gpu'],
      types: ['DELAY'],
    },
    ...{
      slots: { DELAY: 2 },
      version: '9.9',
      logSeq: 12,
      seq: 0,
      epoch: 'epoch-one',
      inventoried: false,
      mode: 'ready',
    },
    ...{ incarnation: 1, renewedAtMs: NOW, lastSeenAtMs: NOW, leaseMs: LEASE_MS },
  })
})

t.test('an agent that the server has forgotten goes on counting', async (t) => {
  t.match(call(turn({ agent: null }), { previousIncarnation: 7 }).answer, { incarnation: 8 })
})

t.test('the next process of the same journal takes over at once, and its grants are trusted', async (t) => {
  const decision = call(turn({ agent: alive({ incarnation: 3, trustedSince: 2, seq: 9, logSeq: 5 }) }), {
    previousIncarnation: 3,
    logSeq: 5,
  })
  t.match(decision.answer, { ok: true, incarnation: 4 })
  t.match(decision.agent, { incarnation: 4, trustedSince: 2, seq: 0, logSeq: 5 })
  t.same(decision.changes, [], 'what it runs goes on')
})

t.test('a replayed registration answers as the first time and changes nothing', async (t) => {
  const now = alive({ incarnation: 3, nonce: 'nonce-2-of-x', seq: 4 })
  const decision = call(turn({ agent: now }), { previousIncarnation: 2 })
  t.match(decision.answer, { ok: true, incarnation: 3 })
  unchanged(t, decision, 'replayed')
})

t.test('a replay of an earlier registration does not win against the newer one', async (t) => {
  const now = alive({ incarnation: 3, nonce: 'nonce-3-of-x' })
  for (const previousIncarnation of [0, 1, 2, 4]) {
    const decision = call(turn({ agent: now }), { previousIncarnation })
    t.match(decision.answer, { ok: false, code: 'IDENTITY_CONFLICT' })
    unchanged(t, decision, `it believed ${previousIncarnation} to be current`)
  }
})

t.test('a process whose registration was taken but never answered says so by its nonces', async (t) => {
  const now = alive({ incarnation: 3, nonce: 'nonce-of-lost-answer' })
  const request = { previousIncarnation: 2, previousNonces: ['nonce-before', 'nonce-of-lost-answer'] }
  t.match(call(turn({ agent: now }), request).answer, { ok: true, incarnation: 4 })
  const copy = call(turn({ agent: now }), { ...request, journalId: 'another-journal' })
  t.match(copy.answer, { ok: false, code: 'IDENTITY_CONFLICT' }, 'another journal cannot')
})

t.test('a fresh journal', async (t) => {
  const fresh = { journalId: 'a-fresh-journal', previousIncarnation: 0 }

  t.test('is refused while the lease of the agent before lasts, and told when to come again', async (t) => {
    for (const lastedMs of [0, LEASE_MS, LEASE_OVER - 1]) {
      const decision = call(turn({ agent: alive() }), fresh, NOW + lastedMs)
      t.match(decision.answer, { ok: false, code: 'IDENTITY_CONFLICT' })
      const retryAfterMs = decision.answer.ok ? 0 : (decision.answer.retryAfterMs ?? 0)
      t.ok(NOW + lastedMs + retryAfterMs >= NOW + LEASE_OVER, 'not before it can succeed')
      unchanged(t, decision, 'refused')
    }
  })

  t.test('takes over after it: offers go back, what ran is LOST and never granted to it', async (t) => {
    const owned = [offered('a'), running('b'), lost('c')]
    const decision = call(turn({ agent: alive(), owned }), fresh, NOW + LEASE_OVER)
    t.match(decision.answer, { ok: true, incarnation: 2 })
    t.match(decision.agent, { journalId: 'a-fresh-journal', incarnation: 2, trustedSince: 2 })
    t.same(entriesOf(decision), ['withdrawn', 'lost'])
    t.same(
      owned.map((command) => phaseOf(afterTurn(decision, command))),
      ['WAITING', 'LOST', 'LOST'],
    )
  })
})

t.test('a copy of the journal, or one restored from a backup', async (t) => {
  const asksFor = (command: Command, registered: Agent) => {
    const request = syncRequest({
      incarnation: registered.incarnation,
      logSeq: registered.logSeq,
      held: [heldAccepted('a.1')],
    })
    const decision = answerSync(turn({ agent: registered, owned: [command] }), request, syncContext())
    if (!decision.answer.ok) throw new Error(decision.answer.code)
    const { grants, drop } = decision.answer.response
    return { grants, drop, phase: phaseOf(afterTurn(decision, command)) }
  }

  t.test('is refused while the process that went on with the original lives', async (t) => {
    t.match(call(turn({ agent: alive({ incarnation: 5 }) }), { previousIncarnation: 4 }).answer, {
      ok: false,
      code: 'IDENTITY_CONFLICT',
    })
  })

  t.test('takes over after the lease, and what was granted before it is not trusted', async (t) => {
    const shown = turn({ agent: alive({ incarnation: 5, logSeq: 9 }), owned: [running('a', { incarnation: 5 })] })
    const decision = call(shown, { previousIncarnation: 4, logSeq: 12 }, NOW + LEASE_OVER)
    t.match(decision.answer, { ok: true, incarnation: 6 })
    t.match(decision.agent, { trustedSince: 6, logSeq: 12 })
    t.same(decision.changes, [], 'its journal says what it holds')
    t.same(asksFor(running('a', { incarnation: 5 }), decision.agent as Agent), {
      grants: [],
      drop: ['a.1'],
      phase: 'LOST',
    })
  })

  t.test(
    'is found by a log position that went back: what it says it merely accepted is LOST, not granted',
    async (t) => {
      const decision = call(turn({ agent: alive({ incarnation: 5, logSeq: 9 }) }), {
        previousIncarnation: 5,
        logSeq: 8,
      })
      t.match(decision.answer, { ok: true, incarnation: 6 })
      t.match(decision.agent, { trustedSince: 6, logSeq: 8 })
      t.same(asksFor(running('a', { incarnation: 5 }), decision.agent as Agent), {
        grants: [],
        drop: ['a.1'],
        phase: 'LOST',
      })
      const own = asksFor(running('a', { incarnation: 6 }), decision.agent as Agent)
      t.same(own, { grants: ['a.1'], drop: [], phase: 'RUNNING' }, 'its own grants are trusted')
    },
  )

  t.test('stays found: a later restart of it does not make the old grants good again', async (t) => {
    const restored = call(turn({ agent: alive({ incarnation: 5, logSeq: 9 }) }), { previousIncarnation: 5, logSeq: 8 })
    const shown = turn({ agent: { ...(restored.agent as Agent), nonce: 'other-nonce' } })
    const restarted = call(shown, { previousIncarnation: 6, logSeq: 20 })
    t.match(restarted.agent, { incarnation: 7, trustedSince: 6 })
    const answer = asksFor(running('a', { incarnation: 5 }), restarted.agent as Agent)
    t.same(answer, { grants: [], drop: ['a.1'], phase: 'LOST' })
  })
})

t.test('an id that a client of the simple API uses is taken over after its lease only', async (t) => {
  const simple = simpleAgent('x', { renewedAtMs: NOW })
  t.match(call(turn({ agent: simple }), { previousIncarnation: 1 }).answer, { ok: false, code: 'IDENTITY_CONFLICT' })
  const owned = [running('a')]
  const decision = call(turn({ agent: simple, owned }), { previousIncarnation: 1 }, NOW + LEASE_OVER)
  t.match(decision, { answer: { ok: true, incarnation: 2 }, agent: { kind: 'sync' } })
  t.same(entriesOf(decision), ['lost'])
})

t.test('a new epoch voids every registration', async (t) => {
  const shown = (change: Partial<Agent> = {}, recovering: string[] = ['x']) =>
    turn({ agent: alive({ incarnation: 3, ...change }), epoch: 'epoch-two', recovering })

  t.test(
    'the journal that the backup knows is let in at once, whatever it believes, and its incarnations do not repeat',
    async (t) => {
      for (const previousIncarnation of [1, 3, 8]) {
        const decision = call(shown({ logSeq: 50 }), { previousIncarnation, logSeq: 60 })
        t.match(decision.answer, { ok: true, recovery: true, incarnation: Math.max(3, previousIncarnation) + 1 })
        t.match(decision.agent, { epoch: 'epoch-two', inventoried: false, seq: 0 })
      }
    },
  )

  t.test('a journal that is ahead of the backup is believed, one that is behind even that is not', async (t) => {
    const trusted = (request: Partial<RegisterRequest>) =>
      call(shown({ logSeq: 50, nonce: 'nonce-of-lost-answer' }), request).agent?.trustedSince === 0
    t.ok(trusted({ previousIncarnation: 3, logSeq: 50 }))
    t.ok(trusted({ previousIncarnation: 8, logSeq: 90 }))
    t.ok(trusted({ previousIncarnation: 2, previousNonces: ['nonce-of-lost-answer'], logSeq: 50 }))
    t.notOk(trusted({ previousIncarnation: 3, logSeq: 49 }), 'it was restored from a copy, and so was the server')
    t.notOk(trusted({ previousIncarnation: 2, logSeq: 50 }))
    const { agent: registered } = call(shown({ logSeq: 50 }), { previousIncarnation: 3, logSeq: 49 })
    t.equal(registered?.trustedSince, 4)
  })

  t.test('the nonce of the epoch before is no answer', async (t) => {
    t.match(call(shown({ nonce: 'nonce-2-of-x' })).answer, { ok: true, incarnation: 4 })
  })

  t.test(
    'another journal has to wait for the lease here too, for it cannot say what the one before has run',
    async (t) => {
      const fresh = { journalId: 'a-fresh-journal', previousIncarnation: 0 }
      t.match(call(shown(), fresh).answer, { ok: false, code: 'IDENTITY_CONFLICT' })
      t.match(call(shown(), fresh, NOW + LEASE_OVER).answer, { ok: true, recovery: true })
    },
  )
})

t.test('only a protocol that both speak is agreed on, and the refusal says who is old', async (t) => {
  t.match(call(turn({ agent: null }), { protocol: { min: 1, max: 9 } }).answer, { ok: true, protocol: 1 })
  for (const protocol of [
    { min: 2, max: 9 },
    { min: 0, max: 0 },
    { min: 3, max: 1 },
  ]) {
    const decision = call(turn({ agent: alive() }), { protocol })
    t.match(decision.answer, {
      ok: false,
      code: 'PROTOCOL_UNSUPPORTED',
      message: `the agent ${protocol.min} to ${protocol.max}`,
    })
    unchanged(t, decision, 'refused')
  }
})
