/** How much a call may use before it is made, so that no limit is ever exceeded. Pure. */
import type { Price } from './prices.ts'
import { type Asked, OUTPUT_TOKENS_DEFAULT } from './wire/wire.ts'

/** In what a limit counts. `requests` are the turns of an engine. */
export const UNITS = ['microUsd', 'tokens', 'requests'] as const
export type Unit = (typeof UNITS)[number]
export type Amounts = Readonly<Record<Unit, number>>

export type Allowance =
  | { ok: true; outputTokensMax: number; reserved: Amounts }
  /** `unit` is what there is too little of; null where the price is not known, and money is limited. */
  | { ok: false; unit: Unit | null }

/** A token of a text is seldom shorter, whatever the language; a request that is all short tokens may cost more than this. */
const BYTES_PER_TOKEN = 3

export const inputTokensOf = (bodyBytes: number): number => Math.ceil(bodyBytes / BYTES_PER_TOKEN)

/** `left` is infinite where nothing limits the unit. */
export function allowance(call: { asked: Asked; bodyBytes: number; price: Price | null }, left: Amounts): Allowance {
  const { asked, price } = call
  if (left.requests < 1) return { ok: false, unit: 'requests' }
  if (price === null && left.microUsd !== Number.POSITIVE_INFINITY) return { ok: false, unit: null }
  const inputTokens = inputTokensOf(call.bodyBytes)
  const wanted = asked.outputTokensMax ?? Math.max(OUTPUT_TOKENS_DEFAULT, asked.outputTokensLeast)
  const least = Math.min(wanted, asked.outputTokensLeast)

  const byTokens = left.tokens - inputTokens
  if (byTokens < least) return { ok: false, unit: 'tokens' }
  const byMoney = price === null ? wanted : affordable(price, inputTokens, left.microUsd)
  if (byMoney < least) return { ok: false, unit: 'microUsd' }
  const outputTokensMax = Math.min(wanted, byTokens, byMoney)
  const microUsd = price?.microUsdMost({ inputTokens, outputTokens: outputTokensMax }) ?? 0
  return { ok: true, outputTokensMax, reserved: { microUsd, tokens: inputTokens + outputTokensMax, requests: 1 } }
}

const MILLION = 1_000_000

/** The most tokens of output for which the money is there; below 0 where it is not even for the input. */
function affordable(price: Price, inputTokens: number, microUsd: number): number {
  if (microUsd === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY
  const inputMicroUsd = price.microUsdMost({ inputTokens, outputTokens: 0 })
  const leftMicroUsd = microUsd - inputMicroUsd
  if (leftMicroUsd < 0) return -1
  const perMillion = price.microUsdMost({ inputTokens, outputTokens: MILLION }) - inputMicroUsd
  if (perMillion <= 0) return Number.POSITIVE_INFINITY
  const tokens = Math.floor((leftMicroUsd * MILLION) / perMillion)
  // Each of the two was rounded up by itself.
  return price.microUsdMost({ inputTokens, outputTokens: tokens }) <= microUsd ? tokens : tokens - 1
}
