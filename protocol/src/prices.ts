/** What models cost here, before what the gateways know by themselves: for models that are new, cheaper, or one's own. */
import { PROVIDERS, type ProviderName } from './engine.ts'
import { Instant, oneOf } from './schema.ts'
import { type Static, Type } from './typebox.ts'

/** All of them go to every gateway. */
export const PRICES_MAX = 1000

/** USD for a million tokens; as text where a client has exact decimals. */
const Rate = Type.Union([
  Type.Number({ minimum: 0, maximum: 1_000_000 }),
  Type.String({ pattern: '^[0-9]{1,6}(\\.[0-9]{1,9})?$' }),
])
const caches = { cacheRead: Type.Optional(Rate), cacheWrite: Type.Optional(Rate), cacheWrite1h: Type.Optional(Rate) }

/** Body of `PUT /prices/:provider/:model`. Without a rate for a cache its tokens cost what input does. */
export const PriceSubmission = Type.Object(
  {
    effectiveFrom: Type.Optional(Instant),
    input: Rate,
    output: Rate,
    ...caches,
  },
  { additionalProperties: false },
)
export type PriceSubmission = Static<typeof PriceSubmission>

const Shown = Type.Number({ description: 'USD for a million tokens' })
export const PriceRecord = Type.Object({
  provider: oneOf(PROVIDERS),
  model: Type.String(),
  effectiveFrom: Type.String({ format: 'date-time', description: 'Calls that begin from then on' }),
  input: Shown,
  output: Shown,
  cacheRead: Type.Optional(Shown),
  cacheWrite: Type.Optional(Shown),
  cacheWrite1h: Type.Optional(Shown),
})
export type PriceRecord = {
  provider: ProviderName
  model: string
  effectiveFrom: string
  input: number
  output: number
  cacheRead?: number
  cacheWrite?: number
  cacheWrite1h?: number
}

/** `GET /prices`, with an ETag: agents ask with `If-None-Match`. */
export const PriceList = Type.Object({
  prices: Type.Array(PriceRecord, { description: 'By provider, model and time' }),
})
export type PriceList = { prices: PriceRecord[] }
