import { HeldAttempt } from '@agent-executor/protocol'
import { Compile } from '@agent-executor/protocol/typebox'
import t from 'tap'
import { backoffMs, jittered } from '../../src/decide/backoff.ts'
import { inventory, wanted } from '../../src/decide/inventory.ts'
import { fenceMarginMs, leaseEndsMs, mustStop } from '../../src/decide/lease.ts'
import { recover } from '../../src/decide/recover.ts'
import type { Entry } from '../../src/journal/journal.ts'
import { entry, offer, seeded } from './fixtures/builders.ts'

const ROOMY = { bytesMax: 1_000_000, recovery: false }
const succeeded = () => ({ state: 'SUCCEEDED', result: 1 }) as const

t.test('recover: a restart asks again, resumes, interrupts or reports by phase and declared safety', async (t) => {
  for (const [phase, afterCrash, action] of [
    ['STARTED', 'adopt', 'resume'],
    ['ACCEPTED', 'resume', 'ask'],
    ['ACCEPTED', 'interrupted', 'ask'],
    ['STARTED', 'resume', 'resume'],
    ['STARTED', 'interrupted', 'interrupt'],
    ['FINISHED', 'resume', 'report'],
    ['FINISHED', 'interrupted', 'report'],
    ['ACKED', 'resume', null],
    ['ACKED', 'interrupted', null],
  ] as const)
    t.equal(recover(phase, afterCrash), action, `${phase}, ${afterCrash}`)
})

t.test('inventory', async (t) => {
  t.test('names every open entry by its phase, outcomes with their hash', async (t) => {
    const open = [
      entry('ACCEPTED', 'a.1'),
      entry('STARTED', 'b.1'),
      entry('FINISHED', 'c.1'),
      entry('FINISHED', 'd.1', { outcomeState: 'INTERRUPTED' }),
      entry('FINISHED', 'e.1', { outcomeState: 'CANCELLED' }),
    ]
    const { held, complete } = inventory(open, succeeded, ROOMY)
    t.ok(complete)
    const phases = Object.fromEntries(held.map(({ attemptId, phase }) => [attemptId, phase]))
    t.same(phases, { 'a.1': 'accepted', 'b.1': 'running', 'c.1': 'finished', 'd.1': 'interrupted', 'e.1': 'finished' })
    for (const item of held) {
      t.ok(Compile(HeldAttempt).Check(item), `${item.attemptId} has the shape of the protocol`)
      const over = item.phase === 'finished' || item.phase === 'interrupted'
      t.equal(item.outcomeSha256 !== undefined && item.outcome !== undefined, over)
      t.notOk('offer' in item)
    }
  })

  t.test('is empty and complete where nothing is open', async (t) => {
    t.same(inventory([], succeeded, ROOMY), { held: [], complete: true })
  })

  t.test('carries outcomes up to the byte budget and names the rest', async (t) => {
    const open = Array.from({ length: 10 }, (_, index) => entry('FINISHED', `c${index}.1`))
    const { held, complete } = inventory(open, succeeded, { bytesMax: 350, recovery: false })
    t.equal(held.length, 10)
    t.equal(held.filter(({ outcome }) => outcome !== undefined).length, 3)
    t.equal(complete, false)
    t.equal(inventory(open, succeeded, { bytesMax: 1000, recovery: false }).complete, true, 'to the byte')
  })

  t.test('carries at least one outcome, however large, so that the outbox always moves', async (t) => {
    const open = [entry('FINISHED', 'a.1', { outcomeBytes: 16e6 }), entry('FINISHED', 'b.1', { outcomeBytes: 16e6 })]
    const { held, complete } = inventory(open, succeeded, { bytesMax: 1, recovery: false })
    t.equal(held.filter(({ outcome }) => outcome !== undefined).length, 1)
    t.equal(complete, false)
  })

  t.test('reads no outcome that it does not send', async (t) => {
    const read: string[] = []
    const open = ['a.1', 'b.1', 'c.1'].map((id) => entry('FINISHED', id))
    const outcomeOf = (id: string) => {
      read.push(id)
      return succeeded()
    }
    inventory(open, outcomeOf, { bytesMax: 150, recovery: false })
    t.equal(read.length, 1)
  })

  t.test('in recovery it has every offer', async (t) => {
    const open = [entry('ACCEPTED', 'a.1'), entry('STARTED', 'b.1'), entry('FINISHED', 'c.1')]
    const { held } = inventory(open, succeeded, { bytesMax: 1_000_000, recovery: true })
    t.same(
      held.map((item) => [item.attemptId, item.offer?.attemptId]),
      [
        ['a.1', 'a.1'],
        ['b.1', 'b.1'],
        ['c.1', 'c.1'],
      ],
    )
  })

  // Broken before: an outcome that had been superseded decided the command before the journal with the later attempt spoke.
  t.test('in recovery only what has decided a command before says how it ended', async (t) => {
    const open = [
      entry('FINISHED', 'a.1', { verdict: 'accepted' }),
      entry('FINISHED', 'b.1', { verdict: 'duplicate' }),
      entry('FINISHED', 'c.1', { verdict: 'accepted', outcomeState: 'FAILED' }),
      entry('FINISHED', 'd.1', { verdict: 'superseded' }),
      entry('FINISHED', 'e.1', { verdict: null }),
      entry('FINISHED', 'f.1', { verdict: 'dropped', outcomeState: 'INTERRUPTED' }),
    ]
    const told = (recovery: boolean) =>
      inventory(open, succeeded, { bytesMax: 1_000_000, recovery })
        .held.filter(({ outcome }) => outcome !== undefined)
        .map(({ attemptId }) => attemptId)
        .sort()
    t.same(told(true), ['a.1', 'b.1'])
    t.same(told(false), ['a.1', 'b.1', 'c.1', 'd.1', 'e.1', 'f.1'], 'and all else when it is over')
  })

  t.test(
    'in recovery the offers of finished attempts keep to a budget too, the newest first, and live ones always go',
    async (t) => {
      const payload = 'x'.repeat(1000)
      const open = [
        entry('STARTED', 'a.1', { offer: offer('a.1', { payload }) }),
        ...Array.from({ length: 10 }, (_, index) =>
          entry('FINISHED', `c${index}.1`, { offer: offer(`c${index}.1`, { payload }) }),
        ),
      ]
      const { held } = inventory(open, succeeded, { bytesMax: 2000, recovery: true })
      t.equal(held.length, 11)
      t.ok(held[0]?.offer)
      const named = held
        .filter((item) => item.phase === 'finished' && item.offer !== undefined)
        .map(({ attemptId }) => attemptId)
      t.same(named, ['c9.1', 'c8.1', 'c7.1'])
    },
  )

  // Broken before: 100,000 reopened tombstones and one more were a request that no server takes, for ever.
  t.test('names no more than the protocol takes, nothing live is left out, and the rest follows', async (t) => {
    const open: Entry[] = Array.from({ length: 120_000 }, (_, index) =>
      entry('FINISHED', `c${String(index).padStart(6, '0')}.1`),
    )
    open.push(entry('STARTED', 'z.1'))
    const { held, complete } = inventory(open, succeeded, { bytesMax: 8 * 1024 * 1024, recovery: true })
    t.ok(held.length <= 100_000)
    t.equal(complete, false)
    t.ok(held.some(({ attemptId }) => attemptId === 'z.1'))
    t.ok(
      held.some(({ attemptId }) => attemptId === 'c119999.1'),
      'the newest',
    )
    t.ok(Buffer.byteLength(JSON.stringify(held)) < 33_554_432, 'below the default SYNC_BYTES_MAX of the server')
  })
})

t.test('wanted', async (t) => {
  const slots = { DELAY: 3, HTTP_GET_JSON: 2 }
  const always = () => true
  const delay = (phase: 'ACCEPTED' | 'STARTED' | 'FINISHED', id: string) =>
    entry(phase, id, { offer: offer(id, { type: 'DELAY' }) })

  t.test('is what is free by type: accepted and started take a slot, finished does not', async (t) => {
    const open = [delay('ACCEPTED', 'a.1'), delay('STARTED', 'b.1'), delay('FINISHED', 'c.1')]
    t.same(wanted(slots, open, 'ready', always), { DELAY: 1, HTTP_GET_JSON: 2 })
  })

  t.test('is nothing of a type whose attempts could not begin now', async (t) => {
    t.same(
      wanted(slots, [], 'ready', (type) => type !== 'DELAY'),
      { DELAY: 0, HTTP_GET_JSON: 2 },
    )
  })

  t.test('is never below zero', async (t) => {
    const open = ['a.1', 'b.1', 'c.1', 'd.1', 'e.1'].map((id) => delay('STARTED', id))
    t.same(wanted(slots, open, 'ready', always), { DELAY: 0, HTTP_GET_JSON: 2 })
  })

  t.test('is nothing while draining or paused', async (t) => {
    t.same(wanted(slots, [], 'draining', always), {})
    t.same(wanted(slots, [], 'paused', always), {})
  })

  t.test('is nothing while ten thousand outcomes wait to be reported', async (t) => {
    const outbox = Array.from({ length: 10_000 }, (_, index) => entry('FINISHED', `c${index}.1`))
    t.same(wanted(slots, outbox, 'ready', always), {})
    t.same(wanted(slots, outbox.slice(1), 'ready', always), slots)
  })
})

t.test('backoff grows from 125–250 ms to 2.5–5 s and never leaves these bounds', async (t) => {
  const random = seeded(7)
  for (let failures = 0; failures < 2000; failures++) {
    const boundMs = Math.min(5000, 250 * 2 ** failures)
    const ms = backoffMs(failures, random())
    if (!(Number.isInteger(ms) && ms >= boundMs / 2 && ms <= boundMs)) t.fail(`${ms} ms after ${failures} failures`)
  }
  t.equal(backoffMs(0, 0), 125)
  t.equal(backoffMs(0, 0.999_999), 250)
  t.equal(backoffMs(100, 0), 2500)
  t.ok(backoffMs(Number.MAX_SAFE_INTEGER, 0.999_999) <= 5000)
})

t.test('a sync interval varies by ten percent either way', async (t) => {
  const random = seeded(8)
  t.equal(jittered(1000, 0), 900)
  for (let round = 0; round < 10_000; round++) {
    const ms = jittered(1000, random())
    if (ms < 900 || ms > 1100) t.fail(`${ms} ms`)
  }
})

t.test('lease', async (t) => {
  t.test('the margin is 2 s, at most a fifth of a short lease', async (t) => {
    t.equal(fenceMarginMs(30_000), 2000)
    t.equal(fenceMarginMs(10_000), 2000)
    t.equal(fenceMarginMs(1000), 200)
    t.equal(fenceMarginMs(0), 0)
  })

  t.test(
    'the agent stops before the server may act, whenever the answer came and however their clocks differ by 1 %',
    async (t) => {
      const seed = 42
      const random = seeded(seed)
      for (let round = 0; round < 50_000; round++) {
        const leaseMs = 1000 + Math.floor(random() * 3_600_000)
        const sentMs = Math.floor(random() * 1e9)
        const committedMs = sentMs + Math.floor(random() * 60_000)
        const endsMs = leaseEndsMs(sentMs, leaseMs)
        const takeoverMs = committedMs + (Math.ceil(leaseMs * 1.01) + 2000) * 0.995
        // The agent's clock never runs slow; real time of its last moment is therefore no later than this.
        const stopsMs = endsMs - fenceMarginMs(leaseMs)
        if (!(mustStop(stopsMs, endsMs, leaseMs) && !mustStop(stopsMs - 1, endsMs, leaseMs)))
          t.fail(`not to the millisecond: seed ${seed}, round ${round}`)
        if (!(stopsMs + fenceMarginMs(leaseMs) < takeoverMs)) t.fail(`too late: seed ${seed}, round ${round}`)
        if (!mustStop(takeoverMs, endsMs, leaseMs)) t.fail(`goes on after the takeover: seed ${seed}, round ${round}`)
      }
    },
  )

  t.test('without any lease nothing may start', async (t) => {
    t.ok(mustStop(0, 0, 30_000))
    t.ok(mustStop(1, 0, 0))
  })
})
