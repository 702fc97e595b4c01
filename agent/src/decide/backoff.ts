/** How long to wait after failures in a row. */

const FIRST_MS = 250
const LONGEST_MS = 5_000

/**
 * Exponential with jitter over the upper half: 5,000 agents that lost the same server must not come back together, and
 * none of them at once. `random` in [0, 1).
 */
export const backoffMs = (failures: number, random: number): number => {
  const boundMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures, 20))
  return Math.round(boundMs * (0.5 + 0.5 * random))
}

/** The sync interval with ±10 %, so that agents started together drift apart. */
export const jittered = (intervalMs: number, random: number): number => Math.round(intervalMs * (0.9 + 0.2 * random))
