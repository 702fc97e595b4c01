// A wall clock for deadlines that outlive the process, but that nobody can step.
//
// A lease is stored as a wall-clock time, because it has to mean something after a restart. Yet when somebody sets the
// machine's clock forward by an hour, every lease would be over at once, and when it is set back none would end. So
// this clock runs on the monotonic clock and only leans towards the wall clock: at most 0.5 % faster or slower than
// real time. Ordinary NTP drift (below 0.05 %) is followed exactly; a step of one hour takes some eight days to follow.
// The holder of a lease counts it 1 % shorter than it is, which covers that leaning.

const SLEW_MAX = 0.005

interface Clocks {
  /** Milliseconds since 1970; may be stepped either way at any time. */
  wallNowMs?: () => number
  /** Milliseconds since any moment; never goes back. */
  monotonicNowMs?: () => number
}

/**
 * Returns a function that answers whole milliseconds since 1970: they never go back, never jump, and follow the wall
 * clock at 0.995 to 1.005 of real time. Starts at the wall clock's time. Uses no timer: the state advances on each read.
 */
export function createSteadyClock({
  wallNowMs = Date.now,
  monotonicNowMs = () => performance.now(),
}: Clocks = {}): () => number {
  const startWallMs = wallNowMs()
  const startMonotonicMs = monotonicNowMs()
  let elapsedMs = 0
  let leanMs = 0
  let answeredMs = startWallMs

  return () => {
    const previousMs = elapsedMs
    elapsedMs = Math.max(previousMs, monotonicNowMs() - startMonotonicMs)
    const leanMaxMs = (elapsedMs - previousMs) * SLEW_MAX
    const behindMs = wallNowMs() - (startWallMs + elapsedMs + leanMs)
    leanMs += Math.min(Math.max(behindMs, -leanMaxMs), leanMaxMs)
    answeredMs = Math.max(answeredMs, Math.floor(startWallMs + elapsedMs + leanMs))
    return answeredMs
  }
}
