/**
 * What may be said of prices. Pure. Rows of a model count from their time on, so a price that changes is another row; the
 * calls that were made keep the rates that they were calculated with.
 */
import {
  type ApiErrorCode,
  PRICES_MAX,
  type PriceRecord,
  type PriceSubmission,
  type ProviderName,
} from '@agent-executor/protocol'
import { instant } from './record.ts'

export type Price = {
  provider: ProviderName
  model: string
  effectiveFromMs: number
  input: number
  output: number
  /** null: as input. */
  cacheRead: number | null
  cacheWrite: number | null
  cacheWrite1h: number | null
}
export type PriceKey = Pick<Price, 'provider' | 'model'>

export type PriceAnswer =
  | { ok: true; price: Price; created: boolean }
  | { ok: false; code: ApiErrorCode; message: string; path?: string }
export type PriceDecision = { answer: PriceAnswer; saved: Price[] }
export type PriceRemoval = {
  answer: { ok: true } | { ok: false; code: ApiErrorCode; message: string }
  removed: readonly Price[]
}

/** Without a time a price holds from the beginning: to say it twice makes no second row. */
const BEGINNING_MS = 0

const effectiveMs = (text: string | undefined): number => (text === undefined ? BEGINNING_MS : Date.parse(text))

const isOf = (price: Price, { provider, model }: PriceKey): boolean =>
  price.provider === provider && price.model === model

export function putPrice(prices: readonly Price[], key: PriceKey, submission: PriceSubmission): PriceDecision {
  const effectiveFromMs = effectiveMs(submission.effectiveFrom)
  // The format allows a leap second.
  if (Number.isNaN(effectiveFromMs)) {
    const message = 'must be a date that exists'
    return { answer: { ok: false, code: 'INVALID_REQUEST', message, path: '/effectiveFrom' }, saved: [] }
  }
  const created = !prices.some((each) => isOf(each, key) && each.effectiveFromMs === effectiveFromMs)
  if (created && prices.length >= PRICES_MAX) {
    const message = `The server keeps ${PRICES_MAX} prices; delete one first.`
    return { answer: { ok: false, code: 'PRICES_FULL', message }, saved: [] }
  }
  const rate = (value: number | string | undefined): number | null => (value === undefined ? null : Number(value))
  const price: Price = {
    ...{ provider: key.provider, model: key.model, effectiveFromMs },
    ...{ input: Number(submission.input), output: Number(submission.output) },
    cacheRead: rate(submission.cacheRead),
    cacheWrite: rate(submission.cacheWrite),
    cacheWrite1h: rate(submission.cacheWrite1h),
  }
  return { answer: { ok: true, price, created }, saved: [price] }
}

/** The row of one time; without a time all of the model. */
export function deletePrice(prices: readonly Price[], key: PriceKey, effectiveFrom: string | undefined): PriceRemoval {
  const fromMs = effectiveFrom === undefined ? null : Date.parse(effectiveFrom)
  const removed = prices.filter((each) => isOf(each, key) && (fromMs === null || each.effectiveFromMs === fromMs))
  const message = `There is no price of ${key.model} of ${key.provider}${fromMs === null ? '' : ' from that time on'}.`
  return removed.length === 0
    ? { answer: { ok: false, code: 'PRICE_NOT_FOUND', message }, removed }
    : { answer: { ok: true }, removed }
}

export const priceRecord = (price: Price): PriceRecord => ({
  provider: price.provider,
  model: price.model,
  effectiveFrom: instant(price.effectiveFromMs),
  input: price.input,
  output: price.output,
  ...(price.cacheRead === null ? {} : { cacheRead: price.cacheRead }),
  ...(price.cacheWrite === null ? {} : { cacheWrite: price.cacheWrite }),
  ...(price.cacheWrite1h === null ? {} : { cacheWrite1h: price.cacheWrite1h }),
})
