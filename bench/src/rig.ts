/** What is measured, booted in an empty folder, and how a stretch of its work is accounted for. */
import { cpuSeconds, type SyncCounter, treePssMb, watchForeignLoad } from './accounting.ts'
import type { Bound, LoopResult } from './closed-loop.ts'

/** On the clock that all processes of a machine share. */
export type PickUp = { sentMs: number; answeredMs: number; startedMs: number }

export type Part = { name: string; pids: readonly number[]; syncs: SyncCounter | null }

/** How often a product that polls looks for work: as it comes, or so often that throughput does not depend on it. */
export type Polling = 'usual' | 'eager'

export type Rig = {
  /** Every process that does the queue's work. */
  parts: () => readonly Part[]
  /** Counts as submitted what the queue has said to be stored. */
  submit: (bound: Bound) => Promise<LoopResult>
  startWorkers: (workers: number, slots: number, polling: Polling) => Promise<void>
  /** Resolves when the nth submission since the boot has ended; those before it have, but for the last few. */
  reached: (count: number) => Promise<void>
  /** Resolves when all that was submitted has ended, successfully. */
  allEnded: () => Promise<void>
  /** Submits one at a time with these pauses before each, to idle workers. */
  pickUps: (pausesMs: readonly number[]) => Promise<PickUp[]>
  stop: () => Promise<void>
}

export type Place = {
  /** Empty; gone after the stop. */
  folder: string
  syncCounter: (name: string) => SyncCounter | null
}

export type Subject = {
  name: string
  /** What makes it durable, for the reader. */
  settings: string
  /** What this machine lacks for it. */
  missing: () => string | null
  boot: (place: Place) => Promise<Rig>
}

export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

export type Cost = {
  seconds: number
  foreignCores: number
  cpuSeconds: Record<string, number>
  /** Null where fsyncs cannot be counted. */
  syncs: Record<string, number> | null
}

/** Call it at the end of the stretch. */
export function watchCost(rig: Rig): () => Cost {
  const look = () => {
    const parts = rig.parts()
    const isCounted = parts.some(({ syncs }) => syncs !== null)
    return {
      atMs: monotonicMs(),
      cpuSeconds: Object.fromEntries(parts.map(({ name, pids }) => [name, cpuSeconds(pids)])),
      syncs: isCounted ? Object.fromEntries(parts.map(({ name, syncs }) => [name, syncs?.count() ?? 0])) : null,
    }
  }
  const foreign = watchForeignLoad()
  const before = look()
  return () => {
    const after = look()
    return {
      seconds: (after.atMs - before.atMs) / 1000,
      foreignCores: foreign(),
      cpuSeconds: difference(after.cpuSeconds, before.cpuSeconds),
      syncs: after.syncs && difference(after.syncs, before.syncs ?? {}),
    }
  }
}

const difference = (after: Record<string, number>, before: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]))

export const sum = (values: Record<string, number>): number => Object.values(values).reduce((a, b) => a + b, 0)

export const memoryMb = (rig: Rig): number => treePssMb(rig.parts().flatMap(({ pids }) => pids))
