/** What a stretch of time cost: processor time, memory, fsyncs, and how much of the machine others had meanwhile. */
import { spawnSync } from 'node:child_process'
import { chmodSync, closeSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** USER_HZ, which Linux has fixed at 100 for every process that can ask. */
const TICKS_PER_S = 100

/** Fields of /proc/PID/stat after the program's name, which may itself contain anything. */
const statOf = (pid: number | string): string[] => {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

/** Seconds of processor time of a process, all threads, and of its children that have ended. 0 once it is gone. */
const cpuSecondsOf = (pid: number): number => {
  try {
    const [user, system, childrenUser, childrenSystem] = statOf(pid).slice(11, 15).map(Number)
    return ((user ?? 0) + (system ?? 0) + (childrenUser ?? 0) + (childrenSystem ?? 0)) / TICKS_PER_S
  } catch {
    return 0
  }
}

/** A process and everything it started. */
const treeOf = (root: number): number[] => {
  const childrenOf = new Map<number, number[]>()
  for (const name of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      const parent = Number(statOf(name)[1])
      childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)])
    } catch {
      // It ended between the two looks.
    }
  const below = (pid: number): number[] => [pid, ...(childrenOf.get(pid) ?? []).flatMap(below)]
  return below(root)
}

export const cpuSeconds = (roots: readonly number[]): number =>
  roots.flatMap(treeOf).reduce((sum, pid) => sum + cpuSecondsOf(pid), 0)

const machineBusySeconds = (): number => {
  const ticks = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/).slice(1, 9).map(Number)
  const [user = 0, nice = 0, system = 0, , , interrupts = 0, softInterrupts = 0, stolen = 0] = ticks
  return (user + nice + system + interrupts + softInterrupts + stolen) / TICKS_PER_S
}

/** Call it at the end of a stretch: how many processors were busy with what is not ours. */
export function watchForeignLoad(): () => number {
  const look = () => ({ atMs: performance.now(), busy: machineBusySeconds(), own: cpuSeconds([process.pid]) })
  const before = look()
  return () => {
    const after = look()
    const foreignSeconds = after.busy - before.busy - (after.own - before.own)
    return Math.max(0, foreignSeconds / ((after.atMs - before.atMs) / 1000))
  }
}

const sizeMb = (path: string, field: RegExp): number => {
  try {
    return Number(field.exec(readFileSync(path, 'utf8'))?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}

export const rssMb = (pid: number): number => sizeMb(`/proc/${pid}/status`, /^VmRSS:\s+(\d+)/m)

/** Proportional, so that pages shared by the processes of one broker count once. */
export const treePssMb = (roots: readonly number[]): number =>
  roots.flatMap(treeOf).reduce((sum, pid) => sum + sizeMb(`/proc/${pid}/smaps_rollup`, /^Pss:\s+(\d+)/m), 0)

export type SyncCounter = {
  /** To be set for the processes that are to be counted. */
  env: Record<string, string>
  count: () => number
}

/** Makes a counter of this name in a folder. */
export type SyncCounters = (scratch: string, name: string) => SyncCounter

/** Null where there is no C compiler. */
export function buildSyncCounters(folder: string, source: string): SyncCounters | null {
  const library = join(folder, 'sync-count.so')
  const built = spawnSync('gcc', ['-O2', '-shared', '-fPIC', '-o', library, source, '-ldl'], { encoding: 'utf8' })
  if (built.error !== undefined) return null
  if (built.status !== 0) throw new Error(`sync-count.c does not compile: ${built.stderr}`)
  chmodSync(library, 0o755)
  return (scratch, name) => {
    const file = join(scratch, `${name}.syncs`)
    writeFileSync(file, Buffer.alloc(8))
    // PostgreSQL counts there as a user of its own.
    chmodSync(file, 0o666)
    return {
      env: { LD_PRELOAD: library, SYNC_COUNT_FILE: file },
      count: () => {
        const bytes = Buffer.alloc(8)
        const descriptor = openSync(file, 'r')
        readSync(descriptor, bytes)
        closeSync(descriptor)
        return Number(bytes.readBigUInt64LE())
      },
    }
  }
}
