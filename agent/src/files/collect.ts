/**
 * Reads what a container has packed: an archive of Docker's with two files, what the container says of its packing, and
 * the archive that it has made. Both are read as they come, and nothing is unpacked: contents go into the spool, names
 * into its list. An inner archive that is broken is one of the sandbox; an outer one is Docker's, and read again.
 */
import type { Readable } from 'node:stream'
import type { ArtifactSkipReason } from '@agent-executor/protocol'
import { extract } from 'tar-stream'
import type { CrashPoint } from '../crash-points.ts'
import { type ArtifactLimits, createSieve, notesOf } from '../decide/artifacts.ts'
import type { ArtifactSpools, Intake, Left } from './spools.ts'

/** It broke off: Docker may answer better the next time. */
export class ArchiveBroken extends Error {
  override name = 'ArchiveBroken'
}

const NOTES_BYTES_MAX = 1_048_576
const SKIPPED_SHOWN_MAX = 50
/** Docker sends something at least so often. */
const IDLE_MS = 30_000

/** The executor's hand on it. */
export function createCollector({
  spools,
  limits,
  crashPoint,
}: {
  spools: ArtifactSpools
  limits: ArtifactLimits
  crashPoint: (name: CrashPoint) => void
}) {
  return {
    /** What was collected before, by an earlier life maybe. */
    collected: (attemptId: string): Left | null => spools.get(attemptId)?.left() ?? null,

    /** Rejects with ArchiveBroken where the archive breaks off. */
    async collect(attemptId: string, archive: Readable, patterns: readonly string[]): Promise<Left> {
      const intake = spools.begin(attemptId)
      try {
        const { skipped, changes, end } = await read(archive, intake, createSieve(patterns, limits), () =>
          crashPoint('artifacts.half-stored'),
        )
        const missing = end === null ? 'notPacked' : end === 'noTar' ? 'noTar' : null
        const left = await intake.finish({ skipped, missing, changes })
        crashPoint('artifacts.stored')
        return left
      } catch (error) {
        await intake.abandon().catch(() => {})
        if (!isFull(error)) throw error
        return { artifacts: [], skipped: { count: 0, files: [] }, missing: 'noSpace' }
      } finally {
        archive.destroy()
      }
    },
  }
}

export type Collector = ReturnType<typeof createCollector>

const isFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(String((error as { code?: string }).code))

async function read(
  archive: Readable,
  intake: Intake,
  sieve: ReturnType<typeof createSieve>,
  onFirst: () => void,
): Promise<{ skipped: Left['skipped'] } & Pick<ReturnType<typeof notesOf>, 'changes' | 'end'>> {
  const skipped: Left['skipped'] = { count: 0, files: [] }
  const skip = (name: string, reason: ArtifactSkipReason): void => {
    skipped.count += 1
    if (skipped.files.length < SKIPPED_SHOWN_MAX) skipped.files.push({ name, reason })
  }
  const judge = (entry: Parameters<typeof sieve.verdict>[0]) => {
    const verdict = sieve.verdict(entry)
    if (verdict.type === 'skip') skip(verdict.name, verdict.reason)
    return verdict
  }
  let first = true

  const readFiles = async (packed: AsyncIterable<Uint8Array>): Promise<void> => {
    const inner = extract()
    const fed = feed(packed, inner).catch((error: Error) => {
      inner.destroy(error)
      throw error
    })
    fed.catch(() => {})
    try {
      for await (const entry of inner) {
        const { name, type, size } = entry.header
        const verdict = judge({ name, type, bytes: size })
        if (verdict.type !== 'take') {
          await drained(bytesOf(entry))
          continue
        }
        const kept = await intake.add(verdict.name, verdict.bytes, untilCut(bytesOf(entry)))
        if (kept === null) {
          skip(verdict.name, 'cut')
          break
        }
        if (first) onFirst()
        first = false
      }
    } catch (error) {
      // No archive, or not all of one: what came before stands.
      if (!isTarFault(error)) throw error
    }
    inner.destroy()
    await fed
  }

  let notes = ''
  const outer = extract()
  let broken: Error | null = null
  const fed = feed(withDeadline(archive), outer).catch((error: Error) => {
    broken = error
    outer.destroy(error)
  })
  try {
    for await (const entry of outer) {
      const name = entry.header.name.split('/').pop()
      if (entry.header.type === 'file' && name === 'notes') notes = await textOf(bytesOf(entry), NOTES_BYTES_MAX)
      else if (entry.header.type === 'file' && name === 'tar') await readFiles(bytesOf(entry))
      else await drained(bytesOf(entry))
    }
  } catch (error) {
    await fed
    if (broken !== null || isTarFault(error)) throw new ArchiveBroken(String(broken ?? error))
    throw error
  }
  await fed
  if (broken !== null) throw new ArchiveBroken(String(broken))
  const { tooLarge, changes, end } = notesOf(notes)
  for (const name of tooLarge) judge({ name, type: 'file', bytes: Number.POSITIVE_INFINITY })
  return { skipped, changes, end }
}

/** An entry, as tar-stream should say it. */
const bytesOf = (entry: AsyncIterable<unknown>) => entry as AsyncIterable<Uint8Array>

type Extract = ReturnType<typeof extract>

/** Resolves when all is written, or nobody reads any more; then the rest is read and let go. */
async function feed(from: AsyncIterable<Uint8Array>, into: Extract): Promise<void> {
  let open = true
  let wake = (): void => {}
  const over = (): void => {
    open = false
    wake()
  }
  into.on('close', over)
  into.on('error', over)
  into.on('drain', () => wake())
  for await (const chunk of from) {
    if (!open) continue
    if (!into.write(chunk) && open)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
  }
  if (open) into.end(null)
}

async function* withDeadline(archive: Readable): AsyncGenerator<Uint8Array> {
  const late = setTimeout(() => archive.destroy(new Error(`nothing came for ${IDLE_MS} ms`)), IDLE_MS)
  try {
    for await (const chunk of archive) {
      // Not while nobody reads.
      clearTimeout(late)
      yield chunk as Uint8Array
      late.refresh()
    }
  } finally {
    clearTimeout(late)
  }
}

async function* untilCut(entry: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* entry
  } catch (error) {
    if (!isTarFault(error)) throw error
  }
}

/** Of an archive: neither of a system call, such as a write to a full disk, nor of this code. */
const isTarFault = (error: unknown): boolean => !('syscall' in (error as object)) && !(error instanceof TypeError)

const drained = async (entry: AsyncIterable<Uint8Array>): Promise<void> => {
  for await (const _ of entry);
}

const textOf = async (entry: AsyncIterable<Uint8Array>, bytesMax: number): Promise<string> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of entry) {
    bytes += chunk.length
    if (bytes <= bytesMax) chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
