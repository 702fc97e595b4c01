/** How a container is ended: SIGTERM, after the grace SIGUSR2 for it to pack what it leaves, then SIGKILL. Pure. */
import type { StopCause } from '../executor.ts'

export type Stopping = {
  for: StopCause['type'] | 'idle'
  /** When the grace is over, and when the container has to be. */
  packAtMs: number
  killAtMs: number
  sent: StopSignal | null
}
export type StopSignal = 'SIGTERM' | 'SIGUSR2' | 'SIGKILL'

/** Where the cause does not say. */
const GRACE_MS = 5000
/** From the end of the grace, for the container to pack what it leaves. */
const PACK_MS = 10_000
const KILL_AGAIN_MS = 1000

/** Whoever else may begin when the lease is over does not wait for a grace, and without one there is no time to pack either. */
export function stoppingFrom(nowMs: number, cause: StopCause | { type: 'idle' }): Stopping {
  const isAtOnce = cause.type === 'fence' || cause.type === 'drop'
  const graceMs = isAtOnce ? 0 : cause.type === 'cancel' ? (cause.graceMs ?? GRACE_MS) : GRACE_MS
  const packAtMs = nowMs + graceMs
  return { for: cause.type, packAtMs, killAtMs: isAtOnce ? nowMs : packAtMs + PACK_MS, sent: null }
}

/** The signal that is to be sent now; null: it was. SIGKILL is sent again until the container is gone. */
export function dueSignal({ packAtMs, killAtMs, sent }: Stopping, nowMs: number): StopSignal | null {
  const due = nowMs >= killAtMs ? 'SIGKILL' : nowMs >= packAtMs ? 'SIGUSR2' : 'SIGTERM'
  return sent === due && due !== 'SIGKILL' ? null : due
}

/** Until the next signal is due. */
export function untilDueMs({ packAtMs, killAtMs, sent }: Stopping, nowMs: number): number {
  if (sent === 'SIGKILL') return KILL_AGAIN_MS
  return Math.ceil((sent === 'SIGUSR2' ? killAtMs : packAtMs) - nowMs)
}
