/** What the end of a container means. Pure; the table is in `docs/run-agent.md`. */
import type { EngineOutcome } from '@agent-executor/engines'
import type { FailureCode, HookName, RunAgentReason } from '@agent-executor/protocol'
import type { SessionUsage } from '../../gateway/client.ts'
import type { StopCause } from '../executor.ts'
import { endedFrom, HOOK_FAILED_EXIT_CODE } from './hooks.ts'
import { NOT_BEGUN_EXIT_CODE, RAN_BEFORE } from './input.ts'

export type End = {
  exitCode: number
  oomKilled: boolean
  /** Why this agent has sent a signal, null where it had sent none when the container was seen to have ended. */
  stoppedFor: StopCause['type'] | 'idle' | null
  /** It ended while Docker did not answer, or before this life of the agent looked. */
  unwatched: boolean
  /** It took longer than it may, and no agent was there to end it before. */
  wasLate: boolean
  /** The end of standard error. */
  lastWords: string
  hasHooks: boolean
  /** Of an engine with a language model: what it says itself, and what its gateway says, null where it could not be asked. */
  engine: { outcome: EngineOutcome | null; gateway: Told | null } | null
}

/** Of the gateway alone, where no sandbox can write. */
type Told = Pick<SessionUsage, 'refusals' | 'lastError'>

/** `hook` is null where a hook failed and nobody can say which. */
export type Failed = { code: FailureCode; message: string; details?: { hook: HookName | null } }
export type Verdict = { reason: RunAgentReason; failure: Failed | null }

const SIGNAL_BASE = 128
const SIGNAL_MAX = 64
const KILLED = SIGNAL_BASE + 9
const TERMINATED = SIGNAL_BASE + 15
/** Docker's own, for a container whose end it did not see. */
export const HOST_DIED = 255

const STOPPED: Readonly<Record<StopCause['type'] | 'idle', RunAgentReason>> = {
  cancel: 'cancelled',
  timeout: 'timeout',
  fence: 'leaseOver',
  drop: 'leaseOver',
  stop: 'unknown',
  idle: 'idleTimeout',
}

export function classify(end: End): Verdict {
  const { exitCode, oomKilled, stoppedFor, unwatched, wasLate, lastWords, hasHooks, engine } = end
  if (stoppedFor !== null) {
    const failure =
      stoppedFor === 'idle'
        ? ({ code: 'IDLE_TIMEOUT', message: 'The engine wrote nothing for idleTimeoutMs.' } as const)
        : ({ code: 'CANCELLED', message: 'The engine was stopped.' } as const)
    return { reason: STOPPED[stoppedFor], failure }
  }
  if (exitCode === NOT_BEGUN_EXIT_CODE && lastWords.trimEnd().endsWith(RAN_BEFORE))
    return {
      reason: 'unknown',
      failure: { code: 'INTERRUPTED', message: 'Docker started the container twice; how the one run ended is lost.' },
    }
  // What a child did of which the engine took note: its exit code says more.
  if (oomKilled && exitCode === KILLED)
    return { reason: 'outOfMemory', failure: { code: 'OOM_KILLED', message: 'The container ran out of memory.' } }
  // It was told that there is no more for it: whatever it has made of that, it is not what was asked for.
  const refusal = engine?.gateway == null ? null : refusalOf(engine.gateway)
  if (refusal !== null) return refusal
  if (exitCode === 0) return (engine && engineFailure(engine, exitCode)) ?? { reason: 'exited', failure: null }
  if (unwatched && wasLate && wasStopped(exitCode))
    return {
      reason: 'timeout',
      failure: { code: 'TIMED_OUT', message: 'The container ended itself: its time was over, and its agent away.' },
    }
  if (unwatched && (exitCode === HOST_DIED || wasStopped(exitCode)))
    return {
      reason: 'hostStopped',
      failure: { code: 'HOST_STOPPED', message: `The container ended with ${exitCode} while nobody was watching.` },
    }
  const hook = hasHooks && exitCode === HOOK_FAILED_EXIT_CODE ? hookFailure(lastWords) : null
  if (hook !== null) return { reason: 'exited', failure: hook }
  const own = engine && !isSignalOfItsOwn(exitCode) ? engineFailure(engine, exitCode) : null
  if (own !== null) return own
  if (exitCode > SIGNAL_BASE && exitCode <= SIGNAL_BASE + SIGNAL_MAX)
    return {
      reason: 'signal',
      failure: { code: 'EXIT_SIGNAL', message: `The engine was ended by signal ${exitCode - SIGNAL_BASE}.` },
    }
  return {
    reason: 'exited',
    failure: { code: 'EXIT_NONZERO', message: `The engine ended with exit code ${exitCode}.` },
  }
}

/** By SIGTERM or SIGKILL, whoever sent it. */
const wasStopped = (exitCode: number): boolean => exitCode === KILLED || exitCode === TERMINATED

/** Gemini CLI ends with what is left of a status of HTTP: 144 to 147 and 173 are signals that nobody sends. */
const isSignalOfItsOwn = (exitCode: number): boolean => exitCode > SIGNAL_BASE && exitCode <= TERMINATED

/** Null where no limit has refused a call. Of several, money says more than turns. */
function refusalOf({ refusals }: Told): Verdict | null {
  const [first] = [...refusals].sort(
    (one, other) => Number(one.unit === 'requests') - Number(other.unit === 'requests'),
  )
  if (first === undefined) return null
  const of = first.scope === null ? '' : ` of the ${first.scope}`
  if (first.unit === 'requests')
    return {
      reason: 'turnLimit',
      failure: { code: 'TURN_LIMIT', message: `The limit${of} in requests was reached.` },
    }
  const message =
    first.unit === null
      ? 'The price of the model is not known, and money is limited.'
      : `The limit${of} in ${first.unit} was reached.`
  return { reason: 'budget', failure: { code: 'BUDGET_EXCEEDED', message } }
}

const ENGINE_REASONS = {
  BUDGET_EXCEEDED: 'budget',
  TURN_LIMIT: 'turnLimit',
  GATEWAY_ERROR: 'gatewayError',
  ENGINE_ERROR: 'engineError',
} as const satisfies Partial<Record<FailureCode, RunAgentReason>>

/** What it says itself; where the newest call has failed, the gateway says it better. Null: neither says anything. */
function engineFailure({ outcome, gateway }: NonNullable<End['engine']>, exitCode: number): Verdict | null {
  const failure = outcome?.failure ?? null
  if (failure === null && exitCode === 0) return null
  if (gateway?.lastError != null)
    return { reason: 'gatewayError', failure: { code: 'GATEWAY_ERROR', message: gateway.lastError.message } }
  return failure === null ? null : { reason: ENGINE_REASONS[failure.code], failure }
}

/** Null where the engine itself ended with the exit code that stands for a hook. */
function hookFailure(lastWords: string): Failed | null {
  const ended = endedFrom(lastWords)
  if (ended === null)
    return { code: 'HOOK_FAILED', message: 'A hook failed; its end could not be read.', details: { hook: null } }
  if (ended.engine === HOOK_FAILED_EXIT_CODE) return null
  const first = ended.hooks.find(({ exitCode }) => exitCode !== 0)
  const how = first?.exitCode === null ? 'took longer than its timeoutMs' : `ended with exit code ${first?.exitCode}`
  return { code: 'HOOK_FAILED', message: `The hook ${first?.hook} ${how}.`, details: { hook: first?.hook ?? null } }
}
