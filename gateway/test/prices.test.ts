// What calls cost, and that a reservation is never less.
import fc from 'fast-check'
import t from 'tap'
import { allowance } from '../src/allowance.ts'
import { createPrices } from '../src/prices.ts'
import { NO_USAGE } from '../src/wire/wire.ts'

const NOW = Date.parse('2026-11-22T12:00:00Z')

t.test('the list knows what is sold, to the micro-dollar', async (t) => {
  const prices = createPrices([])
  const usage = { ...NO_USAGE, inputTokens: 1500, cacheReadTokens: 200, cacheWriteTokens: 300, outputTokens: 100 }
  t.equal(prices.of('anthropic', 'claude-sonnet-4-5', NOW)?.microUsd(usage), 5685)
  t.equal(
    prices.of('gemini', 'gemini-2.5-pro', NOW)?.microUsd({ ...NO_USAGE, inputTokens: 1_000_000 }),
    2_500_000,
    'a tier',
  )
  t.equal(prices.of('openai', 'nobody-knows', NOW), null)
})

t.test('the overlay goes first, each row from its day on', async (t) => {
  const row = { provider: 'openai', model: 'own', input: 1, output: 2 } as const
  const prices = createPrices([
    { ...row, effectiveFromMs: 2000, input: 5 },
    { ...row, effectiveFromMs: 1000 },
  ])
  const million = { ...NO_USAGE, inputTokens: 1_000_000 }
  t.equal(prices.of('openai', 'own', 999), null)
  t.equal(prices.of('openai', 'own', 1000)?.microUsd(million), 1_000_000)
  t.equal(prices.of('openai', 'own', 2000)?.microUsd(million), 5_000_000)
  t.equal(prices.of('anthropic', 'own', 2000), null)
  t.equal(prices.of('openai', 'own', 2000)?.microUsd({ ...NO_USAGE, inputTokens: 1, outputTokens: 1 }), 7)
})

t.test('whatever a call comes to within what it was allowed, it costs no more than was reserved', async () => {
  const prices = createPrices([])
  const models = [
    ['anthropic', 'claude-sonnet-4-5'],
    ['anthropic', 'claude-opus-5-5'],
    ['openai', 'gpt-5.6-sol'],
    ['gemini', 'gemini-2.5-pro'],
  ] as const
  fc.assert(
    fc.property(
      fc.constantFrom(...models),
      fc.nat({ max: 2_000_000 }),
      fc.nat({ max: 20_000_000 }),
      fc.nat({ max: 200_000 }),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }),
      fc.constantFrom('none', '5m', '1h', undefined),
      ([provider, model], inputTokensMost, leftMicroUsd, outputTokensMax, parts, cached) => {
        const [share = 0, read = 0, write = 0, hour = 0] = parts
        const price = prices.of(provider, model, NOW)
        const asked = {
          model,
          isStream: true,
          outputTokensMax: outputTokensMax || null,
          outputTokensLeast: 1024,
        }
        const left = { microUsd: leftMicroUsd, tokens: Number.POSITIVE_INFINITY, requests: 1 }
        const allowed = allowance({ asked, inputTokens: inputTokensMost, price, cached }, left)
        if (!allowed.ok) return
        const inputTokens = Math.floor(share * inputTokensMost)
        const cacheReadTokens = Math.floor(read * inputTokens)
        const cacheWriteTokens = cached === 'none' ? 0 : Math.floor(write * (inputTokens - cacheReadTokens))
        const cost = price?.microUsd({
          ...{ inputTokens, cacheReadTokens, cacheWriteTokens, webSearches: 0 },
          cacheWrite1hTokens: cached === '5m' ? 0 : Math.floor(hour * cacheWriteTokens),
          outputTokens: allowed.outputTokensMax,
        })
        if ((cost ?? 0) > allowed.reserved.microUsd) throw new Error(`${cost} of ${allowed.reserved.microUsd} reserved`)
        if (allowed.reserved.microUsd > leftMicroUsd) throw new Error('more reserved than there is')
      },
    ),
    { numRuns: 2000 },
  )
})
