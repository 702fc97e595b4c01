/** Numbers out of samples. */

/** The value that `percent` of the values do not exceed; NaN of none. */
export const percentile = (values: readonly number[], percent: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length / 2
  return ((sorted[Math.ceil(half) - 1] ?? Number.NaN) + (sorted[Math.floor(half)] ?? Number.NaN)) / 2
}

type Weighed = { value: number; foreignCores: number }

/** The median of the samples that others disturbed least: half of them, and three at least. */
export const calmMedian = (samples: readonly Weighed[]): number => {
  const calmFirst = [...samples].sort((a, b) => a.foreignCores - b.foreignCores)
  return median(calmFirst.slice(0, Math.max(3, Math.ceil(samples.length / 2))).map(({ value }) => value))
}

/** Random choices that a seed repeats: in [0, 1), a linear congruential generator with the constants of PCG. */
export function seededRandom(seed: number): () => number {
  let state = BigInt(seed)
  return () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn
    return Number(state >> 11n) / 2 ** 53
  }
}

export const shuffled = <Item>(items: readonly Item[], random: () => number): Item[] =>
  items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item)
