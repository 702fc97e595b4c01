/**
 * What the gateway has to know of a provider's wire format, and no more: what a request asks for, where its usage is told,
 * and how to refuse so that a client ends at once. One format a file; everything here is pure.
 */

export type ProviderName = 'anthropic' | 'openai' | 'gemini'

export type JsonObject = { [name: string]: unknown }

/** Of one call. Numbers of tokens are whole; whatever is not told is 0. */
export type Usage = {
  /** All of the prompt, with what was read from and written to a cache. */
  inputTokens: number
  cacheReadTokens: number
  /** All that was written to a cache, with that for an hour. */
  cacheWriteTokens: number
  cacheWrite1hTokens: number
  /** All that was generated, with what was thought. */
  outputTokens: number
  webSearches: number
}

export const NO_USAGE: Usage = {
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  cacheWrite1hTokens: 0,
  outputTokens: 0,
  webSearches: 0,
}

/** `generate` is paid for, `count` is free. */
export type Operation = 'generate' | 'count'

export type Asked = {
  model: string
  isStream: boolean
  /** Null where the request sets no limit. */
  outputTokensMax: number | null
  /** With less the provider would refuse, or the answer be of no use. */
  outputTokensLeast: number
}

/** For how long a request may be written to a cache, which costs more than what is not. */
export type Cached = 'none' | '5m' | '1h'

/** Takes in what a call answers, in its order. */
export type UsageReader = {
  /** The JSON of an event of a stream, or of the whole answer. */
  take: (value: unknown) => void
  /** What was told last; null before anything was. */
  usage: () => Usage | null
  /** The provider has said that this is all. */
  isComplete: () => boolean
}

/** Why the gateway answers itself. */
export type RefusalCause =
  /** Of a budget or limit: no repetition helps. */
  | 'spent'
  /** The request is not one that may pass. */
  | 'refused'
  /** The provider cannot be reached; a repetition may help. */
  | 'unavailable'

export type Refusal = { status: number; headers: Readonly<Record<string, string>>; body: JsonObject }

export type Wire = {
  provider: ProviderName
  /** Null where the path is none of this format. `path` is without the query. */
  operation: (path: string) => Operation | null
  /** Throws `WireError` where the request cannot be understood. */
  asked: (path: string, body: JsonObject) => Asked
  /**
   * The request without what the provider would do elsewhere, and for the listed price. Throws `WireError` where it needs
   * what is not in it.
   */
  enclosed: (body: JsonObject) => JsonObject
  /** What images, and all else that is no text, may have beyond their bytes, in the JSON of a part of a request. */
  mediaTokens: (json: string) => number
  /** Of the text of a request; absent: nobody knows. */
  cached?: (text: string) => Cached
  /** The request for another model. */
  renamed: (path: string, body: JsonObject, model: string) => { path: string; body: JsonObject }
  /** The request with this limit, or as it is where that is null; and with its usage told in the answer. */
  limited: (body: JsonObject, outputTokensMax: number | null) => JsonObject
  reader: () => UsageReader
  refusal: (cause: RefusalCause, message: string) => Refusal
}

/** `path` is a JSON pointer into the request. */
export class WireError extends Error {
  override name = 'WireError'
  readonly path: string

  constructor(path: string, message: string) {
    super(`${path} ${message}`)
    this.path = path
  }
}

/** A request that sets no limit asks for so much; providers would allow more. */
export const OUTPUT_TOKENS_DEFAULT = 32_000
export const OUTPUT_TOKENS_LEAST = 1024

/** Of an image, however few bytes it has: the most that Anthropic and Google scale one down to, with room for the next. */
export const IMAGE_TOKENS_MAX = 10_000
/** A page, a second of sound or of a film has tokens without a byte; no model takes more than this in all. */
export const INPUT_TOKENS_MAX = 2_000_000

/** A quote within a text has a backslash before it, so that none is taken for one of these. */
export const countIn = (json: string, pattern: RegExp): number => json.match(pattern)?.length ?? 0

export const objectOf = (value: unknown): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}

/** More than any model can; what is told beyond it would not fit into the books. */
const COUNT_MAX = 1e9

/** A count of tokens; 0 for whatever is none, so that no answer of a provider can break the books. */
export const countOf = (value: unknown): number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0 ? Math.min(Math.ceil(value), COUNT_MAX) : 0

/** A usage that lacks one of these does not say what was used. */
export const hasCounts = (told: JsonObject, ...names: string[]): boolean =>
  names.every((name) => typeof told[name] === 'number')

export function modelOf(value: unknown): string {
  if (typeof value !== 'string' || !/^[\w.:@/-]{1,200}$/.test(value))
    throw new WireError('/model', 'must be the name of a model')
  return value
}

export function limitOf(path: string, value: unknown): number | null {
  if (value === undefined || value === null) return null
  if (!Number.isSafeInteger(value) || (value as number) < 1) throw new WireError(path, 'must be a whole number above 0')
  return value as number
}
