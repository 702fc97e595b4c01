/**
 * A disk at the moment of a power cut: what was synced is there; of what was not, anything may be: nothing, all, the
 * first part, some writes without others, some sectors of a write without others. A name is there when its folder was
 * synced after it was made.
 */
import { dirname } from 'node:path'
import type { Random } from '../random.ts'
import type { Step } from './trace.ts'

const SECTOR_BYTES = 512

type Change = Exclude<Step, { type: 'tell' | 'sync' }>
/** `room` is longer than the file, so that a file that grows write by write is not copied each time. */
type File = { room: Buffer; size: number; isNamed: boolean }
type Files = Map<string, File>

const resized = (file: File, size: number): void => {
  if (size > file.room.length) file.room = Buffer.concat([file.room], 2 * size)
  // What was beyond the end reads as zeros when the file grows again.
  if (size < file.size) file.room.fill(0, size, file.size)
  file.size = size
}

const written = (files: Files, change: Change): void => {
  const file = files.get(change.file) ?? { room: Buffer.alloc(0), size: 0, isNamed: false }
  files.set(change.file, file)
  if (change.type === 'create') file.isNamed = true
  else if (change.type === 'unlink') files.delete(change.file)
  else if (change.type === 'truncate') resized(file, change.size)
  else {
    resized(file, Math.max(file.size, change.offset + change.bytes.length))
    change.bytes.copy(file.room, change.offset)
  }
}

/** What a sync of `path` brings to the disk: the data of a file, or the names in a folder. */
const isBroughtBy = (path: string, change: Change): boolean =>
  change.type === 'create' || change.type === 'unlink' ? dirname(change.file) === path : change.file === path

const sectorsOf = (change: Change): Change[] =>
  change.type !== 'write'
    ? [change]
    : Array.from({ length: Math.ceil(change.bytes.length / SECTOR_BYTES) }, (_, sector) => ({
        ...change,
        offset: change.offset + sector * SECTOR_BYTES,
        bytes: change.bytes.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES),
      }))

/** How a disk may treat what was not synced. */
const HABITS: readonly ((pending: readonly Change[], random: Random) => readonly Change[])[] = [
  () => [],
  (pending) => pending,
  (pending, random) => pending.slice(0, random.between(0, pending.length)),
  (pending, random) => pending.filter(() => random.chance(0.5)),
  (pending, random) => pending.flatMap(sectorsOf).filter(() => random.chance(0.5)),
]

export function createDisk() {
  const synced: Files = new Map()
  let pending: Change[] = []
  return {
    take(step: Exclude<Step, { type: 'tell' }>): void {
      if (step.type !== 'sync') {
        pending.push(step)
        return
      }
      for (const change of pending) if (isBroughtBy(step.path, change)) written(synced, change)
      pending = pending.filter((change) => !isBroughtBy(step.path, change))
    },
    /** Files by path. */
    cut(random: Random): Map<string, Buffer> {
      const files: Files = new Map([...synced].map(([path, file]) => [path, { ...file, room: Buffer.from(file.room) }]))
      for (const change of random.pick(HABITS)(pending, random)) written(files, change)
      const named = [...files].filter(([, { isNamed }]) => isNamed)
      return new Map(named.map(([path, { room, size }]) => [path, room.subarray(0, size)]))
    },
  }
}
