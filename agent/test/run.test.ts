import { getEventListeners } from 'node:events'
import t, { type Test } from 'tap'
import type { Ending, Executor } from '../src/executors/executor.ts'
import { type Run, run, type StopCause } from '../src/run.ts'
import { offer } from './decide/fixtures/builders.ts'

const START_MS = 1_000_000

/** One run of an executor that a test settles by hand. */
const begun = (change: Parameters<typeof offer>[1] = {}, nowMs = START_MS) => {
  const { promise, resolve, reject } = withResolvers<Ending>()
  let signal: AbortSignal | undefined
  const executor: Executor = {
    type: 'HTTP_GET_JSON',
    afterCrash: 'interrupted',
    run: (_work, abort) => {
      signal = abort
      return promise
    },
  }
  const running = run({ executor, offer: offer('c1.1', change), startedAtMs: START_MS, nowMs: () => nowMs })
  return { running, end: resolve, fail: reject, signal: () => signal as AbortSignal }
}

function withResolvers<Value>() {
  let resolve = (_value: Value) => {}
  let reject = (_error: unknown) => {}
  const promise = new Promise<Value>((settle, refuse) => {
    resolve = settle
    reject = refuse
  })
  return { promise, resolve, reject }
}

const ABORTED: Ending = { ok: false, error: { code: 'CANCELLED', message: 'aborted', retryable: false } }
const STOPPED: Record<StopCause['type'], object | null> = {
  cancel: { state: 'CANCELLED', error: { code: 'CANCELLED', message: 'enough' } },
  timeout: { state: 'TIMED_OUT', error: { code: 'TIMED_OUT', retryable: true } },
  fence: { state: 'INTERRUPTED', error: { code: 'INTERRUPTED', retryable: true } },
  drop: null,
  stop: null,
}
const cause = (type: StopCause['type']): StopCause => (type === 'cancel' ? { type, reason: 'enough' } : { type })

t.test('the executor gets the payload, the number of the attempt and the logged start', async (t) => {
  const seen: unknown[] = []
  const executor: Executor = {
    type: 'DELAY',
    afterCrash: 'resume',
    run: async (work) => {
      seen.push(work)
      return { ok: true, result: null }
    },
  }
  let begunCount = 0
  const { outcome } = run({
    executor,
    offer: offer('c7.3', { payload: { ms: 5 } }),
    startedAtMs: 77,
    nowMs: () => 78,
    onBegun: () => {
      t.equal(seen.length, 1, 'the effect has begun')
      begunCount += 1
    },
  })
  t.same(await outcome, { state: 'SUCCEEDED', result: null, resultTruncated: false })
  t.same(seen, [{ commandId: 'c7', attempt: 3, payload: { ms: 5 }, timeoutMs: 60_000, startedAtMs: 77 }])
  t.equal(begunCount, 1)
})

t.test('an ending of the executor becomes the outcome', async (t) => {
  const outcomeOf = async (ending: Ending) => {
    const { running, end } = begun()
    end(ending)
    return running.outcome
  }
  t.same(await outcomeOf({ ok: true, result: { a: 1 } }), {
    state: 'SUCCEEDED',
    result: { a: 1 },
    resultTruncated: false,
  })
  const error = { code: 'NETWORK_ERROR', message: 'refused', retryable: true }
  t.same(await outcomeOf({ ok: false, error }), { state: 'FAILED', error })
  t.same(await outcomeOf({ ok: false, error, result: 'partial' }), {
    state: 'FAILED',
    error,
    result: 'partial',
    resultTruncated: false,
  })
  const late = { code: 'TIMED_OUT', message: 'slow', retryable: true }
  t.match(await outcomeOf({ ok: false, error: late }), { state: 'TIMED_OUT', error: late })
})

t.test('each cause of a stop has its outcome; a drop and a stop have none to store', async (t) => {
  for (const [type, expected] of Object.entries(STOPPED) as [StopCause['type'], object | null][]) {
    const { running, end, signal } = begun()
    running.stop(cause(type))
    t.ok(signal().aborted)
    end(ABORTED)
    const outcome = await running.outcome
    if (expected === null) t.equal(outcome, null, type)
    else t.match(outcome, expected, type)
  }
})

t.test('the first cause wins, whatever comes after', async (t) => {
  const types = Object.keys(STOPPED) as StopCause['type'][]
  for (const first of types)
    for (const second of types.filter((type) => type !== first)) {
      const { running, end } = begun()
      running.stop(cause(first))
      running.stop(cause(second))
      end(ABORTED)
      const outcome = await running.outcome
      const expected = STOPPED[first]
      if (expected === null) t.equal(outcome, null, `${first} before ${second}`)
      else t.match(outcome, expected, `${first} before ${second}`)
    }
})

t.test('where the work was over first, its result stands, whatever the cause', async (t) => {
  for (const type of Object.keys(STOPPED) as StopCause['type'][]) {
    const over = begun()
    over.end({ ok: true, result: 'done' })
    over.running.stop(cause(type))
    t.match(await over.running.outcome, { state: 'SUCCEEDED', result: 'done' }, `${type} in the same moment`)

    const regardless = begun()
    regardless.running.stop(cause(type))
    regardless.end({ ok: true, result: 'done' })
    t.match(await regardless.running.outcome, { state: 'SUCCEEDED', result: 'done' }, `${type} that came too late`)
  }
})

t.test('a stop after the end changes nothing', async (t) => {
  const { running, end } = begun()
  const error = { code: 'NETWORK_ERROR', message: 'refused', retryable: true }
  end({ ok: false, error })
  t.same(await running.outcome, { state: 'FAILED', error })
  running.stop({ type: 'cancel', reason: 'late' })
  t.same(await running.outcome, { state: 'FAILED', error })
})

t.test('an executor that rejects is a fault of the agent, and a fault of ours does not hide a stop', async (t) => {
  const { running, fail } = begun()
  fail(new Error('bug'))
  t.match(await running.outcome, {
    state: 'FAILED',
    error: { code: 'INTERNAL_ERROR', message: /bug/, retryable: false },
  })

  const stopped = begun()
  stopped.running.stop({ type: 'cancel', reason: 'enough' })
  stopped.fail(new Error('bug while stopping'))
  t.match(await stopped.running.outcome, { state: 'CANCELLED' })
})

// Broken before: the throw went through to whoever handled the server's answer, and the attempt never ended.
t.test('an executor that throws at once is a fault of the agent too', async (t) => {
  const executor: Executor = {
    type: 'DELAY',
    afterCrash: 'resume',
    run: () => {
      throw new Error('bug before the first await')
    },
  }
  const { outcome } = run({ executor, offer: offer(), startedAtMs: START_MS, nowMs: () => START_MS })
  t.match(await outcome, { state: 'FAILED', error: { code: 'INTERNAL_ERROR', message: /before the first await/ } })
})

t.test('an executor that never settles is given up, and its outcome is named unknown', async (t) => {
  const clock = fakeTimers(t)
  for (const type of ['cancel', 'timeout', 'fence'] as const) {
    const { running } = begun()
    running.stop(cause(type))
    clock.advance(10_000)
    t.match(
      await running.outcome,
      { state: 'INTERRUPTED', error: { code: 'INTERRUPTED', message: /did not stop/ } },
      type,
    )
  }
  for (const type of ['drop', 'stop'] as const) {
    const { running } = begun()
    running.stop(cause(type))
    clock.advance(10_000)
    t.equal(await running.outcome, null, type)
  }
})

t.test('an attempt ends when its time is over, counted from the logged start', async (t) => {
  const clock = fakeTimers(t)
  const settle = ({ running, end, signal }: ReturnType<typeof begun>): Run => {
    signal().addEventListener('abort', () => end(ABORTED))
    return running
  }
  const fresh = settle(begun({ timeoutMs: 500 }))
  const resumed = settle(begun({ timeoutMs: 500 }, START_MS + 400))
  const overdue = settle(begun({ timeoutMs: 500 }, START_MS + 86_400_000))
  t.same(clock.delays(), [1, 100, 500])
  clock.advance(1)
  t.match(await overdue.outcome, { state: 'TIMED_OUT' })
  clock.advance(99)
  t.match(await resumed.outcome, { state: 'TIMED_OUT' })
  clock.advance(400)
  t.match(await fresh.outcome, { state: 'TIMED_OUT', error: { message: 'The attempt took longer than 500 ms.' } })
})

// Broken before: resumed after the wall clock was set back an hour, an attempt could run an hour longer.
t.test('a wall clock that was set back behind the start does not give an attempt more time', async (t) => {
  const clock = fakeTimers(t)
  const { running, end, signal } = begun({ timeoutMs: 500 }, START_MS - 3_600_000)
  signal().addEventListener('abort', () => end(ABORTED))
  t.same(clock.delays(), [500])
  clock.advance(500)
  t.match(await running.outcome, { state: 'TIMED_OUT' })
})

t.test('a timeout beyond 2^31 ms does not fire at once, and fires in time', async (t) => {
  const clock = fakeTimers(t)
  const days = 30 * 86_400_000
  const { running, end, signal } = begun({ timeoutMs: days })
  signal().addEventListener('abort', () => end(ABORTED))
  clock.advance(2 ** 31 - 1)
  t.notOk(signal().aborted)
  clock.advance(days - (2 ** 31 - 1) - 1)
  t.notOk(signal().aborted, 'not a millisecond early')
  clock.advance(1)
  t.match(await running.outcome, { state: 'TIMED_OUT' })
})

t.test('a run that is over leaves no timer behind', async (t) => {
  const clock = fakeTimers(t)
  const { running, end } = begun()
  end({ ok: true, result: 1 })
  await running.outcome
  t.same(clock.delays(), [])
})

t.test('a result is made storable: NUL, lone surrogates and what JSON cannot say', async (t) => {
  const { running, end } = begun()
  end({ ok: true, result: { text: 'a\0b\ud800c', none: undefined as never } })
  t.same(await running.outcome, {
    state: 'SUCCEEDED',
    result: { text: 'a\ufffdb\ufffdc', none: null },
    resultTruncated: false,
  })
})

t.test('a result beyond the limit is cut and flagged, never refused', async (t) => {
  const { running, end } = begun({ resultBytesMax: 1000 })
  end({ ok: true, result: { body: 'x'.repeat(200_000_00) } })
  const outcome = await running.outcome
  t.match(outcome, { state: 'SUCCEEDED', resultTruncated: true, result: String })
  t.ok(Buffer.byteLength(JSON.stringify(outcome?.result)) <= 1000)
})

t.test('what was stopped keeps the result it had until then', async (t) => {
  const partly: Ending = { ...ABORTED, result: { text: 'partly' } }
  for (const [type, expected] of Object.entries(STOPPED) as [StopCause['type'], object | null][]) {
    const { running, end, signal } = begun()
    running.stop(cause(type))
    t.same(signal().reason, cause(type), 'the executor knows why')
    end(partly)
    const outcome = await running.outcome
    if (expected === null) t.equal(outcome, null, type)
    else t.match(outcome, { ...expected, result: { text: 'partly' }, resultTruncated: false }, type)
  }
})

t.test('an ending that says it was idle, or interrupted, is an outcome of that name', async (t) => {
  for (const [code, state] of [
    ['IDLE_TIMEOUT', 'TIMED_OUT'],
    ['INTERRUPTED', 'INTERRUPTED'],
    ['EXIT_NONZERO', 'FAILED'],
  ] as const) {
    const { running, end } = begun()
    end({ ok: false, error: { code, message: 'x', retryable: false } })
    t.match(await running.outcome, { state, error: { code } })
  }
})

t.test('an executor that adopts is waited for until its effect is over, but not by an agent that stops', async (t) => {
  const clock = fakeTimers(t)
  const adopting = () => {
    const { promise, resolve } = withResolvers<Ending>()
    const executor: Executor = { type: 'RUN_AGENT', afterCrash: 'adopt', run: () => promise }
    const running = run({ executor, offer: offer(), startedAtMs: START_MS, nowMs: () => START_MS })
    let settled = false
    void running.outcome.then(() => {
      settled = true
    })
    return { running, end: resolve, settled: () => settled }
  }
  const cancelled = adopting()
  cancelled.running.stop({ type: 'cancel', reason: 'enough' })
  clock.advance(3_600_000)
  await Promise.resolve()
  t.notOk(cancelled.settled())
  cancelled.end(ABORTED)
  t.match(await cancelled.running.outcome, { state: 'CANCELLED' })

  const left = adopting()
  left.running.stop({ type: 'cancel', reason: 'enough' })
  left.running.stop({ type: 'stop' })
  clock.advance(10_000)
  t.equal(await left.running.outcome, null, 'its next life goes on')
})

t.test('a stop leaves no listener on the signal once the run is over', async (t) => {
  const { running, end, signal } = begun()
  running.stop({ type: 'cancel', reason: 'x' })
  end(ABORTED)
  await running.outcome
  t.equal(getEventListeners(signal(), 'abort').length, 0)
})

/** setTimeout of this process under the test's control. Promises are not touched. */
function fakeTimers(t: Test) {
  const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout }
  type Timer = { atMs: number; body: () => void }
  const timers = new Set<Timer>()
  let nowMs = 0
  const set = (body: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
    const timer: Timer & { unref: () => Timer } = {
      atMs: nowMs + (ms > 2_147_483_647 ? 1 : ms),
      body: () => body(...args),
      unref: () => timer,
    }
    timers.add(timer)
    return timer
  }
  Object.assign(globalThis, { setTimeout: set, clearTimeout: (timer: Timer) => timers.delete(timer) })
  t.teardown(() => Object.assign(globalThis, real))
  const due = (endMs: number) => [...timers].sort((a, b) => a.atMs - b.atMs).find(({ atMs }) => atMs <= endMs)
  return {
    delays: () => [...timers].map(({ atMs }) => atMs - nowMs).sort((a, b) => a - b),
    advance(ms: number): void {
      const endMs = nowMs + ms
      for (let timer = due(endMs); timer !== undefined; timer = due(endMs)) {
        timers.delete(timer)
        nowMs = timer.atMs
        timer.body()
      }
      nowMs = endMs
    },
  }
}
