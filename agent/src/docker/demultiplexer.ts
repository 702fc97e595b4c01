/** Docker's stream of a container without a terminal: frames with a header of 8 bytes, cut anywhere on their way. */

export type StreamName = 'stdout' | 'stderr'

const HEADER_BYTES = 8
/** The second byte of the header, unused and zero, is of no interest; the first names the stream. */
const NAMES: Readonly<Record<number, StreamName>> = { 0: 'stdout', 1: 'stdout', 2: 'stderr' }

/** `write` gets every byte once, in order, as views into the chunks. Throws where a header names no stream. */
export function createDemultiplexer(write: (stream: StreamName, bytes: Buffer) => void) {
  const header = Buffer.alloc(HEADER_BYTES)
  let headerBytes = 0
  let leftBytes = 0
  let stream: StreamName = 'stdout'
  return {
    push(chunk: Buffer): void {
      for (let at = 0; at < chunk.length; ) {
        if (leftBytes === 0) {
          const copied = chunk.copy(header, headerBytes, at, at + HEADER_BYTES - headerBytes)
          headerBytes += copied
          at += copied
          if (headerBytes < HEADER_BYTES) return
          headerBytes = 0
          leftBytes = header.readUInt32BE(4)
          const name = NAMES[header[0] as number]
          if (name === undefined) throw new Error(`a frame of stream ${header[0]}`)
          stream = name
          continue
        }
        const end = Math.min(chunk.length, at + leftBytes)
        write(stream, chunk.subarray(at, end))
        leftBytes -= end - at
        at = end
      }
    },
    /** Whether the end is between two frames. */
    whole: (): boolean => headerBytes === 0 && leftBytes === 0,
  }
}
