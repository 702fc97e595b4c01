/**
 * What a call costs. Prices come from the bundled list of `@pydantic/genai-prices`, and from an overlay that goes first,
 * for models that the list does not know yet, that cost something else here, or cost nothing. Money is whole micro-dollars,
 * rounded up.
 */
import { calcPrice, type ModelPrice, type Provider, type Usage as Units } from '@pydantic/genai-prices'
import { type Cached, NO_USAGE, type ProviderName, type Usage } from './wire/wire.ts'

/** USD for a million tokens. Absent: as `input`, for what a cache has; `input` and `output` may be 0. */
export type PriceRow = {
  provider: ProviderName
  model: string
  effectiveFromMs: number
  input: number
  output: number
  cacheRead?: number
  cacheWrite?: number
  cacheWrite1h?: number
}

export type Price = {
  /** As they were resolved, to be kept with the call. */
  rates: ModelPrice
  microUsd: (usage: Usage) => number
  /** The most that so many tokens can cost, however a cache for so long divides them. */
  microUsdMost: (tokens: { inputTokens: number; outputTokens: number }, cached?: Cached) => number
}

const LISTED: Readonly<Record<ProviderName, string>> = { anthropic: 'anthropic', openai: 'openai', gemini: 'google' }
/** Below what a floating-point sum of prices is off by, far above nothing. */
const NOISE = 1e-6

export function createPrices(overlay: readonly PriceRow[]) {
  return {
    /** Null where nobody knows what it costs. */
    of(provider: ProviderName, model: string, atMs: number): Price | null {
      const row = overlay
        .filter((each) => each.provider === provider && each.model === model && each.effectiveFromMs <= atMs)
        .reduce<PriceRow | null>(
          (newest, each) => (newest && newest.effectiveFromMs >= each.effectiveFromMs ? newest : each),
          null,
        )
      const at = { timestamp: new Date(atMs) }
      const one: Units = { input_tokens: 1, output_tokens: 1 }
      const known =
        row === null
          ? calcPrice(one, model, { ...at, providerId: LISTED[provider] })
          : calcPrice(one, model, { ...at, provider: providerOf(row) })
      if (known === null) return null
      const rates = known.model_price
      // To look a model up takes ten times as long as to calculate.
      const found = { ...at, provider: { ...known.provider, models: [known.model] } }
      const calculated = (units: Units) => calcPrice(units, model, found)
      const microUsd = (usage: Usage): number =>
        Math.ceil((calculated(unitsOf(usage, rates))?.total_price ?? 0) * 1e6 - NOISE)
      return {
        rates,
        microUsd,
        microUsdMost({ inputTokens, outputTokens }, cached = '1h') {
          const usage = { ...NO_USAGE, inputTokens, outputTokens }
          const short = { ...usage, cacheWriteTokens: inputTokens }
          const long = { ...short, cacheWrite1hTokens: inputTokens }
          const ways = { none: [usage], '5m': [usage, short], '1h': [usage, short, long] }[cached]
          return Math.max(...ways.map(microUsd))
        },
      }
    },
  }
}

export type Prices = ReturnType<typeof createPrices>

/** Only what has a price: the library throws for a unit that it cannot place. */
function unitsOf(usage: Usage, rates: ModelPrice): Units {
  const units: Units = { input_tokens: usage.inputTokens, output_tokens: usage.outputTokens }
  if (rates.cache_read_mtok !== undefined) units.cache_read_tokens = usage.cacheReadTokens
  if (rates.cache_write_mtok !== undefined) units.cache_write_tokens = usage.cacheWriteTokens
  if (rates.cache_write_1h_mtok !== undefined) units.cache_write_1h_tokens = usage.cacheWrite1hTokens
  if (rates.web_searches_kcount !== undefined) units.web_searches = usage.webSearches
  return units
}

const providerOf = (row: PriceRow): Provider => ({
  ...{ id: row.provider, name: row.provider, api_pattern: '.*' },
  models: [
    {
      id: row.model,
      match: { equals: row.model },
      prices: {
        input_mtok: row.input,
        output_mtok: row.output,
        cache_read_mtok: row.cacheRead ?? row.input,
        cache_write_mtok: row.cacheWrite ?? row.input,
        cache_write_1h_mtok: row.cacheWrite1h ?? row.cacheWrite ?? row.input,
      },
    },
  ],
})
