/** What the end of a container means. Pure; the table is in `docs/run-agent.md`. */
import type { FailureCode, RunAgentReason } from '@agent-executor/protocol'
import type { StopCause } from '../executor.ts'
import { NOT_BEGUN_EXIT_CODE, RAN_BEFORE } from './input.ts'

export type End = {
  exitCode: number
  oomKilled: boolean
  /** Why this agent has sent a signal, null where it had sent none when the container was seen to have ended. */
  stoppedFor: StopCause['type'] | 'idle' | null
  /** It ended while Docker did not answer, or before this life of the agent looked. */
  unwatched: boolean
  /** The end of standard error. */
  lastWords: string
}

export type Verdict = { reason: RunAgentReason; failure: { code: FailureCode; message: string } | null }

const SIGNAL_BASE = 128
const SIGNAL_MAX = 64
const KILLED = SIGNAL_BASE + 9
const TERMINATED = SIGNAL_BASE + 15
/** Docker's own, for a container whose end it did not see. */
const HOST_DIED = 255

const STOPPED: Readonly<Record<StopCause['type'] | 'idle', RunAgentReason>> = {
  cancel: 'cancelled',
  timeout: 'timeout',
  fence: 'leaseOver',
  drop: 'leaseOver',
  stop: 'unknown',
  idle: 'idleTimeout',
}

export function classify({ exitCode, oomKilled, stoppedFor, unwatched, lastWords }: End): Verdict {
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
  if (exitCode === 0) return { reason: 'exited', failure: null }
  if (unwatched && (exitCode === HOST_DIED || exitCode === KILLED || exitCode === TERMINATED))
    return {
      reason: 'hostStopped',
      failure: { code: 'HOST_STOPPED', message: `The container ended with ${exitCode} while nobody was watching.` },
    }
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
