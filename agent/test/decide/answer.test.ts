import type { SyncResponse } from '@agent-executor/protocol'
import { ACK_VERDICTS } from '@agent-executor/protocol'
import t from 'tap'
import { type Action, actionsFor, type Known } from '../../src/decide/answer.ts'
import type { Phase } from '../../src/journal/journal.ts'
import { offer, seeded, syncResponse } from './fixtures/builders.ts'

const PHASES: readonly Phase[] = ['ACCEPTED', 'STARTED', 'FINISHED', 'ACKED']

type Facts = {
  known?: Record<string, Partial<Known> & { phase: Phase }>
  running?: string[]
  mode?: 'ready' | 'draining' | 'paused'
}

const decided = (change: Partial<SyncResponse>, { known = {}, running = [], mode = 'ready' }: Facts = {}): Action[] =>
  actionsFor(
    syncResponse(change),
    (attemptId) => {
      const facts = known[attemptId]
      return facts && { hasOutcome: false, active: false, ...facts }
    },
    running,
    mode,
  )

t.test('nothing is done for an answer that asks for nothing', async (t) => {
  t.same(decided({}, { known: { 'a.1': { phase: 'STARTED', active: true } }, running: ['a.1'] }), [])
})

t.test('an ack is written for a finished attempt, whatever its verdict', async (t) => {
  for (const verdict of ACK_VERDICTS)
    t.same(
      decided({ acks: [{ attemptId: 'a.1', verdict }] }, { known: { 'a.1': { phase: 'FINISHED', hasOutcome: true } } }),
      [{ type: 'ack', attemptId: 'a.1', verdict }],
    )
})

t.test('an ack of an attempt that is not finished, acknowledged already or unknown is ignored', async (t) => {
  for (const phase of ['ACCEPTED', 'STARTED', 'ACKED'] as const)
    t.same(decided({ acks: [{ attemptId: 'a.1', verdict: 'accepted' }] }, { known: { 'a.1': { phase } } }), [])
  t.same(decided({ acks: [{ attemptId: 'z.1', verdict: 'accepted' }] }), [])
})

t.test('a grant starts what is accepted, and that alone', async (t) => {
  t.same(decided({ grants: ['a.1'] }, { known: { 'a.1': { phase: 'ACCEPTED' } } }), [
    { type: 'start', attemptId: 'a.1' },
  ])
  for (const phase of ['STARTED', 'FINISHED', 'ACKED'] as const)
    t.same(decided({ grants: ['a.1'] }, { known: { 'a.1': { phase } } }), [], `not what is ${phase}`)
  t.same(decided({ grants: ['z.1'] }), [], 'not what the journal does not know')
})

t.test('a grant that is named twice starts once', async (t) => {
  t.same(decided({ grants: ['a.1', 'a.1'] }, { known: { 'a.1': { phase: 'ACCEPTED' } } }), [
    { type: 'start', attemptId: 'a.1' },
  ])
})

t.test('what is dropped and granted by the same answer is not started', async (t) => {
  t.same(decided({ grants: ['a.1'], drop: ['a.1'] }, { known: { 'a.1': { phase: 'ACCEPTED' } } }), [
    { type: 'drop', attemptId: 'a.1', active: false, started: false },
  ])
})

t.test('what is cancelled and granted by the same answer is not started', async (t) => {
  const desired = [{ attemptId: 'a.1', cancel: 'no longer needed', graceMs: 0 }]
  t.same(decided({ grants: ['a.1'], desired }, { known: { 'a.1': { phase: 'ACCEPTED' } } }), [
    { type: 'cancel', attemptId: 'a.1', reason: 'no longer needed', graceMs: 0, active: false },
  ])
})

t.test('a cancel reaches what is accepted, running or waiting to be resumed, and nothing that is over', async (t) => {
  const desired = [{ attemptId: 'a.1', cancel: 'enough', graceMs: 0 }]
  const cancel = (active: boolean) => [{ type: 'cancel', attemptId: 'a.1', reason: 'enough', graceMs: 0, active }]
  t.same(decided({ desired }, { known: { 'a.1': { phase: 'ACCEPTED' } } }), cancel(false))
  t.same(decided({ desired }, { known: { 'a.1': { phase: 'STARTED', active: true } }, running: ['a.1'] }), cancel(true))
  t.same(
    decided({ desired }, { known: { 'a.1': { phase: 'STARTED' } }, running: ['a.1'] }),
    cancel(false),
    'not resumed',
  )
  t.same(decided({ desired }, { known: { 'a.1': { phase: 'FINISHED', hasOutcome: true } } }), [])
  t.same(decided({ desired }, { known: { 'a.1': { phase: 'ACKED' } } }), [])
  t.same(decided({ desired }), [])
})

t.test('a drop stops what is running and forgets what is accepted, and leaves an outcome alone', async (t) => {
  const drop = (active: boolean, started: boolean) => [{ type: 'drop', attemptId: 'a.1', active, started }]
  t.same(decided({ drop: ['a.1'] }, { known: { 'a.1': { phase: 'ACCEPTED' } } }), drop(false, false))
  t.same(
    decided({ drop: ['a.1'] }, { known: { 'a.1': { phase: 'STARTED', active: true } }, running: ['a.1'] }),
    drop(true, true),
  )
  t.same(
    decided({ drop: ['a.1'] }, { known: { 'a.1': { phase: 'STARTED' } }, running: ['a.1'] }),
    drop(false, true),
    'not resumed',
  )
  t.same(decided({ drop: ['a.1', 'a.1'] }, { known: { 'a.1': { phase: 'ACCEPTED' } } }), drop(false, false), 'once')
  t.same(decided({ drop: ['a.1'] }, { known: { 'a.1': { phase: 'FINISHED', hasOutcome: true } } }), [])
  t.same(decided({ drop: ['a.1'] }, { known: { 'a.1': { phase: 'ACKED' } } }), [])
})

t.test(
  'what was shown as running and is neither dropped nor cancelled is resumed, unless it runs already',
  async (t) => {
    t.same(decided({}, { known: { 'a.1': { phase: 'STARTED' } }, running: ['a.1'] }), [
      { type: 'resume', attemptId: 'a.1' },
    ])
    t.same(decided({}, { known: { 'a.1': { phase: 'STARTED', active: true } }, running: ['a.1'] }), [])
    t.same(decided({}, { known: { 'a.1': { phase: 'STARTED' } } }), [], 'not what the request did not show')
    // Broken before: a DELAY that had been taken over ran on beside its successor, whose journal was not heard yet.
    const recovering = decided({ recovery: true }, { known: { 'a.1': { phase: 'STARTED' } }, running: ['a.1'] })
    t.same(recovering, [], 'not while the server recovers from a backup')
  },
)

t.test('an attempt whose run ended while the answer was on its way is not resumed', async (t) => {
  for (const phase of ['FINISHED', 'ACKED'] as const)
    t.same(decided({}, { known: { 'a.1': { phase, hasOutcome: true } }, running: ['a.1'] }), [])
})

t.test('an offer is accepted where the journal does not know it', async (t) => {
  t.same(decided({ offers: [offer('a.1')] }), [{ type: 'accept', offer: offer('a.1') }])
})

t.test('an offer of what is held already changes nothing', async (t) => {
  for (const phase of ['ACCEPTED', 'STARTED', 'FINISHED'] as const)
    t.same(decided({ offers: [offer('a.1')] }, { known: { 'a.1': { phase, hasOutcome: phase === 'FINISHED' } } }), [])
})

t.test('an offer of a tombstone with an outcome is answered by that outcome', async (t) => {
  for (const mode of ['ready', 'draining', 'paused'] as const)
    t.same(decided({ offers: [offer('a.1')] }, { known: { 'a.1': { phase: 'ACKED', hasOutcome: true } }, mode }), [
      { type: 'reopen', attemptId: 'a.1' },
    ])
})

t.test('an offer of a tombstone without an outcome is accepted: it never started', async (t) => {
  t.same(decided({ offers: [offer('a.1')] }, { known: { 'a.1': { phase: 'ACKED' } } }), [
    { type: 'accept', offer: offer('a.1') },
  ])
})

t.test('draining or paused, nothing new is accepted and what was taken goes on', async (t) => {
  for (const mode of ['draining', 'paused'] as const) {
    t.same(decided({ offers: [offer('a.1')] }, { mode }), [])
    t.same(decided({ offers: [offer('a.1')] }, { known: { 'a.1': { phase: 'ACKED' } }, mode }), [])
    t.same(decided({ grants: ['a.1'] }, { known: { 'a.1': { phase: 'ACCEPTED' } }, mode }), [
      { type: 'start', attemptId: 'a.1' },
    ])
  }
})

t.test('whatever an answer says, nothing starts that is not accepted and nothing runs twice', async (t) => {
  const seed = 20_261_121
  const random = seeded(seed)
  const ids = ['a.1', 'b.1', 'c.1']
  const some = () => ids.flatMap((id) => Array<string>(Math.floor(random() * 3)).fill(id))
  for (let round = 0; round < 20_000; round++) {
    const known = new Map(
      ids
        .filter(() => random() < 0.8)
        .map((id): [string, Known] => {
          const phase = PHASES[Math.floor(random() * 4)] as Phase
          const hasOutcome = phase === 'FINISHED' || (phase === 'ACKED' && random() < 0.5)
          return [id, { phase, hasOutcome, active: phase === 'STARTED' && random() < 0.5 }]
        }),
    )
    const mode = random() < 0.7 ? 'ready' : 'draining'
    const answer = syncResponse({
      offers: some().map((id) => offer(id)),
      grants: some(),
      drop: some(),
      acks: some().map((attemptId) => ({ attemptId, verdict: 'accepted' })),
      desired: some().map((attemptId) => ({ attemptId, cancel: 'x', graceMs: 0 })),
    })
    const actions = actionsFor(answer, (id) => known.get(id), [...new Set(some())], mode)
    const begun = new Set<string>()
    for (const action of actions) {
      const id = action.type === 'accept' ? action.offer.attemptId : action.attemptId
      const facts = known.get(id)
      const wrong = ((): string | null => {
        switch (action.type) {
          case 'start':
          case 'resume':
            if (facts?.phase !== (action.type === 'start' ? 'ACCEPTED' : 'STARTED')) return 'begins in the wrong phase'
            if (facts.active || begun.has(id)) return 'begins twice'
            if (answer.drop.includes(id) || answer.desired.some(({ attemptId }) => attemptId === id))
              return 'begins although unwanted'
            begun.add(id)
            return null
          case 'accept':
            return mode !== 'ready' || facts?.hasOutcome || (facts && facts.phase !== 'ACKED') ? 'accepts' : null
          case 'ack':
            return facts?.phase === 'FINISHED' ? null : 'acknowledges what is not finished'
          case 'reopen':
            return facts?.hasOutcome ? null : 'reopens what has no outcome'
          case 'cancel':
          case 'drop':
            return facts?.phase === 'ACCEPTED' || facts?.phase === 'STARTED' ? null : 'stops what is over'
        }
      })()
      if (wrong !== null) return void t.fail(`${wrong}: seed ${seed}, round ${round}`, { action, facts })
    }
  }
})
