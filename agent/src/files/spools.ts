/**
 * The files that attempts have left, on their way to the server: for each attempt a folder with one file of all contents,
 * one after the other, and the list of them, written last. A folder with a list is whole, whatever crashed since; one
 * without is begun anew. One file for all, because each of a thousand would be an fsync of its own.
 */
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Artifact, ArtifactSkipReason, ArtifactsMissing, Changes } from '@agent-executor/protocol'

/** What came of looking for files in a container. */
export type Left = {
  artifacts: (Artifact & { lost: boolean })[]
  skipped: { count: number; files: { name: string; reason: ArtifactSkipReason }[] }
  missing: ArtifactsMissing | null
  /** Absent in what an older agent has stored. */
  changes?: Changes | null
}

type Placed = Artifact & { lost: boolean; offset: number }
type List = Omit<Left, 'artifacts'> & { artifacts: Placed[] }

export type ArtifactSpool = {
  attemptId: string
  left: () => Left
  /** Of one content; shorter only where the disk does not have it. */
  read: (sha256: string, offset: number, bytesMax: number) => Promise<Buffer>
  /** It cannot be had any more. */
  lose: (sha256: string) => Promise<void>
}

export type Intake = {
  /** Stores what comes, and answers with its hash; null where it ended too early. */
  add: (name: string, bytes: number, content: AsyncIterable<Uint8Array>) => Promise<Artifact | null>
  /** Durable when it resolves. Where there is nothing to bring, nothing is kept. */
  finish: (left: Omit<Left, 'artifacts'>) => Promise<Left>
  abandon: () => Promise<void>
}

export type ArtifactSpools = Awaited<ReturnType<typeof openArtifactSpools>>

const CONTENTS = 'contents'
const LIST = 'list.json'

export async function openArtifactSpools(options: {
  dir: string
  /** Of all contents together; beyond it the oldest are given up. */
  bytesMax: number
  /** Something can be uploaded. */
  onFinished: () => void
  warn: (facts: object, message: string) => void
}) {
  const { dir, warn } = options
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const spools = new Map<string, ArtifactSpool & { bytes: () => number; giveUp: () => Promise<void> }>()
  const folderOf = (attemptId: string): string => join(dir, attemptId)

  const add = async (attemptId: string, list: List): Promise<void> => {
    const folder = folderOf(attemptId)
    let current = list
    let bytes = await stat(join(folder, CONTENTS)).then(
      ({ size }) => size,
      () => 0,
    )
    const change = async (isLost: (artifact: Placed) => boolean): Promise<void> => {
      current = {
        ...current,
        artifacts: current.artifacts.map((each) => (isLost(each) ? { ...each, lost: true } : each)),
      }
      await writeList(folder, current)
    }
    spools.set(attemptId, {
      attemptId,
      left: () => withoutPlaces(current),
      async read(sha256, offset, bytesMax) {
        const artifact = current.artifacts.find((each) => each.sha256 === sha256)
        if (artifact === undefined) return Buffer.alloc(0)
        const part = Buffer.alloc(Math.min(bytesMax, artifact.bytes - offset))
        const handle = await open(join(folder, CONTENTS), 'r')
        try {
          const { bytesRead } = await handle.read(part, 0, part.length, artifact.offset + offset)
          return part.subarray(0, bytesRead)
        } finally {
          await handle.close()
        }
      },
      lose: (sha256) => change((each) => each.sha256 === sha256),
      bytes: () => bytes,
      async giveUp() {
        await change(() => true)
        await rm(join(folder, CONTENTS), { force: true })
        bytes = 0
      },
    })
  }

  const giveUpOldest = async (newest: string): Promise<void> => {
    let bytes = [...spools.values()].reduce((sum, each) => sum + each.bytes(), 0)
    for (const spool of spools.values()) {
      if (bytes <= options.bytesMax) return
      if (spool.attemptId === newest || spool.bytes() === 0) continue
      warn({ attemptId: spool.attemptId }, 'too many files wait for the server, the oldest are given up')
      bytes -= spool.bytes()
      await spool.giveUp()
    }
  }

  for (const attemptId of (await readdir(dir)).sort()) {
    const list = await readList(folderOf(attemptId))
    // What was not finished is collected again, from the container, which is there until its outcome is acknowledged.
    if (list === null) await rm(folderOf(attemptId), { recursive: true, force: true })
    else await add(attemptId, list)
  }

  return {
    /** Null where it was not finished. */
    get: (attemptId: string): ArtifactSpool | null => spools.get(attemptId) ?? null,
    /** Oldest first. */
    all: (): ArtifactSpool[] => [...spools.values()],
    async remove(attemptId: string): Promise<void> {
      spools.delete(attemptId)
      await rm(folderOf(attemptId), { recursive: true, force: true })
    },

    begin(attemptId: string): Intake {
      const folder = folderOf(attemptId)
      const artifacts: Placed[] = []
      let contents: FileHandle | null = null
      let end = 0
      const opened = async (): Promise<FileHandle> => {
        if (contents !== null) return contents
        await rm(folder, { recursive: true, force: true })
        await mkdir(folder, { mode: 0o700 })
        contents = await open(join(folder, CONTENTS), 'w', 0o600)
        return contents
      }
      const abandon = async (): Promise<void> => {
        await contents?.close()
        contents = null
        await rm(folder, { recursive: true, force: true })
      }
      return {
        async add(name, bytes, content) {
          const handle = await opened()
          const hash = createHash('sha256')
          let came = 0
          for await (const chunk of content) {
            hash.update(chunk)
            for (let at = 0; at < chunk.length; )
              at += (await handle.write(chunk, at, chunk.length - at, end + came + at)).bytesWritten
            came += chunk.length
          }
          if (came !== bytes) return null
          const sha256 = hash.digest('hex')
          const same = artifacts.find((each) => each.sha256 === sha256)
          artifacts.push({ name, bytes, sha256, lost: false, offset: same?.offset ?? end })
          // What is there already is written over by the next.
          if (same === undefined) end += bytes
          return { name, bytes, sha256 }
        },

        async finish(left) {
          const list = { artifacts, ...left }
          if (contents === null || artifacts.length === 0) {
            await abandon()
            return withoutPlaces(list)
          }
          await contents.truncate(end)
          await contents.sync()
          await contents.close()
          contents = null
          await writeList(folder, list)
          await syncFolder(dir)
          await add(attemptId, list)
          await giveUpOldest(attemptId)
          options.onFinished()
          return withoutPlaces(list)
        },
        abandon,
      }
    },
  }
}

const withoutPlaces = ({ artifacts, ...left }: List): Left => ({
  ...left,
  artifacts: artifacts.map(({ offset: _, ...artifact }) => artifact),
})

async function writeList(folder: string, list: List): Promise<void> {
  const handle = await open(join(folder, `${LIST}.new`), 'w', 0o600)
  try {
    await handle.writeFile(JSON.stringify(list))
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(join(folder, `${LIST}.new`), join(folder, LIST))
  await syncFolder(folder)
}

/** Null where there is none, or none that was written whole. */
async function readList(folder: string): Promise<List | null> {
  try {
    return JSON.parse(await readFile(join(folder, LIST), 'utf8')) as List
  } catch {
    return null
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
