/**
 * The file of a spooled stream: frames, each with a checksum, only ever added. A frame says how far the container's output
 * had been read when it was written, so that the file is all that a later life needs. Pure.
 */
import { crc32 } from 'node:zlib'

export type Mark = {
  /** Bytes of the container's output that are behind what is spooled, and their CRC-32. */
  rawBytes: number
  rawCrc: number
  /** Something is missing, or may be there twice. */
  gap: boolean
}

export type Frame = Mark & { end: 'complete' | 'cut' | null; content: Buffer }

const MAGIC = 0x4c45_4131
export const HEADER_BYTES = 32
const CHECKED_BYTES = 28
const GAP = 1
const ENDS = [null, 'complete', 'cut'] as const
/** Of one frame; more than ever is written. */
const CONTENT_BYTES_MAX = 64 * 2 ** 20

export function frameOf({ rawBytes, rawCrc, gap, end, content }: Frame): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt32LE(MAGIC, 0)
  header.writeUInt32LE(content.length, 4)
  header.writeBigUInt64LE(BigInt(rawBytes), 8)
  header.writeUInt32LE(rawCrc, 16)
  header.writeUInt8(ENDS.indexOf(end), 20)
  header.writeUInt8(gap ? GAP : 0, 21)
  header.writeUInt32LE(crc32(content, crc32(header.subarray(0, CHECKED_BYTES))), CHECKED_BYTES)
  return Buffer.concat([header, content])
}

/** The frames from the beginning on, up to the first that is not whole; `fileBytes` is where that begins. */
export function framesIn(file: Buffer): { frames: Frame[]; fileBytes: number } {
  const frames: Frame[] = []
  let at = 0
  while (at + HEADER_BYTES <= file.length) {
    const header = file.subarray(at, at + HEADER_BYTES)
    const length = header.readUInt32LE(4)
    const content = file.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length)
    if (header.readUInt32LE(0) !== MAGIC || length > CONTENT_BYTES_MAX || content.length < length) break
    if (crc32(content, crc32(header.subarray(0, CHECKED_BYTES))) !== header.readUInt32LE(CHECKED_BYTES)) break
    frames.push({
      rawBytes: Number(header.readBigUInt64LE(8)),
      rawCrc: header.readUInt32LE(16),
      gap: header.readUInt8(21) === GAP,
      end: ENDS[header.readUInt8(20)] ?? null,
      content,
    })
    at += HEADER_BYTES + length
  }
  return { frames, fileBytes: at }
}
