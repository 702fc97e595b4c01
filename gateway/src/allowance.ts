/** How much a call may use before it is made, so that no limit is ever exceeded. Pure. */
import type { Price } from './prices.ts'
import { type Asked, type Cached, OUTPUT_TOKENS_DEFAULT } from './wire/wire.ts'

/** In what a limit counts. `requests` are the turns of an engine. */
export const UNITS = ['microUsd', 'tokens', 'requests'] as const
export type Unit = (typeof UNITS)[number]
export type Amounts = Readonly<Record<Unit, number>>

export type Allowance =
  | { ok: true; outputTokensMax: number; reserved: Amounts }
  /**
   * `unit` is what there is too little of; null where the price is not known, and money is limited. `isForNow`: there is
   * enough, and what is under way has it.
   */
  | { ok: false; unit: Unit | null; isForNow?: boolean }

export type Wanted = {
  asked: Asked
  inputTokens: number
  price: Price | null
  cached?: Cached | undefined
  /** Passed without a cost where nobody knows the price, also where money is limited. */
  isUnmetered?: boolean
}

/** With so much an answer is seldom cut short. */
const OUTPUT_TOKENS_ENOUGH = 8192

/**
 * As `allowance`; but where what is under way at the moment is why a call gets nothing, or too little for a good answer,
 * it is to be asked again when one of these has ended. What is reserved is much more than most calls use.
 */
export function allowanceNow(call: Wanted, left: Amounts, unreserved: Amounts): Allowance {
  const now = allowance(call, left)
  if (now.ok && now.outputTokensMax >= OUTPUT_TOKENS_ENOUGH) return now
  const alone = allowance(call, unreserved)
  if (!alone.ok) return now
  if (now.ok) return now.outputTokensMax >= Math.min(alone.outputTokensMax, OUTPUT_TOKENS_ENOUGH) ? now : LATER
  return { ...now, isForNow: true }
}

const LATER: Allowance = { ok: false, unit: 'microUsd', isForNow: true }

/** `left` is infinite where nothing limits the unit. */
export function allowance(call: Wanted, left: Amounts): Allowance {
  const { asked, price, inputTokens, cached, isUnmetered = false } = call
  if (left.requests < 1) return { ok: false, unit: 'requests' }
  if (price === null && !isUnmetered && left.microUsd !== Number.POSITIVE_INFINITY) return { ok: false, unit: null }
  const wanted = asked.outputTokensMax ?? Math.max(OUTPUT_TOKENS_DEFAULT, asked.outputTokensLeast)
  const least = Math.min(wanted, asked.outputTokensLeast)

  const byTokens = left.tokens - inputTokens
  if (byTokens < least) return { ok: false, unit: 'tokens' }
  const byMoney = price === null ? wanted : affordable(price, inputTokens, left.microUsd, cached)
  if (byMoney < least) return { ok: false, unit: 'microUsd' }
  const outputTokensMax = Math.min(wanted, byTokens, byMoney)
  const microUsd = price?.microUsdMost({ inputTokens, outputTokens: outputTokensMax }, cached) ?? 0
  return { ok: true, outputTokensMax, reserved: { microUsd, tokens: inputTokens + outputTokensMax, requests: 1 } }
}

const MILLION = 1_000_000

/** The most tokens of output for which the money is there; below 0 where it is not even for the input. */
function affordable(price: Price, inputTokens: number, microUsd: number, cached?: Cached): number {
  const most = (outputTokens: number) => price.microUsdMost({ inputTokens, outputTokens }, cached)
  if (microUsd === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY
  const inputMicroUsd = most(0)
  const leftMicroUsd = microUsd - inputMicroUsd
  if (leftMicroUsd < 0) return -1
  const perMillion = most(MILLION) - inputMicroUsd
  if (perMillion <= 0) return Number.POSITIVE_INFINITY
  const tokens = Math.floor((leftMicroUsd * MILLION) / perMillion)
  // Each of the two was rounded up by itself.
  return most(tokens) <= microUsd ? tokens : tokens - 1
}
