/** The newest bytes of a stream, in memory of a known size. */
export function createTail(bytesMax: number) {
  let ring = Buffer.alloc(0)
  let bytes = 0

  /** Doubles as it needs, so that a short tail costs little. */
  const grow = (needed: number): void => {
    if (needed <= ring.length || ring.length === bytesMax) return
    const larger = Buffer.alloc(Math.min(bytesMax, Math.max(needed, 2 * ring.length)))
    // Nothing has been passed over before it has its full size.
    ring.copy(larger, 0, 0, bytes)
    ring = larger
  }

  return {
    push(chunk: Buffer): void {
      grow(bytes + chunk.length)
      const last = chunk.subarray(Math.max(0, chunk.length - bytesMax))
      const at = (bytes + chunk.length - last.length) % bytesMax
      const copied = last.copy(ring, at, 0, Math.min(last.length, ring.length - at))
      last.copy(ring, 0, copied)
      bytes += chunk.length
    },
    /** All that came, also what is not kept any more. */
    bytes: (): number => bytes,
    content(): Buffer {
      if (bytes <= bytesMax) return ring.subarray(0, bytes)
      const at = bytes % bytesMax
      return Buffer.concat([ring.subarray(at), ring.subarray(0, at)])
    },
  }
}
