/**
 * Keeps the lease while the main thread cannot: a loop of its own on a thread of its own, which renews only when the
 * main thread's sync is overdue.
 */
import { Worker } from 'node:worker_threads'
import { newLeaseMemory, sharedLease } from './shared-lease.ts'

export type Registration = { incarnation: number; epoch: string; leaseMs: number }

export type HeartbeatData = {
  memory: SharedArrayBuffer
  serverUrl: string
  agentId: string
  /** The main thread's lease clock, and the process clock at the same moment, so that the thread can count alike. */
  clock: { leaseMs: number; processNs: bigint }
}

export type Heartbeat = ReturnType<typeof startHeartbeat>

export function startHeartbeat(options: {
  serverUrl: string
  agentId: string
  leaseClockMs: () => number
  onError: (error: unknown) => void
}) {
  const { leaseClockMs } = options
  const memory = newLeaseMemory()
  const lease = sharedLease(memory)
  const workerData: HeartbeatData = {
    memory,
    serverUrl: options.serverUrl,
    agentId: options.agentId,
    clock: { leaseMs: leaseClockMs(), processNs: process.hrtime.bigint() },
  }
  const worker = new Worker(new URL('./heartbeat-thread.js', import.meta.url), { workerData, execArgv: [] })
  worker.unref()
  worker.on('error', options.onError)
  const alive = setInterval(() => lease.alive(leaseClockMs()), 1000)
  alive.unref()
  lease.alive(leaseClockMs())

  return {
    registered(registration: Registration): void {
      lease.forget()
      worker.postMessage(registration)
    },
    /** The main thread's own sync renewed the lease until `endsMs`. */
    renewed: lease.renewedByMain,
    leaseEndsMs: (): number => lease.endsMs(),
    async stop(): Promise<void> {
      clearInterval(alive)
      await worker.terminate()
    },
  }
}
