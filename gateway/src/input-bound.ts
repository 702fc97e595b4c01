/**
 * How many tokens a request can have at most, before anybody has counted them. A token is a byte at least; what a provider
 * has counted of a request before bounds all that comes again of it, which is most of a conversation, and of what an engine
 * says at the beginning of each. So only what is new counts by its bytes. Pure but for what it remembers.
 */
import { createHash } from 'node:crypto'
import type { JsonObject, Wire } from './wire/wire.ts'

/** A list with more is one piece: what is remembered of a request stays small. */
const ITEMS_MAX = 10_000
/** Requests that are remembered of a model, of those with which attempts began. */
const BEGINNINGS_MAX = 8
/** An engine may ask something small before it begins. */
const BEGINNINGS_OF_ATTEMPT = 2
const MODELS_MAX = 64

/** Moves from message to message as a conversation grows, and is no text. */
const CACHE_MARK = /,?"cache_control":\{(?:"type":"ephemeral"|"ttl":"(?:5m|1h)"|,)*\}/g

/** Fields, and the items of those that are lists: providers count each by itself. */
type Piece = { id: string; bytes: number; mediaTokens: number }
export type InputRequest = { model: string; pieces: readonly Piece[] }
type Counted = { pieces: ReadonlyMap<string, number>; tokens: number }

export type InputBounds = ReturnType<typeof createInputBounds>
export type InputBound = ReturnType<InputBounds['ofAttempt']>

/**
 * With 1 byte a token no request has more than it is bounded to, whatever it is made of. With more it is an estimate,
 * which leaves more room to small budgets, and images and documents count by their bytes as well.
 */
export function createInputBounds(bytesPerToken = 1) {
  const isStrict = bytesPerToken === 1
  const tokensOf = (bytes: number) => Math.ceil(bytes / bytesPerToken)
  const beginnings = new Map<string, Counted[]>()

  const begin = (model: string, counted: Counted): void => {
    const known = beginnings.get(model) ?? []
    // The oldest model goes first.
    beginnings.delete(model)
    beginnings.set(model, [...known.slice(1 - BEGINNINGS_MAX), counted])
    const [oldest] = beginnings.keys()
    if (beginnings.size > MODELS_MAX && oldest !== undefined) beginnings.delete(oldest)
  }

  /** What is not in `counted` by its bytes, the rest by what it came to there. */
  const bound = ({ pieces }: InputRequest, counted: Counted | null): number => {
    const left = new Map(counted?.pieces)
    let fresh = 0
    let again = 0
    let mediaTokens = 0
    for (const piece of pieces) {
      const times = left.get(piece.id) ?? 0
      if (times > 0) left.set(piece.id, times - 1)
      if (times > 0) again += piece.bytes
      else {
        fresh += piece.bytes
        mediaTokens += piece.mediaTokens
      }
    }
    return tokensOf(fresh) + (isStrict ? mediaTokens : 0) + Math.min(again, counted?.tokens ?? 0)
  }

  return {
    /** `body` as it goes out. */
    request(wire: Wire, model: string, body: JsonObject): InputRequest {
      const piece = (name: string, value: unknown, isItem: boolean): Piece => {
        const json = JSON.stringify(value) ?? ''
        const id = createHash('sha256')
        id.update(`${name}:${json.replace(CACHE_MARK, '')}`)
        // With the comma after it, and the name before a field.
        const bytes = Buffer.byteLength(json) + (isItem ? 1 : Buffer.byteLength(name) + 4)
        return { id: id.digest('base64'), bytes, mediaTokens: wire.mediaTokens(json) }
      }
      return {
        model: `${wire.provider}/${model}`,
        pieces: Object.entries(body).flatMap(([name, value]) =>
          Array.isArray(value) && value.length <= ITEMS_MAX
            ? [piece(name, [], false), ...value.map((item) => piece(name, item, true))]
            : [piece(name, value, false)],
        ),
      }
    },
    ofAttempt() {
      const newest = new Map<string, Counted>()
      let begun = 0
      return {
        of(request: InputRequest): number {
          const known = [newest.get(request.model) ?? null, ...(beginnings.get(request.model) ?? [])]
          return Math.min(...known.map((counted) => bound(request, counted)))
        },
        /** `tokens`: as the provider has counted them. */
        learn({ model, pieces }: InputRequest, tokens: number): void {
          const times = new Map<string, number>()
          for (const { id } of pieces) times.set(id, (times.get(id) ?? 0) + 1)
          const counted = { pieces: times, tokens }
          newest.set(model, counted)
          if (begun++ < BEGINNINGS_OF_ATTEMPT) begin(model, counted)
        },
      }
    },
  }
}
