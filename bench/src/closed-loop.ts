import { percentile } from './figures/statistics.ts'

/** Keeps `inFlight` calls under way until a number of them has been made, or a time is over. */
export type Bound = { inFlight: number } & ({ count: number } | { ms: number })

export type LoopResult = { count: number; seconds: number; p50Ms: number; p99Ms: number }

export async function closedLoop(
  bound: Bound,
  call: (lane: number, index: number) => Promise<unknown>,
): Promise<LoopResult> {
  const startMs = performance.now()
  const latenciesMs: number[] = []
  const isOver = () => ('count' in bound ? begun >= bound.count : performance.now() - startMs >= bound.ms)
  let begun = 0
  const lane = async (number: number) => {
    while (!isOver()) {
      const sentMs = performance.now()
      await call(number, begun++)
      latenciesMs.push(performance.now() - sentMs)
      // A call that never leaves the process would otherwise keep every timer waiting.
      if (latenciesMs.length % 64 === 0) await new Promise(setImmediate)
    }
  }
  await Promise.all(Array.from({ length: bound.inFlight }, (_, number) => lane(number)))
  return {
    count: latenciesMs.length,
    seconds: (performance.now() - startMs) / 1000,
    p50Ms: percentile(latenciesMs, 50),
    p99Ms: percentile(latenciesMs, 99),
  }
}
