/**
 * `DELAY`: waits until `ms` milliseconds after the logged start. Its effect is a point in time, so a restarted agent
 * runs it again and waits for the rest only.
 */
import { setTimeout } from 'node:timers/promises'
import type { DelayPayload, DelayResult } from '@agent-executor/protocol'
import type { Executor } from './executor.ts'
import { failed } from './failure.ts'

/** Node fires a timer of more milliseconds than this at once. */
const TIMER_MS_MAX = 2 ** 31 - 1

export type DelayOptions = {
  /** Wall clock, comparable with the stored start across restarts. */
  nowMs: () => number
  /** Monotonic clock of this process. */
  monotonicMs?: () => number
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>
}

export const createDelayExecutor = ({
  nowMs,
  monotonicMs = () => performance.now(),
  sleep = (ms, signal) => setTimeout(ms, undefined, { signal }),
}: DelayOptions): Executor<DelayPayload> => ({
  type: 'DELAY',
  afterCrash: 'resume',

  async run({ payload: { ms }, startedAtMs }, signal) {
    // The wall clock is read once: a step of it while we wait changes nothing. One set back behind the stored start
    // would make the wait longer than `ms`.
    const earlierMs = Math.max(0, nowMs() - startedAtMs)
    const beganMs = monotonicMs()
    const tookMs = () => earlierMs + monotonicMs() - beganMs
    try {
      // A loop, because timers are bounded and may fire a fraction of a millisecond early.
      for (let leftMs = ms - tookMs(); leftMs > 0; leftMs = ms - tookMs()) {
        await sleep(Math.min(Math.ceil(leftMs), TIMER_MS_MAX), signal)
      }
    } catch {
      return failed({ code: 'CANCELLED', message: 'the wait was aborted' })
    }
    const result: DelayResult = { ok: true, tookMs: Math.floor(tookMs()) }
    return { ok: true, result }
  },
})
