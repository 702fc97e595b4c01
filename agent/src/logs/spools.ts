/**
 * The spools of all attempts, a folder each. Output comes into one from a reading of a container's output: from its
 * beginning while the container is new, or from a repetition of it, of which what is spooled already is passed over. Only
 * the newest reading counts.
 */
import { mkdirSync } from 'node:fs'
import { open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { LOG_STREAMS, type LogStreamName } from '@agent-executor/protocol'
import { openSpooledStream, type SpooledStream, type SpoolLimits } from './spooled-stream.ts'

export type Spool = {
  attemptId: string
  streams: Readonly<Record<LogStreamName, SpooledStream>>
  /** A reading from the first byte on, of a container that has not run before, without the secrets. */
  begin: (secrets: readonly string[]) => Reading
  /** A reading of all that Docker has kept. */
  resume: (secrets: readonly string[]) => Resumption
  /** `complete`: the last reading came to its end, and nothing can come after it. */
  end: (complete: boolean) => Promise<void>
  /** This life has no more for it. */
  close: () => Promise<void>
  /** An executor has it. */
  inUse: () => boolean
}

export type Reading = { write: (stream: LogStreamName, bytes: Buffer) => void }
export type Resumption = Reading & {
  /** It does not have what is spooled already: the next one is taken from its beginning, with a mark. */
  isLost: () => boolean
  /** It has all that is spooled already. */
  hasCaughtUp: () => boolean
}

export type Spools = Awaited<ReturnType<typeof openSpools>>

/** Older ones go: a server that is away for ever must not fill the disk. */
const SPOOLS_MAX = 500

export async function openSpools(options: {
  dir: string
  limits: SpoolLimits
  /** Something can be uploaded. */
  onCommitted: () => void
  warn: (facts: object, message: string) => void
}) {
  const { dir, limits, warn } = options
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const spools = new Map<string, Spool>()
  const opening = new Map<string, Promise<Spool>>()

  const openSpool = async (attemptId: string): Promise<Spool> => {
    const folder = join(dir, attemptId)
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    await syncFolder(dir)
    const onFault = (error: unknown): void => warn({ err: error, attemptId }, 'a log cannot be spooled, it is cut here')
    const openStream = (stream: LogStreamName) =>
      openSpooledStream(join(folder, `${stream}.spool`), limits, { onCommitted: options.onCommitted, onFault })
    const spool = createSpool(attemptId, { stdout: await openStream('stdout'), stderr: await openStream('stderr') })
    spools.set(attemptId, spool)
    return spool
  }

  const opened = (attemptId: string): Promise<Spool> => {
    const known = spools.get(attemptId)
    if (known !== undefined) return Promise.resolve(known)
    const promise = opening.get(attemptId) ?? openSpool(attemptId).finally(() => opening.delete(attemptId))
    opening.set(attemptId, promise)
    return promise
  }

  const remove = async (attemptId: string): Promise<void> => {
    spools.delete(attemptId)
    await rm(join(dir, attemptId), { recursive: true, force: true })
  }

  for (const name of (await readdir(dir)).sort())
    await openSpool(name).catch((error: unknown) => warn({ err: error, attemptId: name }, 'a spool cannot be read'))

  return {
    /** For an executor, which ends or closes it. Rejects where the disk does. */
    async take(attemptId: string): Promise<Spool> {
      for (const old of [...spools.values()]
        .filter(({ inUse }) => !inUse())
        .slice(0, Math.max(0, spools.size - SPOOLS_MAX))) {
        warn({ attemptId: old.attemptId }, 'too many logs wait for the server, the oldest is given up')
        await remove(old.attemptId)
      }
      return opened(attemptId)
    },
    /** Oldest first. */
    all: (): Spool[] => [...spools.values()],
    remove,
  }
}

function createSpool(attemptId: string, streams: Record<LogStreamName, SpooledStream>): Spool {
  let newest: object | null = null
  let lost: readonly LogStreamName[] = []
  let isTaken = false
  return {
    attemptId,
    streams,
    inUse: () => isTaken,

    begin(secrets) {
      isTaken = true
      for (const stream of LOG_STREAMS) streams[stream].position(secrets)
      const reading: Reading = {
        write(stream, bytes) {
          if (newest === reading) streams[stream].push(bytes)
        },
      }
      newest = reading
      return reading
    },

    resume(secrets) {
      isTaken = true
      for (const stream of lost) streams[stream].gap()
      lost = []
      const catchUps = {
        stdout: createCatchUp(streams.stdout, secrets),
        stderr: createCatchUp(streams.stderr, secrets),
      }
      const resumption: Resumption = {
        write(stream, bytes) {
          if (newest !== resumption) return
          const fresh = catchUps[stream].take(bytes)
          if (catchUps[stream].isLost() && !lost.includes(stream)) lost = [...lost, stream]
          if (fresh.length > 0) streams[stream].push(fresh)
        },
        isLost: () => LOG_STREAMS.some((stream) => catchUps[stream].isLost()),
        hasCaughtUp: () => LOG_STREAMS.every((stream) => catchUps[stream].hasCaughtUp()),
      }
      newest = resumption
      return resumption
    },

    async end(complete) {
      newest = null
      await Promise.all(LOG_STREAMS.map((stream) => streams[stream].end(complete)))
      isTaken = false
    },

    async close() {
      newest = null
      await Promise.all(LOG_STREAMS.map((stream) => streams[stream].close()))
      isTaken = false
    },
  }
}

/** Passes over what was read before, and makes sure that it is the same. */
function createCatchUp(stream: SpooledStream, secrets: readonly string[]) {
  const from = stream.position(secrets)
  let leftBytes = from.rawBytes
  let crc = 0
  let lost = false
  return {
    take(bytes: Buffer): Buffer {
      if (lost) return bytes.subarray(bytes.length)
      if (leftBytes === 0) return bytes
      const before = bytes.subarray(0, leftBytes)
      crc = crc32(before, crc)
      leftBytes -= before.length
      lost = leftBytes === 0 && crc !== from.rawCrc
      return bytes.subarray(lost ? bytes.length : before.length)
    },
    isLost: (): boolean => lost,
    hasCaughtUp: (): boolean => leftBytes === 0 && !lost,
  }
}

const syncFolder = async (folder: string): Promise<void> => {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
