/** One attempt from its logged start to its outcome. Every ending meets here; the first cause wins. */
import type { CommandError, FailureCode, JsonValue, Offer, Outcome } from '@agent-executor/protocol'
import { FAILURE_CODES } from '@agent-executor/protocol'
import { storableJson } from '@agent-executor/runtime'
import type { ContainerLog, Ending, Executor, StopCause } from './executors/executor.ts'

export type { StopCause }

export type Run = {
  offer: Offer
  /** Stops the attempt; a second cause is ignored, but for `stop`, which ends the waiting for the first. */
  stop: (cause: StopCause) => void
  /** The outcome to store; null where there is none to store (`drop`, `stop`). */
  outcome: Promise<Outcome | null>
}

const TIMER_MS_MAX = 2_147_483_647
/** An executor that does not settle on abort is given up after this: its work may go on, so the outcome is unknown. */
const SETTLE_MS = 10_000
const RESULT_DEPTH_MAX = 100
const NO_CONTAINER: ContainerLog = { id: null, write: () => {} }

export function run(options: {
  executor: Executor
  offer: Offer
  startedAtMs: number
  nowMs: () => number
  onBegun?: () => void
  container?: ContainerLog
}): Run {
  const { executor, offer, startedAtMs, nowMs, container = NO_CONTAINER } = options
  const abort = new AbortController()
  let cause: StopCause | null = null
  let giveUpSoon = () => {}
  const gaveUp = new Promise<'unsettled'>((resolve) => {
    giveUpSoon = () => setTimeout(resolve, SETTLE_MS, 'unsettled').unref()
  })
  const stop = (why: StopCause): void => {
    cause ??= why
    abort.abort(why)
    // Whoever has to be sure that its effect is over is waited for; not by an agent that stops, whose next life adopts it.
    if (executor.afterCrash !== 'adopt' || why.type === 'stop') giveUpSoon()
  }
  // Resumed with a wall clock that was set back behind the stored start, it gets `timeoutMs` and no more.
  const leftMs = Math.min(offer.timeoutMs, startedAtMs + offer.timeoutMs - nowMs())
  const endTimer = after(leftMs, () => stop({ type: 'timeout' }))

  const { commandId, attempt, payload, timeoutMs } = offer
  const work = { commandId, attempt, payload, timeoutMs, startedAtMs }
  // Async, so that an executor that throws before its first await ends like one that rejects.
  const begin = async (): Promise<Ending> => executor.run(work, abort.signal, container)
  const ending = begin().catch(
    (error: unknown): Ending => ({
      ok: false,
      error: failure('INTERNAL_ERROR', `fault in the executor: ${String(error)}`),
    }),
  )
  options.onBegun?.()

  const outcome = Promise.race([ending, gaveUp]).then((end) => {
    endTimer()
    // The work was over before the stop reached it: its result stands.
    if (end !== 'unsettled' && (cause === null || end.ok)) return outcomeOf(end, offer.resultBytesMax)
    if (end === 'unsettled' && executor.afterCrash === 'adopt') return null
    if (end === 'unsettled' && cause?.type !== 'stop' && cause?.type !== 'drop')
      return failed('INTERRUPTED', 'INTERRUPTED', 'The executor did not stop; the work may go on.')
    const stopped = outcomeOfStop(cause as StopCause, offer)
    return stopped === null || end === 'unsettled' || end.result === undefined
      ? stopped
      : Object.assign(stopped, storedResult(end.result, offer.resultBytesMax))
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

const STATES: Readonly<Partial<Record<string, Outcome['state']>>> = {
  TIMED_OUT: 'TIMED_OUT',
  IDLE_TIMEOUT: 'TIMED_OUT',
  INTERRUPTED: 'INTERRUPTED',
}

const outcomeOf = (ending: Ending, resultBytesMax: number): Outcome => {
  const outcome: Outcome = ending.ok
    ? { state: 'SUCCEEDED' }
    : { state: STATES[ending.error.code] ?? 'FAILED', error: ending.error }
  return ending.result === undefined ? outcome : Object.assign(outcome, storedResult(ending.result, resultBytesMax))
}

const storedResult = (result: JsonValue, bytesMax: number): Pick<Outcome, 'result' | 'resultTruncated'> => {
  const { value, truncated } = storableJson(result, { bytesMax, depthMax: RESULT_DEPTH_MAX })
  return { result: value, resultTruncated: truncated }
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
