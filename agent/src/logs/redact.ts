/**
 * Takes secrets out of a stream of bytes, wherever its chunks are cut. Of several that begin at one place the longest
 * counts, and what is found does not overlap, so that the result depends on the stream alone.
 */
export const MASK = Buffer.from('[redacted]')
/** A shorter one would be found everywhere, and tells nobody anything. */
export const SECRET_BYTES_MIN = 4

export type Redactor = ReturnType<typeof createRedactor>

/** `raw` is what `redacted` was made of: a new redactor that goes on after it makes the same of the rest. */
export type Redacted = { redacted: Buffer; raw: Buffer }

export function createRedactor(secrets: readonly string[]) {
  const wanted = patternsOf(secrets)
  /** What may be the beginning of a secret. */
  let held: Buffer = Buffer.alloc(0)

  const take = (chunk: Buffer, isLast: boolean): Redacted => {
    if (wanted.length === 0) return { redacted: chunk, raw: chunk }
    const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    const pieces: Buffer[] = []
    /** Where each is found next; searched anew only where it was passed. */
    const nextAt = wanted.map(({ secret }) => bytes.indexOf(secret))
    let at = 0
    let openAt = isLast ? bytes.length : openFrom(wanted, bytes, at)
    for (;;) {
      const found = firstOf(wanted, nextAt)
      if (found === null || found.at >= openAt) break
      pieces.push(bytes.subarray(at, found.at), MASK)
      at = found.at + found.length
      for (const [index, { secret }] of wanted.entries())
        if ((nextAt[index] as number) >= 0 && (nextAt[index] as number) < at) nextAt[index] = bytes.indexOf(secret, at)
      // What was open before may have been part of what was found.
      if (openAt < at) openAt = isLast ? bytes.length : openFrom(wanted, bytes, at)
    }
    pieces.push(bytes.subarray(at, openAt))
    held = bytes.subarray(openAt)
    return {
      redacted: pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces),
      raw: bytes.subarray(0, openAt),
    }
  }

  return {
    push: (chunk: Buffer): Redacted => take(chunk, false),
    /** The stream is over: what was held back is no secret. */
    end: (): Redacted => take(Buffer.alloc(0), true),
  }
}

/** `fallback[n]`: how long the longest beginning is that is also an end of the first n + 1 bytes, other than all of them. */
type Pattern = { secret: Buffer; fallback: Uint32Array }

const patternsOf = (secrets: readonly string[]): Pattern[] =>
  [...new Set(secrets)]
    .map((secret) => Buffer.from(secret))
    .filter((secret) => secret.length >= SECRET_BYTES_MIN)
    .map((secret) => ({ secret, fallback: fallbackOf(secret) }))

const fallbackOf = (secret: Buffer): Uint32Array => {
  const fallback = new Uint32Array(secret.length)
  for (let at = 1, length = 0; at < secret.length; at++) {
    while (length > 0 && secret[at] !== secret[length]) length = fallback[length - 1] as number
    if (secret[at] === secret[length]) length += 1
    fallback[at] = length
  }
  return fallback
}

/** Where the first secret may begin of which the rest has not come, at or after `from`. */
const openFrom = (wanted: readonly Pattern[], bytes: Buffer, from: number): number => {
  let openAt = bytes.length
  for (const { secret, fallback } of wanted) {
    let length = 0
    for (let at = Math.max(from, bytes.length - secret.length + 1); at < bytes.length; at++) {
      while (length > 0 && bytes[at] !== secret[length]) length = fallback[length - 1] as number
      if (bytes[at] === secret[length]) length += 1
    }
    openAt = Math.min(openAt, bytes.length - length)
  }
  return openAt
}

const firstOf = (wanted: readonly Pattern[], nextAt: readonly number[]): { at: number; length: number } | null => {
  let first: { at: number; length: number } | null = null
  for (const [index, at] of nextAt.entries()) {
    const { length } = (wanted[index] as Pattern).secret
    if (at >= 0 && (first === null || at < first.at || (at === first.at && length > first.length)))
      first = { at, length }
  }
  return first
}
