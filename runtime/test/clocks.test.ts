import t from 'tap'
import { createLeaseClock, createSteadyClock } from '../src/index.ts'

const HOUR_MS = 3_600_000

/** The clocks of a machine, which a test moves on together or apart. */
function createMachine() {
  const now = { wallMs: 1_700_000_000_000, monotonicMs: 5000.25, uptimeMs: 90_000 }
  const sources = {
    wallNowMs: () => Math.floor(now.wallMs),
    monotonicNowMs: () => now.monotonicMs,
    uptimeS: () => Math.floor(now.uptimeMs / 10) / 100,
  }
  const move = (wallMs: number, monotonicMs: number, uptimeMs: number) => {
    now.wallMs += wallMs
    now.monotonicMs += monotonicMs
    now.uptimeMs += uptimeMs
  }
  return { now, sources, pass: (ms: number) => move(ms, ms, ms), move }
}

/** A generator of numbers from 0 to below 1 that repeats itself for the same seed (Numerical Recipes' constants). */
function createRandom(seed: number) {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

t.test('the steady clock', async (t) => {
  for (const stepMs of [HOUR_MS, -HOUR_MS]) {
    t.test(
      `turns a step of ${stepMs / HOUR_MS} h of the wall clock into a lean of 0.5 % until it is there`,
      async (t) => {
        const { now, sources, pass, move } = createMachine()
        const clock = createSteadyClock(sources)
        const startMs = clock()
        move(stepMs, 0, 0)
        t.equal(clock(), startMs, 'no jump')
        for (let second = 0; second < 1000; second++) {
          pass(1000)
          clock()
        }
        t.equal(clock(), startMs + 1_000_000 + Math.sign(stepMs) * 5000)
        pass(HOUR_MS / 0.005)
        t.ok(Math.abs(clock() - now.wallMs) <= 1, 'has arrived')
        pass(123_456)
        t.ok(Math.abs(clock() - now.wallMs) <= 1, 'and stays with the wall clock')
      },
    )
  }

  t.test('follows the drift that NTP corrects', async (t) => {
    const { now, sources, move } = createMachine()
    const clock = createSteadyClock(sources)
    let mostApartMs = 0
    for (let minute = 0; minute < 1440; minute++) {
      move(60_000 * 1.0005, 60_000, 60_000)
      mostApartMs = Math.max(mostApartMs, Math.abs(clock() - now.wallMs))
    }
    t.ok(mostApartMs <= 1, String(mostApartMs))
  })

  t.test('never goes back and keeps to its speed, whatever the wall clock does', async (t) => {
    const seed = 42
    const random = createRandom(seed)
    const { sources, move, now } = createMachine()
    const clock = createSteadyClock(sources)
    const startMs = now.monotonicMs
    const firstMs = clock()
    let lastMs = firstMs
    for (let read = 0; read < 100_000; read++) {
      const ms = random() * 3
      move((random() - 0.5) * 1000 + ms, random() < 0.01 ? -1 : ms, ms)
      const nowMs = clock()
      if (nowMs < lastMs || !Number.isInteger(nowMs)) return t.fail(`went back at read ${read} of seed ${seed}`)
      lastMs = nowMs
    }
    const speed = (lastMs - firstMs) / (now.monotonicMs - startMs)
    t.ok(speed > 0.99 && speed < 1.01, `speed ${speed}`)
  })

  t.test('starts at the wall clock by default', async (t) => {
    t.ok(Math.abs(createSteadyClock()() - Date.now()) < 1000)
  })
})

t.test('the lease clock', async (t) => {
  t.test('counts a suspension that only uptime and wall clock saw', async (t) => {
    const { sources, pass, move } = createMachine()
    const clock = createLeaseClock(sources)
    pass(1000)
    clock()
    move(600_000, 3, 600_000)
    t.ok(clock() >= 601_000 && clock() <= 601_010, String(clock()))
    pass(5000)
    t.ok(clock() >= 606_000 && clock() <= 606_020, String(clock()))
  })

  t.test('counts a pause of a VM that only the wall clock saw, also twice', async (t) => {
    const { sources, pass, move } = createMachine()
    const clock = createLeaseClock(sources)
    for (const total of [600_000, 1_200_000]) {
      move(600_000, 0, 0)
      t.ok(clock() >= total && clock() <= total + 20, String(clock()))
    }
    pass(7000)
    t.ok(clock() >= 1_207_000 && clock() <= 1_207_020, String(clock()))
  })

  t.test('takes no notice of a wall clock that is set back, and still counts its later pauses', async (t) => {
    const { sources, pass, move } = createMachine()
    const clock = createLeaseClock(sources)
    pass(1000)
    move(-HOUR_MS, 0, 0)
    t.ok(clock() >= 1000 && clock() <= 1010, String(clock()))
    pass(1000)
    t.ok(clock() >= 2000 && clock() <= 2010, String(clock()))
    move(600_000, 0, 0)
    t.ok(clock() >= 602_000 && clock() <= 602_020, String(clock()))
  })

  t.test('runs on when a wall clock that was set forward is set back again', async (t) => {
    const { sources, pass, move } = createMachine()
    const clock = createLeaseClock(sources)
    move(HOUR_MS, 0, 0)
    clock()
    move(-HOUR_MS, 0, 0)
    const beforeMs = clock()
    pass(5000)
    t.ok(clock() - beforeMs >= 5000 - 1 && clock() - beforeMs <= 5020, String(clock() - beforeMs))
  })

  t.test('creeps less than 20 ms in 100,000 reads 1 ms apart', async (t) => {
    const { sources, pass } = createMachine()
    const clock = createLeaseClock(sources)
    for (let read = 0; read < 100_000; read++) {
      pass(1)
      clock()
    }
    t.ok(clock() >= 100_000 && clock() < 100_020, String(clock()))
  })

  t.test('never goes back and never measures more than 100 ms short, whatever the sources do', async (t) => {
    const seed = 7
    const random = createRandom(seed)
    const { sources, move } = createMachine()
    const clock = createLeaseClock(sources)
    let realMs = 0
    let mostAheadMs = 0
    let lastMs = 0
    for (let read = 0; read < 100_000; read++) {
      const ms = random() * 20
      const stepMs = random() < 0.1 ? (random() - 0.5) * (random() < 0.5 ? 400 : 20_000) : 0
      const suspended = random() < 0.05
      realMs += ms
      move(ms + stepMs, suspended ? 0 : ms, ms)
      const nowMs = clock()
      const aheadMs = nowMs - realMs
      if (nowMs < lastMs) return t.fail(`went back at read ${read} of seed ${seed}`)
      if (aheadMs < mostAheadMs - 112)
        return t.fail(`${mostAheadMs - aheadMs} ms short at read ${read} of seed ${seed}`)
      mostAheadMs = Math.max(mostAheadMs, aheadMs)
      lastMs = nowMs
    }
    t.ok(lastMs >= realMs - 1)
  })

  t.test('runs on the real clocks by default', async (t) => {
    const clock = createLeaseClock()
    const startMs = performance.now()
    while (performance.now() - startMs < 30);
    t.ok(clock() >= 29, String(clock()))
  })
})
