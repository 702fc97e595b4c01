/**
 * The body of an answer, read from a server that may send anything: decoded while it streams, held in memory up to the
 * documented cap and one chunk, and turned into the result of HTTP_GET_JSON.
 */
import { STATUS_CODES } from 'node:http'
import { pipeline, Readable, type Transform } from 'node:stream'
import * as zlib from 'node:zlib'
import {
  HTTP_BODY_BYTES_MAX,
  HTTP_JSON_DEPTH_MAX,
  type HttpGetJsonResult,
  type JsonValue,
} from '@agent-executor/protocol'
import { Failure } from './failure.ts'

export type Body = { bytes: Buffer; truncated: boolean }

const DECODERS = new Map<string, () => Transform>([
  ['gzip', () => zlib.createGunzip()],
  ['x-gzip', () => zlib.createGunzip()],
  ['deflate', () => zlib.createInflate()],
  ['br', () => zlib.createBrotliDecompress()],
])
// Node 22.15 and later.
const { createZstdDecompress } = zlib as { createZstdDecompress?: (options: zlib.ZlibOptions & object) => Transform }
// ZSTD_d_windowLogMax = 100, 8 MB as RFC 9659 has it: a frame may otherwise ask for a window of 128 MB.
if (createZstdDecompress) DECODERS.set('zstd', () => createZstdDecompress({ params: { 100: 23 } } as object))

export const ACCEPT_ENCODING = ['gzip', 'br', 'zstd'].filter((encoding) => DECODERS.has(encoding)).join(', ')

/** The legitimate case is one; each further one multiplies what a few bytes can blow up to. */
const ENCODINGS_MAX = 2

/** The names in a Content-Encoding header, in the order in which they were applied. */
export const encodingsOf = (header: string | string[] | undefined): string[] =>
  [header ?? []]
    .flat()
    .join()
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity')

const decodersOf = (encodings: readonly string[]): Transform[] => {
  if (encodings.length > ENCODINGS_MAX) throw new Failure('HTTP_ERROR', 'the body has too many encodings')
  const decoders = encodings.map((encoding) => DECODERS.get(encoding))
  return decoders.reverse().map((create) => {
    if (!create) throw new Failure('HTTP_ERROR', 'the body has an encoding that was not asked for')
    return create()
  })
}

/** How many of the first `max` bytes to keep so that no UTF-8 character is cut. `bytes` is longer than `max`. */
const utf8Boundary = (bytes: Buffer, max: number): number => {
  const isContinuation = (index: number) => ((bytes[index] ?? 0) & 0xc0) === 0x80
  // A character has three continuation bytes at most; where there are more it is not UTF-8, and any place is as good.
  for (let end = max; end > max - 4; end--) if (!isContinuation(end)) return end
  return max
}

/**
 * Reads `wire` to its end or to the first byte over the cap, whichever comes first, and then destroys it. What `wire`
 * throws is thrown on; what a decoder throws becomes a Failure.
 */
export const readBody = async (wire: AsyncIterable<Buffer>, encodings: readonly string[]): Promise<Body> => {
  let received = 0
  let lost: { error: unknown } | undefined
  async function* counted() {
    try {
      for await (const chunk of wire) {
        received += chunk.length
        yield chunk
      }
    } catch (error) {
      lost = { error }
      throw error
    }
  }

  // `pipeline` hands errors on to the last stream, and so to the loop.
  const decoded = decodersOf(encodings).reduce<Readable>(
    (source, decoder) => pipeline(source, decoder, () => {}),
    Readable.from(counted(), { objectMode: false }),
  )
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of decoded) {
      chunks.push(chunk)
      length += chunk.length
      if (length > HTTP_BODY_BYTES_MAX) break
    }
  } catch {
    if (lost) throw lost.error
    // No decoder accepts an empty stream, yet servers label empty bodies.
    if (received > 0) throw new Failure('HTTP_ERROR', 'the body does not decode as the encoding it names')
  }

  const bytes = Buffer.concat(chunks)
  const truncated = length > HTTP_BODY_BYTES_MAX
  return { bytes: truncated ? bytes.subarray(0, utf8Boundary(bytes, HTTP_BODY_BYTES_MAX)) : bytes, truncated }
}

const isContainer = (value: unknown): value is object => typeof value === 'object' && value !== null

/** Level by level, because a recursion would overflow the stack on the values it is there to find. */
const isDeeperThan = (depthMax: number, value: unknown): boolean => {
  let level = [value].filter(isContainer)
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === depthMax) return true
    level = level.flatMap((container): unknown[] => Object.values(container)).filter(isContainer)
  }
  return false
}

/** What the bytes say, and the reason where that is not JSON. */
const parse = (text: string): { body: JsonValue; error: string | null } => {
  let value: JsonValue
  try {
    value = JSON.parse(text)
  } catch {
    return { body: text, error: 'INVALID_JSON: the body is not JSON' }
  }
  return isDeeperThan(HTTP_JSON_DEPTH_MAX, value)
    ? { body: text, error: `INVALID_JSON: nested deeper than ${HTTP_JSON_DEPTH_MAX} levels` }
    : { body: value, error: null }
}

/** 204 and 205: a success that has no body by definition. */
const isBodiless = (status: number) => status === 204 || status === 205

export const resultOf = (status: number, { bytes, truncated }: Body, totalBytes?: number) => {
  const content = () => {
    if (bytes.length === 0) {
      return { body: null, error: isBodiless(status) ? null : 'INVALID_JSON: the body is empty' }
    }
    // Drops a byte order mark; U+FFFD for what is not UTF-8.
    const text = new TextDecoder().decode(bytes)
    if (truncated) return { body: text, error: `TRUNCATED: the body is larger than ${HTTP_BODY_BYTES_MAX} bytes` }
    return parse(text)
  }
  const { body, error } = content()
  const refused = status < 200 || status > 299
  return {
    status,
    body,
    truncated,
    bytesReturned: bytes.length,
    ...(totalBytes === undefined ? {} : { totalBytes }),
    error: refused ? `HTTP_ERROR: the server answered ${status} ${STATUS_CODES[status] ?? ''}`.trimEnd() : error,
  } satisfies HttpGetJsonResult
}
