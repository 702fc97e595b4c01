/**
 * Contents of files, each in a file named by its SHA-256. The order is what keeps them true: a file is written beside
 * its place, synced and renamed, and only then has a row; a row goes before its file does. So a row means a whole file,
 * and what a crash leaves is a file without a row, which the next start removes. Whatever concerns one content happens
 * one after the other.
 */
import { createHash, randomUUID } from 'node:crypto'
import { createReadStream, mkdirSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { FileStore } from '../store/files.ts'
import { StoreUnavailableError } from '../store/store.ts'
import { createTurns } from './in-turn.ts'

export type Received =
  | { type: 'kept'; sha256: string; bytes: number }
  | { type: 'tooLarge' }
  /** Not what was expected. */
  | { type: 'mismatch'; sha256: string }
export type Appended =
  /** `bytes` of the whole are there; `whole`: that is all, and it is kept. */
  | { type: 'committed'; bytes: number; whole: boolean }
  /** It begins beyond what is there. */
  | { type: 'gap'; bytes: number }
  /** Complete, and not what its name says: nothing is kept of it. */
  | { type: 'mismatch' }

export type Blobs = ReturnType<typeof createBlobs>

const LIST = 1000
/** Looked for so often; what a client or an agent has left half way goes after `keptMs`. */
const PARTS_LOOK_MS = 600_000

export function createBlobs(options: {
  dir: string
  files: FileStore
  /** How long a content stays that nobody uses, in milliseconds. */
  keptMs: number
  nowMs: () => number
}) {
  const { dir, files, keptMs, nowMs } = options
  const inTurn = createTurns()
  const parts = join(dir, 'parts')
  mkdirSync(parts, { recursive: true, mode: 0o700 })
  let partsLookMs = Number.NEGATIVE_INFINITY

  const folderOf = (sha256: string): string => join(dir, sha256.slice(0, 2))
  const pathOf = (sha256: string): string => join(folderOf(sha256), sha256)

  /** From its place beside to its own, with a row. */
  const keep = async (part: string, sha256: string, bytes: number): Promise<void> =>
    inTurn(sha256, async () => {
      const known = await files.blob(sha256)
      if (known === undefined) {
        await mkdir(folderOf(sha256), { recursive: true, mode: 0o700 })
        await rename(part, pathOf(sha256))
        await synced(folderOf(sha256))
        await synced(dir)
      }
      await files.addBlob({ sha256, bytes }, nowMs() + keptMs, nowMs())
    })

  return {
    /** A content of at most `bytesMax` bytes, as it comes; with `expected`, this one alone. */
    async receive(
      content: AsyncIterable<Buffer>,
      { bytesMax, expected }: { bytesMax: number; expected: string | null },
    ): Promise<Received> {
      const part = join(parts, randomUUID())
      try {
        const hash = createHash('sha256')
        let bytes = 0
        const handle = await opened(part, 'wx')
        try {
          for await (const chunk of content) {
            bytes += chunk.length
            if (bytes > bytesMax) return { type: 'tooLarge' }
            hash.update(chunk)
            await writtenAll(handle, chunk)
          }
          await handle.sync()
        } finally {
          await handle.close()
        }
        const sha256 = hash.digest('hex')
        if (sha256 !== (expected ?? sha256)) return { type: 'mismatch', sha256 }
        await keep(part, sha256, bytes)
        return { type: 'kept', sha256, bytes }
      } catch (error) {
        throw asUnavailable(error)
      } finally {
        await rm(part, { force: true })
      }
    },

    /** A part of a content of `bytes` bytes; `source` tells apart who brings it. Bytes that are there are passed over. */
    append: (
      source: string,
      { sha256, bytes, firstByte, content }: { sha256: string; bytes: number; firstByte: number; content: Buffer },
    ): Promise<Appended> =>
      inTurn(`${source} ${sha256}`, async (): Promise<Appended> => {
        const part = join(parts, `${source}.${sha256}`)
        try {
          const handle = await opened(part, 'a')
          try {
            const there = (await handle.stat()).size
            if (firstByte > there) return { type: 'gap', bytes: there }
            await writtenAll(handle, content.subarray(Math.min(content.length, there - firstByte)))
            const committed = (await handle.stat()).size
            if (committed < bytes) return { type: 'committed', bytes: committed, whole: false }
            await handle.sync()
          } finally {
            await handle.close()
          }
          if ((await hashOf(part)) === sha256) await keep(part, sha256, bytes)
          else {
            await rm(part, { force: true })
            return { type: 'mismatch' }
          }
          await rm(part, { force: true })
          return { type: 'committed', bytes, whole: true }
        } catch (error) {
          throw asUnavailable(error)
        }
      }),

    /** Null where it is not there. From `first` to `last`, both included. */
    async read(sha256: string, { first, last }: { first: number; last: number }): Promise<Readable | null> {
      let handle: FileHandle
      try {
        handle = await open(pathOf(sha256), 'r')
      } catch (error) {
        if (isMissing(error)) return null
        throw error
      }
      // A stream of nothing cannot be said with `end`, which is included.
      if (last < first) {
        await handle.close()
        return createReadStream('/dev/null')
      }
      return handle.createReadStream({ start: first, end: last })
    },

    /** At most `limit` of those that nobody uses; answers how many were looked at. */
    async removeUnused(limit: number): Promise<number> {
      const now = nowMs()
      const due = await files.blobsDue(now, limit)
      const used = due.flatMap((each) => (each.used ? [each.sha256] : []))
      if (used.length > 0) await files.keepBlobs(used, now)
      for (const { sha256, used } of due)
        if (!used)
          await inTurn(sha256, async () => {
            if (await files.dropBlob(sha256, now)) await rm(pathOf(sha256), { force: true })
          })
      if (now - partsLookMs > PARTS_LOOK_MS) {
        partsLookMs = now
        await removeOldParts()
      }
      return due.length
    },

    /** At the start, before anything is received: files without a row, and rows without a file. */
    async tidy(): Promise<{ removed: number; lost: number }> {
      await rm(parts, { recursive: true, force: true })
      await mkdir(parts, { mode: 0o700 })
      const there = new Set<string>()
      for (const folder of await readdir(dir))
        if (/^[0-9a-f]{2}$/.test(folder)) for (const name of await readdir(join(dir, folder))) there.add(name)
      let lost = 0
      for (let after = ''; ; ) {
        const rows = await files.blobs(after, LIST)
        for (const sha256 of rows)
          if (!there.delete(sha256)) {
            await files.loseBlob(sha256)
            lost += 1
          }
        if (rows.length < LIST) break
        after = rows.at(-1) as string
      }
      for (const name of there) await rm(pathOf(name), { recursive: true, force: true })
      return { removed: there.size, lost }
    },
  }

  async function removeOldParts(): Promise<void> {
    for (const name of await readdir(parts)) {
      const path = join(parts, name)
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
      if (mtimeMs < Date.now() - keptMs) await rm(path, { force: true })
    }
  }
}

const opened = (path: string, flags: string): Promise<FileHandle> => open(path, flags, 0o600)

/** `write` may take less than it is given. */
const writtenAll = async (handle: FileHandle, chunk: Buffer): Promise<void> => {
  for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at, chunk.length - at)).bytesWritten
}

const hashOf = async (path: string): Promise<string> => {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

const synced = async (folder: string): Promise<void> => {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const codeOf = (error: unknown): string | undefined => (error as { code?: string } | null)?.code
const isMissing = (error: unknown): boolean => codeOf(error) === 'ENOENT'

const asUnavailable = (error: unknown): unknown =>
  codeOf(error) === 'ENOSPC' || codeOf(error) === 'EDQUOT' ? new StoreUnavailableError('NO_SPACE', error) : error
