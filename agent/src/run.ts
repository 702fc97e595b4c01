/** One attempt from its logged start to its outcome. Every ending meets here; the first cause wins. */
import type { CommandError, FailureCode, Offer, Outcome } from '@agent-executor/protocol'
import { FAILURE_CODES } from '@agent-executor/protocol'
import { storableJson } from '@agent-executor/runtime'
import type { Ending, Executor } from './executors/executor.ts'

/** Why an attempt is stopped from outside. `stop` leaves it as it is in the journal, for the next life of the agent. */
export type StopCause =
  | { type: 'cancel'; reason: string }
  | { type: 'timeout' }
  | { type: 'fence' }
  | { type: 'drop' }
  | { type: 'stop' }

export type Run = {
  offer: Offer
  /** Stops the attempt; a second cause is ignored. */
  stop: (cause: StopCause) => void
  /** The outcome to store; null where there is none to store (`drop`, `stop`). */
  outcome: Promise<Outcome | null>
}

const TIMER_MS_MAX = 2_147_483_647
/** An executor that does not settle on abort is given up after this: its work may go on, so the outcome is unknown. */
const SETTLE_MS = 10_000
const RESULT_DEPTH_MAX = 100

export function run(options: {
  executor: Executor
  offer: Offer
  startedAtMs: number
  nowMs: () => number
  onBegun?: () => void
}): Run {
  const { executor, offer, startedAtMs, nowMs } = options
  const abort = new AbortController()
  let cause: StopCause | null = null
  const stop = (why: StopCause): void => {
    cause ??= why
    abort.abort()
  }
  // Resumed with a wall clock that was set back behind the stored start, it gets `timeoutMs` and no more.
  const leftMs = Math.min(offer.timeoutMs, startedAtMs + offer.timeoutMs - nowMs())
  const endTimer = after(leftMs, () => stop({ type: 'timeout' }))

  const work = { commandId: offer.commandId, attempt: offer.attempt, payload: offer.payload, startedAtMs }
  // Async, so that an executor that throws before its first await ends like one that rejects.
  const begin = async (): Promise<Ending> => executor.run(work, abort.signal)
  const ending = begin().catch(
    (error: unknown): Ending => ({
      ok: false,
      error: failure('INTERNAL_ERROR', `fault in the executor: ${String(error)}`),
    }),
  )
  options.onBegun?.()

  const gaveUp = new Promise<'unsettled'>((resolve) => {
    abort.signal.addEventListener('abort', () => setTimeout(resolve, SETTLE_MS, 'unsettled').unref(), { once: true })
  })
  const outcome = Promise.race([ending, gaveUp]).then((end) => {
    endTimer()
    // The work was over before the stop reached it: its result stands.
    if (end !== 'unsettled' && (cause === null || end.ok)) return outcomeOf(end, offer.resultBytesMax)
    if (end === 'unsettled' && cause?.type !== 'stop' && cause?.type !== 'drop')
      return failed('INTERRUPTED', 'INTERRUPTED', 'The executor did not stop; the work may go on.')
    return outcomeOfStop(cause as StopCause, offer)
  })
  return { offer, stop, outcome }
}

const outcomeOfStop = (cause: StopCause, offer: Offer): Outcome | null => {
  switch (cause.type) {
    case 'cancel':
      return failed('CANCELLED', 'CANCELLED', cause.reason)
    case 'timeout':
      return failed('TIMED_OUT', 'TIMED_OUT', `The attempt took longer than ${offer.timeoutMs} ms.`)
    case 'fence':
      return failed('INTERRUPTED', 'INTERRUPTED', 'The lease was over, so the agent stopped; the command may have run.')
    case 'drop':
    case 'stop':
      return null
  }
}

export const failed = (state: Exclude<Outcome['state'], 'SUCCEEDED'>, code: FailureCode, message: string): Outcome => ({
  state,
  error: failure(code, message),
})

const failure = (code: FailureCode, message: string): CommandError => ({
  code,
  message,
  retryable: FAILURE_CODES[code][0],
})

const outcomeOf = (ending: Ending, resultBytesMax: number): Outcome => {
  const result =
    ending.result === undefined
      ? null
      : storableJson(ending.result, { bytesMax: resultBytesMax, depthMax: RESULT_DEPTH_MAX })
  const stored = result === null ? {} : { result: result.value, resultTruncated: result.truncated }
  if (ending.ok) return { state: 'SUCCEEDED', ...stored }
  const state = ending.error.code === 'TIMED_OUT' ? 'TIMED_OUT' : 'FAILED'
  return { state, error: ending.error, ...stored }
}

/** As setTimeout, also beyond 2^31 ms, where Node would fire at once. Answers how to stop it. */
const after = (ms: number, body: () => void): (() => void) => {
  let timer: NodeJS.Timeout
  const arm = (leftMs: number): void => {
    timer =
      leftMs > TIMER_MS_MAX
        ? setTimeout(() => arm(leftMs - TIMER_MS_MAX), TIMER_MS_MAX)
        : setTimeout(body, Math.max(1, leftMs))
  }
  arm(ms)
  return () => clearTimeout(timer)
}
