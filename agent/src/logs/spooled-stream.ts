/**
 * One stream of one attempt on its way to the disk: redacted, then its beginning as it comes and its end when it is over,
 * with what was left out named between. What is committed is synced, and only that is uploaded; so whatever crashes, the
 * same bytes have the same offsets. An error of the disk ends the stream here, and is nobody's failure.
 */
import { type FileHandle, open, readFile } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { type Frame, frameOf, framesIn, HEADER_BYTES, type Mark } from './frames.ts'
import { createRedactor } from './redact.ts'
import { createTail } from './tail.ts'

export type SpooledStream = Awaited<ReturnType<typeof openSpooledStream>>

export type SpoolLimits = {
  /** Kept of the beginning, and of the end. */
  headBytesMax: number
  tailBytesMax: number
}

/** Output comes in pieces of so much at most, so that the head does not grow by more beyond its limit. */
const SLICE_BYTES = 65_536
/** How long what has come waits for more before it is synced. */
const COMMIT_MS = 100
const COMMIT_BYTES = 262_144

export const GAP_MARK = Buffer.from(
  "\n[... something may be missing here, or repeated: Docker's log does not reach back to where reading had stopped ...]\n",
)
const leftOutMark = (bytes: number): Buffer => Buffer.from(`\n[... ${bytes} bytes left out ...]\n`)

type Placed = { offset: number; fileOffset: number; length: number }

export async function openSpooledStream(
  file: string,
  limits: SpoolLimits,
  events: { onCommitted: () => void; onFault: (error: unknown) => void },
) {
  const known = framesIn(await readFile(file).catch(noFile))
  const placed: Placed[] = []
  let fileBytes = 0
  /** Synced, and of what is on its way to be. */
  let bytes = 0
  let end: Frame['end'] = null
  let mark: Mark = { rawBytes: 0, rawCrc: 0, gap: false }
  const place = (frame: Frame): void => {
    if (frame.content.length > 0)
      placed.push({ offset: bytes, fileOffset: fileBytes + HEADER_BYTES, length: frame.content.length })
    fileBytes += HEADER_BYTES + frame.content.length
    bytes += frame.content.length
    end = frame.end
  }
  for (const frame of known.frames) {
    place(frame)
    const { rawBytes, rawCrc, gap } = frame
    mark = { rawBytes, rawCrc, gap }
  }
  let headBytes = bytes

  /** How far the output was read; `mark` is as far as the head has it. */
  let read: Mark = mark
  let handle: FileHandle | null = null
  let failed = false
  let redactor = createRedactor([])
  const tail = createTail(limits.tailBytesMax)
  /** What has been read and has no frame yet. */
  let pending: Buffer[] = []
  let pendingBytes = 0
  let timer: NodeJS.Timeout | null = null
  let committing: Promise<void> = Promise.resolve()

  const commit = (last: Frame['end'] = null): Promise<void> => {
    if (timer !== null) clearTimeout(timer)
    timer = null
    const content = Buffer.concat(pending)
    const frame: Frame = { ...mark, end: last, content }
    pending = []
    pendingBytes = 0
    committing = committing
      .then(() => (failed ? undefined : write(frame)))
      .catch((error: unknown) => {
        failed = true
        events.onFault(error)
      })
    return committing
  }

  const write = async (frame: Frame): Promise<void> => {
    if (handle === null) {
      handle = await open(file, 'a', 0o600)
      // Of a frame that a crash has cut.
      await handle.truncate(fileBytes)
    }
    const encoded = frameOf(frame)
    for (let at = 0; at < encoded.length; ) at += (await handle.write(encoded, at)).bytesWritten
    await handle.datasync()
    place(frame)
    events.onCommitted()
  }

  const isHeadFull = (): boolean => headBytes >= limits.headBytesMax || tail.bytes() > 0

  /**
   * `at` is how far the output was read with this. Of what only the tail has, a later life must know nothing: it would
   * miss it.
   */
  const keep = (content: Buffer, at: Mark): void => {
    read = at
    if (!isHeadFull()) mark = at
    if (content.length === 0) return
    if (isHeadFull()) {
      tail.push(content)
      return
    }
    headBytes += content.length
    pending.push(content)
    pendingBytes += content.length
    if (pendingBytes >= COMMIT_BYTES) void commit()
    else timer ??= setTimeout(() => void commit(), COMMIT_MS)
  }

  let ending = false
  const isOver = (): boolean => failed || end !== null || ending

  return {
    /** More of the output, from where it stopped. */
    push(chunk: Buffer): void {
      for (let at = 0; at < chunk.length && !isOver(); at += SLICE_BYTES) {
        // A copy: what waits here must not keep alive, or share, the memory of a socket's buffer.
        const { redacted, raw } = redactor.push(Buffer.from(chunk.subarray(at, at + SLICE_BYTES)))
        keep(redacted, { rawBytes: read.rawBytes + raw.length, rawCrc: crc32(raw, read.rawCrc), gap: read.gap })
      }
    },

    /** Where another reading of the same output goes on: what is held back will be read again. */
    position(secrets: readonly string[]): { rawBytes: number; rawCrc: number } {
      redactor = createRedactor(secrets)
      return { rawBytes: read.rawBytes, rawCrc: read.rawCrc }
    },

    /** That other reading does not have it. It is taken from its beginning, after a mark. */
    gap(): void {
      if (isOver()) return
      keep(GAP_MARK, { rawBytes: 0, rawCrc: 0, gap: true })
    },

    /** Nothing more comes. Resolves when that is on the disk; `complete`: as far as the caller knows. */
    async end(complete: boolean): Promise<void> {
      if (isOver()) return committing
      keep(redactor.end().redacted, read)
      ending = true
      const leftOut = tail.bytes() - tail.content().length
      if (leftOut > 0) pending.push(leftOutMark(leftOut))
      pending.push(tail.content())
      mark = read
      await commit(complete && !mark.gap && leftOut === 0 ? 'complete' : 'cut')
      await handle?.close()
      handle = null
    },

    /** Nothing more comes in this life. */
    async close(): Promise<void> {
      if (timer !== null) await commit()
      await committing
      await handle?.close()
      handle = null
    },

    bytes: (): number => bytes,
    /** Null while more may come. */
    ended: (): Frame['end'] => end ?? (failed ? 'cut' : null),

    /** Of what is committed, at most `bytesMax`. */
    async content(offset: number, bytesMax: number): Promise<Buffer> {
      const from = await open(file, 'r')
      try {
        const pieces: Buffer[] = []
        let at = offset
        const until = Math.min(bytes, offset + bytesMax)
        for (const piece of placed) {
          const inPiece = at - piece.offset
          if (at >= until) break
          if (inPiece < 0 || inPiece >= piece.length) continue
          const length = Math.min(piece.length - inPiece, until - at)
          const buffer = Buffer.alloc(length)
          const { bytesRead } = await from.read(buffer, 0, length, piece.fileOffset + inPiece)
          if (bytesRead < length) throw new Error(`${file} is shorter than it was`)
          pieces.push(buffer)
          at += length
        }
        return Buffer.concat(pieces)
      } finally {
        await from.close()
      }
    },
  }
}

const noFile = (error: NodeJS.ErrnoException): Buffer => {
  if (error.code === 'ENOENT') return Buffer.alloc(0)
  throw error
}
