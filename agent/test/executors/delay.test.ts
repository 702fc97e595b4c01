import { getEventListeners } from 'node:events'
import t from 'tap'
import { createDelayExecutor } from '../../src/executors/delay.ts'
import { noContainer } from './fixtures/no-container.ts'

const signal = new AbortController().signal
const work = (ms: number, startedAtMs: number) => ({
  ...{ commandId: 'c', attempt: 1, payload: { ms } },
  ...{ timeoutMs: 60_000, startedAtMs },
})

/** Clocks that stand still except while somebody sleeps. */
const fakeTime = (wallMs: number) => {
  const slept: number[] = []
  let monotonicMs = 7
  return {
    slept,
    stepWall: (ms: number) => {
      wallMs += ms
    },
    nowMs: () => wallMs,
    monotonicMs: () => monotonicMs,
    sleep: async (ms: number) => {
      slept.push(ms)
      monotonicMs += ms
      wallMs += ms
    },
  }
}

t.test('declares that a restart resumes it', async (t) => {
  const executor = createDelayExecutor({ nowMs: Date.now })
  t.match(executor, { type: 'DELAY', afterCrash: 'resume' })
})

t.test('waits the milliseconds asked for and says how long it took', async (t) => {
  const startedAtMs = Date.now()
  const ending = await createDelayExecutor({ nowMs: Date.now }).run(work(30, startedAtMs), signal, noContainer)
  t.ok(Date.now() - startedAtMs >= 29)
  t.match(ending, { ok: true, result: { ok: true, tookMs: Number } })
  t.ok(ending.ok && (ending.result as { tookMs: number }).tookMs >= 30)
})

t.test('does not wait at all for 0 ms', async (t) => {
  const time = fakeTime(1000)
  t.same(await createDelayExecutor(time).run(work(0, 1000), signal, noContainer), {
    ok: true,
    result: { ok: true, tookMs: 0 },
  })
  t.same(time.slept, [])
})

t.test('waits only the rest after a restart and counts from the first start', async (t) => {
  const time = fakeTime(1700)
  t.same(await createDelayExecutor(time).run(work(1000, 1000), signal, noContainer), {
    ok: true,
    result: { ok: true, tookMs: 1000 },
  })
  t.same(time.slept, [300])
})

t.test('ends at once where the deadline passed while the agent was down', async (t) => {
  const time = fakeTime(61_000)
  t.same(await createDelayExecutor(time).run(work(1000, 1000), signal, noContainer), {
    ok: true,
    result: { ok: true, tookMs: 60_000 },
  })
  t.same(time.slept, [])
})

t.test('waits no longer than ms where the wall clock was set back behind the start', async (t) => {
  const time = fakeTime(1000)
  t.same(await createDelayExecutor(time).run(work(500, 9_999_999), signal, noContainer), {
    ok: true,
    result: { ok: true, tookMs: 500 },
  })
  t.same(time.slept, [500])
})

for (const stepMs of [-3_600_000, 3_600_000]) {
  t.test(`is not moved by a wall clock step of ${stepMs} ms during the wait`, async (t) => {
    const time = fakeTime(5000)
    const sleep = async (ms: number) => {
      if (time.slept.length === 0) time.stepWall(stepMs)
      // Half of it, as a timer that fires early: the rest is computed while the wall clock is wrong.
      await time.sleep(Math.ceil(ms / 2))
    }
    const ending = await createDelayExecutor({ ...time, sleep }).run(work(1000, 5000), signal, noContainer)
    t.same(ending, { ok: true, result: { ok: true, tookMs: 1000 } })
    t.equal(
      time.slept.reduce((sum, ms) => sum + ms, 0),
      1000,
    )
  })
}

t.test('splits a wait that is too long for one timer', async (t) => {
  const time = fakeTime(0)
  await createDelayExecutor(time).run(work(2 ** 32, 0), signal, noContainer)
  t.same(time.slept, [2 ** 31 - 1, 2 ** 31 - 1, 2])
})

t.test('settles at once when aborted and leaves no listener and no timer behind', async (t) => {
  const abort = new AbortController()
  const began = performance.now()
  const running = createDelayExecutor({ nowMs: Date.now }).run(work(60_000, Date.now()), abort.signal, noContainer)
  setImmediate(() => abort.abort(new Error('cancelled')))
  t.match(await running, { ok: false, error: { code: 'CANCELLED' } })
  t.ok(performance.now() - began < 1000)
  t.equal(getEventListeners(abort.signal, 'abort').length, 0)
})

t.test('settles at once when aborted before it began', async (t) => {
  const ending = createDelayExecutor({ nowMs: Date.now }).run(
    work(60_000, Date.now()),
    AbortSignal.abort(),
    noContainer,
  )
  t.match(await ending, { ok: false, error: { code: 'CANCELLED' } })
})
