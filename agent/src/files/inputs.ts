/** What commands have uploaded, fetched to the agent's disk before their containers begin, and gone when they have. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { backoffMs } from '../decide/backoff.ts'

export type Fetched =
  | { type: 'fetched'; bytes: Readonly<Record<string, number>> }
  | { type: 'failed'; message: string }
  /** Asked to stop meanwhile. */
  | { type: 'stopped' }

export type Inputs = Awaited<ReturnType<typeof openInputs>>

/** Of one answer, which is in memory. */
const PART_BYTES_MAX = 4_194_304
const SHA256_OF_NOTHING = createHash('sha256').digest('hex')

export async function openInputs(options: {
  dir: string
  /** Rejects where nothing is known; with a `code` of the server's where it refuses. */
  fetchBlob: (
    sha256: string,
    part: { offset: number; bytesMax: number },
    signal: AbortSignal,
  ) => Promise<{ content: Buffer; bytes: number }>
  random: () => number
  /** How long the server may be silent until the attempt fails. */
  patienceMs: number
}) {
  const { dir, fetchBlob, random, patienceMs } = options
  // Of an earlier life: whatever is needed is fetched again.
  await rm(dir, { recursive: true, force: true })
  /** Of those whose hash was right. */
  const whole = new Map<string, number>()
  const pathOf = (attemptId: string, sha256: string): string => join(dir, attemptId, sha256)

  /** From where the file ends. */
  const fetchOne = async (path: string, sha256: string, signal: AbortSignal): Promise<number> => {
    const handle = await open(path, 'a', 0o600)
    try {
      for (let offset = (await handle.stat()).size; sha256 !== SHA256_OF_NOTHING; ) {
        const { content, bytes } = await fetchBlob(sha256, { offset, bytesMax: PART_BYTES_MAX }, signal)
        await writtenAll(handle, content)
        offset += content.length
        if (offset >= bytes) break
      }
      return (await handle.stat()).size
    } finally {
      await handle.close()
    }
  }

  const fetchChecked = async (path: string, sha256: string, signal: AbortSignal): Promise<number> => {
    const bytes = await fetchOne(path, sha256, signal)
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
    if (hash.digest('hex') === sha256) {
      whole.set(path, bytes)
      return bytes
    }
    await rm(path, { force: true })
    throw new Error(`what came is not ${sha256}`)
  }

  return {
    /** All of them; what is there already is not fetched again. */
    async fetch(attemptId: string, sha256s: readonly string[], signal: AbortSignal): Promise<Fetched> {
      const giveUpAtMs = performance.now() + patienceMs
      const fetched: Record<string, number> = {}
      await mkdir(join(dir, attemptId), { recursive: true, mode: 0o700 })
      for (const sha256 of new Set(sha256s)) {
        const path = pathOf(attemptId, sha256)
        for (let failures = 0; ; failures++) {
          if (signal.aborted) return { type: 'stopped' }
          try {
            fetched[sha256] = whole.get(path) ?? (await fetchChecked(path, sha256, signal))
            break
          } catch (error) {
            if (signal.aborted) return { type: 'stopped' }
            const { code, message } = error as { code?: string; message: string }
            if (code === 'RANGE_NOT_SATISFIABLE') await rm(path, { force: true })
            if (code === 'BLOB_NOT_FOUND' || performance.now() > giveUpAtMs) return { type: 'failed', message }
            await sleep(backoffMs(failures, random()), undefined, { signal }).catch(() => {})
          }
        }
      }
      return { type: 'fetched', bytes: fetched }
    },

    content: (attemptId: string, sha256: string): AsyncIterable<Buffer> => createReadStream(pathOf(attemptId, sha256)),

    async remove(attemptId: string): Promise<void> {
      for (const path of whole.keys()) if (path.startsWith(join(dir, attemptId, '/'))) whole.delete(path)
      await rm(join(dir, attemptId), { recursive: true, force: true })
    },
  }
}

const writtenAll = async (handle: FileHandle, content: Buffer): Promise<void> => {
  for (let at = 0; at < content.length; ) at += (await handle.write(content, at, content.length - at)).bytesWritten
}
