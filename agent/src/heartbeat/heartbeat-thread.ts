/** The thread of `heartbeat.ts`. Its failures are silent: the main thread's syncs say the same aloud. */
import { writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { createLeaseClock } from '@agent-executor/runtime/lease-clock'
import { leaseEndsMs } from '../decide/lease.ts'
import type { HeartbeatData, Registration } from './heartbeat.ts'
import { renew } from './renew.ts'
import { sharedLease } from './shared-lease.ts'

const data = workerData as HeartbeatData
const lease = sharedLease(data.memory)

// Both clocks count the same sources, each from its own start; the difference of the starts is taken once. 100 ms is the
// tolerance of a lease clock, taken off so that this one is not ahead: the end of a lease counted from a clock that is
// ahead of the main thread's would come to it too late.
const ownClockMs = createLeaseClock()
const elapsedMs = Number(process.hrtime.bigint() - data.clock.processNs) / 1e6
const offsetMs = data.clock.leaseMs + elapsedMs - 100 - ownClockMs()
const clockMs = () => ownClockMs() + offsetMs

/** A main thread that has not run for so long never will: a supervisor can start the agent anew, and nothing is lost. */
const STALLED_MS_MAX = 600_000
const TICK_MS_MAX = 500
/** Of the time within which the main thread has to sync. */
const OVERDUE = 1.2

let registration: Registration | undefined
let stalledMs = 0
parentPort?.on('message', (message: Registration) => {
  registration = message
})

const beat = async (): Promise<void> => {
  if (registration === undefined) return
  const { incarnation, epoch, leaseMs } = registration
  const sentMs = clockMs()
  if (isOver() || sentMs < lease.endsMs() - leaseMs + OVERDUE * lease.nextSyncMs()) return
  const timeoutMs = Math.max(1000, leaseMs / 3)
  const answer = await renew(data.serverUrl, data.agentId, { incarnation, epoch }, timeoutMs)
  if (answer.incarnation === registration.incarnation && !isOver())
    lease.renewedByThread(leaseEndsMs(sentMs, answer.leaseMs))
}

/**
 * A lease that is over is brought back by a sync only, whose answer says what still belongs to this agent. Renewed here
 * after a suspension or a long outage, it would hide from the main thread that the server may have taken work away.
 */
const isOver = (): boolean => clockMs() >= lease.endsMs()

const tick = (): void => {
  // Counted in ticks of this thread: a process that was stopped as a whole is not a stalled one.
  const tickMs = Math.min(TICK_MS_MAX, (registration?.leaseMs ?? Number.POSITIVE_INFINITY) / 10)
  stalledMs = clockMs() - lease.aliveAtMs() > STALLED_MS_MAX ? stalledMs + tickMs : 0
  if (stalledMs > STALLED_MS_MAX) {
    writeSync(2, 'agent: the main thread has not run for 10 minutes; killing the process\n')
    process.kill(process.pid, 'SIGKILL')
  }
  beat()
    .catch(() => {})
    .finally(() => setTimeout(tick, tickMs))
}
tick()
