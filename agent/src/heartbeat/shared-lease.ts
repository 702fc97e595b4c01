/**
 * The lease in memory that both threads see, in milliseconds of the main thread's lease clock. Main and heartbeat thread
 * each write their own end; the later one holds, since both were granted.
 */
const MAIN_ENDS = 0
const THREAD_ENDS = 1
const ALIVE_AT = 2
const NEXT_SYNC = 3

export type SharedLease = ReturnType<typeof sharedLease>

export const newLeaseMemory = (): SharedArrayBuffer => new SharedArrayBuffer(4 * BigInt64Array.BYTES_PER_ELEMENT)

export function sharedLease(memory: SharedArrayBuffer) {
  const cells = new BigInt64Array(memory)
  const read = (cell: number) => Number(Atomics.load(cells, cell))
  const write = (cell: number, ms: number): void => {
    Atomics.store(cells, cell, BigInt(Math.floor(ms)))
  }
  return {
    endsMs: () => Math.max(read(MAIN_ENDS), read(THREAD_ENDS)),
    /** By a sync; the next one is due `nextSyncMs` after it. */
    renewedByMain(endsMs: number, nextSyncMs: number): void {
      write(NEXT_SYNC, nextSyncMs)
      write(MAIN_ENDS, endsMs)
    },
    nextSyncMs: () => read(NEXT_SYNC),
    renewedByThread: (endsMs: number): void => write(THREAD_ENDS, endsMs),
    /** A new registration: what was granted to the one before does not count. */
    forget: () => {
      write(MAIN_ENDS, 0)
      write(THREAD_ENDS, 0)
    },
    aliveAtMs: () => read(ALIVE_AT),
    alive: (nowMs: number): void => write(ALIVE_AT, nowMs),
  }
}
