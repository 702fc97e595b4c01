// The clock by which an agent decides that its lease is over. It may run fast (the agent stops early: safe) and must
// not run slow (two agents would hold one lease), also while the machine is suspended. No single source promises that:
//
//   monotonic clock   exact, but stands still while the machine is suspended
//   uptime            counts suspension, but comes in steps of 10 ms and stands still while a VM is paused
//   wall clock        is set right after a VM's pause, but may be stepped back
//
// So whichever source went furthest counts. Adding up the largest step of each read would also add up the rounding (a
// tick of 10 ms in one read of 1 ms), so each source counts in total, and only one that fell behind the furthest by
// more than any rounding (it stood still, was stepped back, or another jumped ahead) is put level with it again. From
// then on it counts on from there: an hour that the wall clock lost hides no later jump of it. Differences below that
// tolerance stay, hence no creep; and no interval is measured short by more than the tolerance.

import { uptime } from 'node:os'

const TOLERANCE_MS = 100

interface Sources {
  /** Seconds since boot, suspension included. */
  uptimeS?: () => number
  wallNowMs?: () => number
  monotonicNowMs?: () => number
}

/**
 * Returns a function that answers whole milliseconds since this call: they never go back, and between any two reads at
 * least the real time passes (less 100 ms at most, once). A wall clock that is set forward counts as time passed.
 */
export function createLeaseClock({
  uptimeS = uptime,
  wallNowMs = Date.now,
  monotonicNowMs = () => performance.now(),
}: Sources = {}): () => number {
  const sources = [monotonicNowMs, () => uptimeS() * 1000, wallNowMs].map((nowMs) => ({ nowMs, startMs: nowMs() }))
  let furthestMs = 0

  return () => {
    const readings = sources.map((source) => ({ source, nowMs: source.nowMs() }))
    furthestMs = Math.max(furthestMs, ...readings.map(({ source, nowMs }) => nowMs - source.startMs))
    for (const { source, nowMs } of readings) {
      if (furthestMs - (nowMs - source.startMs) > TOLERANCE_MS) source.startMs = nowMs - furthestMs
    }
    return Math.floor(furthestMs)
  }
}
