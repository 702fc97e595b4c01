/** The beginning and the end of a stream of any length, in bounded memory, and how much there was. */
import type { CapturedText } from '@agent-executor/protocol'

export type Capture = ReturnType<typeof createCapture>

/** Keeps the first and the last half of `bytesMax`, without regard to lines; what fits is kept whole. */
export function createCapture(bytesMax: number) {
  const halfBytes = Math.floor(bytesMax / 2)
  const head = growing(halfBytes)
  /** A ring: `bytes` says where its oldest byte is. */
  let tail = Buffer.alloc(0)
  let bytes = 0

  const addToTail = (chunk: Buffer): void => {
    if (tail.length === 0) tail = Buffer.alloc(halfBytes)
    const last = chunk.subarray(Math.max(0, chunk.length - halfBytes))
    // The place of a byte follows from its number, so that what was passed over leaves no gap.
    const at = (bytes - halfBytes + chunk.length - last.length) % halfBytes
    const copied = last.copy(tail, at)
    last.copy(tail, 0, copied)
  }

  return {
    push(chunk: Buffer): void {
      const toHead = Math.min(chunk.length, halfBytes - Math.min(bytes, halfBytes))
      if (toHead > 0) {
        head.add(chunk.subarray(0, toHead))
        bytes += toHead
      }
      const rest = chunk.subarray(toHead)
      if (rest.length === 0) return
      addToTail(rest)
      bytes += rest.length
    },

    text(): CapturedText {
      const tailBytes = Math.min(halfBytes, Math.max(0, bytes - halfBytes))
      const end = (bytes - halfBytes) % halfBytes
      const kept =
        tailBytes < halfBytes ? tail.subarray(0, tailBytes) : Buffer.concat([tail.subarray(end), tail.subarray(0, end)])
      const leftOut = bytes - head.bytes().length - tailBytes
      if (leftOut === 0) return { text: Buffer.concat([head.bytes(), kept]).toString('utf8'), bytes, truncated: false }
      // Not in the middle of a character, on either side.
      const first = head.bytes().subarray(0, wholeBytes(head.bytes()))
      const last = kept.subarray(startOfCharacter(kept))
      const gap = bytes - first.length - last.length
      const marker = `\n[... ${gap} bytes left out ...]\n`
      return { text: first.toString('utf8') + marker + last.toString('utf8'), bytes, truncated: true }
    },
  }
}

/** Doubles as it needs, so that a short output costs little. */
function growing(bytesMax: number) {
  let buffer = Buffer.alloc(0)
  let used = 0
  return {
    add(chunk: Buffer): void {
      if (used + chunk.length > buffer.length) {
        const next = Buffer.alloc(Math.min(bytesMax, Math.max(1024, 2 * (used + chunk.length))))
        buffer.copy(next, 0, 0, used)
        buffer = next
      }
      used += chunk.copy(buffer, used)
    },
    bytes: (): Buffer => buffer.subarray(0, used),
  }
}

const isContinuation = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80

/** How many bytes belong to whole UTF-8 characters, where the text was cut at its end; binary loses at most three. */
function wholeBytes(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number
    if (isContinuation(byte)) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return length > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}

function startOfCharacter(bytes: Buffer): number {
  let at = 0
  while (at < 3 && isContinuation(bytes[at])) at++
  return at
}
