/**
 * How many tokens a request may have at most, before anybody has counted them. Three bytes a token is more than text needs;
 * what a provider told of earlier requests of the same attempt shows where that is too little, for a conversation that is
 * all digits for example, and counts for what follows. Pure but for what it remembers.
 */

/** A token of a text is seldom shorter, whatever the language; a request that is all short tokens may have more. */
export const BYTES_PER_TOKEN = 3

export const tokensOf = (bytes: number, bytesPerToken = BYTES_PER_TOKEN): number => Math.ceil(bytes / bytesPerToken)

/** What comes next may be denser than what was there. */
const SLACK = 1.1
/** From a short request little can be learned about one that is much longer. */
const GROWTH_MAX = 4

/** With 1 byte a token it is a bound that no text can pass, and far above what most requests have. */
export function createInputEstimate(bytesPerToken = BYTES_PER_TOKEN) {
  const least = (bytes: number) => tokensOf(bytes, bytesPerToken)
  const most = new Map<string, { bytes: number; excess: number }>()
  return {
    of(model: string, bytes: number): number {
      const seen = most.get(model)
      if (seen === undefined) return least(bytes)
      const growth = Math.min(GROWTH_MAX, Math.max(1, bytes / seen.bytes))
      return least(bytes) + Math.ceil(seen.excess * growth * SLACK)
    },
    /** `tokens`: as the provider has counted them. */
    learn(model: string, bytes: number, tokens: number): void {
      const excess = tokens - least(bytes)
      if (excess > (most.get(model)?.excess ?? 0)) most.set(model, { bytes, excess })
    },
  }
}

export type InputEstimate = ReturnType<typeof createInputEstimate>
