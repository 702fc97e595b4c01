/**
 * Everything that decides a change of a command's status, or of an attempt's state, lives in this file and nowhere
 * else. Pure: time and random numbers arrive inside the event, limits in the policy. A refused transition is an answer
 * (`ok: false`), never an exception; the caller turns it into a code, a verdict, or nothing.
 *
 *   WAITING ──offer──▶ OFFERED ──grant──▶ RUNNING ──finish──▶ COMPLETED | FAILED | CANCELLED
 *      ▲                  │                │   ▲
 *      ├──────withdraw────┘                │   └─return, regrant─┐
 *      └──────retry (finish, leaseOver)────┴──lose, leaseOver──▶ LOST ──tick──▶ FAILED
 *
 * `docs/command-lifecycle.md` has the picture that a test generates by running this function.
 */
import type { CommandError, FailureCode, Outcome } from '@agent-executor/protocol'
import { FAILURE_CODES } from '@agent-executor/protocol'
import { type Attempt, type Command, lastGrantedAttempt, newestAttempt, type Phase, phaseOf } from './command.ts'
import { backoffMs, mayRetry } from './retry-policy.ts'

export type LifecyclePolicy = {
  /** How long an offer may stay unaccepted before somebody else gets the command. */
  offerMs: number
  /** LOST becomes FAILED after what is left of the attempt's timeout and this, unless the command says otherwise. */
  lostGraceMs: number
  /** This many crashed agents make a command POISONED. */
  poisonAfter: number
}

export type LifecycleEvent =
  | { type: 'offer'; nowMs: number; agentId: string }
  | { type: 'grant'; nowMs: number; agentId: string; incarnation: number; leaseMs: number }
  /** The agent says again that it holds an accepted, not started attempt. Grants to incarnations before `trustedSince` came from another journal, or a later state of this one. */
  | { type: 'regrant'; nowMs: number; agentId: string; incarnation: number; trustedSince: number }
  | { type: 'return'; nowMs: number; agentId: string }
  | {
      type: 'finish'
      nowMs: number
      agentId: string
      attempt: number
      outcome: Outcome
      outcomeSha256: string
      random: number
    }
  | { type: 'withdraw'; nowMs: number; reason: string }
  | { type: 'lose'; nowMs: number; reason: string }
  | { type: 'leaseOver'; nowMs: number; random: number }
  /** `recovering`: what looks as if it had not been started may be over, in a journal that has not been heard yet. */
  | { type: 'cancel'; nowMs: number; reason: string; recovering?: boolean }
  | { type: 'tick'; nowMs: number }
  /** Recovery after a restored backup: the journal of an agent proves that an attempt was granted which this database never saw. */
  | { type: 'adopt'; nowMs: number; agentId: string; attempt: number; incarnation: number; leaseMs: number }

/** What the event log says of one transition. */
export type Entry = {
  type: string
  from: Phase | null
  to: Phase
  attempt: number | null
  agentId: string | null
  detail?: unknown
}

export type Transition = { ok: true; command: Command; entry: Entry } | { ok: false; reason: string }

const refused = (reason: string): Transition => ({ ok: false, reason })

export const failure = (code: FailureCode, message: string, details?: unknown): CommandError => ({
  code,
  message,
  retryable: FAILURE_CODES[code][0],
  ...(details === undefined ? {} : { details }),
})

export function transition(command: Command, event: LifecycleEvent, policy: LifecyclePolicy): Transition {
  const phase = phaseOf(command)
  const newest = newestAttempt(command)
  const moved = (type: string, to: Command, detail?: unknown): Transition => {
    const attempt = newestAttempt(to)
    return {
      ok: true,
      command: to,
      entry: {
        type,
        from: phase,
        to: phaseOf(to),
        attempt: attempt?.number ?? null,
        agentId: attempt?.agentId ?? null,
        ...(detail === undefined ? {} : { detail }),
      },
    }
  }

  switch (event.type) {
    case 'offer': {
      if (phase !== 'WAITING') return refused(phase)
      if (command.cancel !== null) return refused('cancelled')
      if (command.availableAtMs !== null && command.availableAtMs > event.nowMs) return refused('notYet')
      if (deadlinePassed(command, event.nowMs)) return refused('expired')
      const attempt = offered((newest?.number ?? 0) + 1, event.agentId, event.nowMs)
      return moved('offered', { ...command, availableAtMs: null, attempts: [...grantedOnly(command), attempt] })
    }

    case 'grant': {
      if (phase !== 'OFFERED' || newest?.agentId !== event.agentId) return refused(phase)
      if (command.cancel !== null) return refused('cancelled')
      if (deadlinePassed(command, event.nowMs)) return refused('expired')
      return moved('granted', {
        ...withNewest(command, {
          state: 'RUNNING',
          grantedAtMs: event.nowMs,
          incarnation: event.incarnation,
          leaseMs: event.leaseMs,
        }),
        status: 'RUNNING',
        grantedCount: command.grantedCount + 1,
        startedAtMs: command.startedAtMs ?? event.nowMs,
      })
    }

    case 'regrant': {
      if ((phase !== 'RUNNING' && phase !== 'LOST') || newest?.agentId !== event.agentId) return refused(phase)
      // Accepted here, granted to a state of the journal that is gone: it may have started there. In LOST as well, or
      // a repeated question would turn "may have run" into a second run.
      if ((newest.incarnation ?? 0) < event.trustedSince)
        return phase === 'LOST' ? refused('untrusted') : lost('journalChanged')
      if (phase === 'RUNNING' && newest.incarnation === event.incarnation) return refused('granted')
      return moved('regranted', {
        ...withNewest(command, { state: 'RUNNING', incarnation: event.incarnation, lostAtMs: null }),
      })
    }

    case 'return':
      if (phase !== 'LOST' || newest?.agentId !== event.agentId) return refused(phase)
      return moved('agentReturned', withNewest(command, { state: 'RUNNING', lostAtMs: null }))

    case 'finish': {
      if ((phase === 'RUNNING' || phase === 'LOST') && newest?.number === event.attempt)
        return newest.agentId === event.agentId ? concluded(newest) : refused('otherAgent')
      const earlier = lastGrantedAttempt(command)
      // Taken over, not granted to anybody since: the late outcome of the attempt before saves a second run.
      if (
        (phase === 'WAITING' || phase === 'OFFERED') &&
        earlier?.number === event.attempt &&
        earlier.state === 'EXPIRED' &&
        earlier.agentId === event.agentId
      )
        return concluded(earlier)
      return refused('superseded')
    }

    case 'withdraw':
      if (phase !== 'OFFERED') return refused(phase)
      return moved('withdrawn', ended(command, 'WITHDRAWN', event.nowMs), { reason: event.reason })

    case 'lose':
      return phase === 'RUNNING' ? lost(event.reason) : refused(phase)

    case 'leaseOver': {
      if (phase !== 'RUNNING' || newest === undefined) return refused(phase)
      if (command.spec.takeover === 'manual' || command.grantedCount >= command.spec.retry.maxAttempts)
        return lost('leaseOver')
      const error = failure('LOST', 'The lease was over before the agent reported.')
      const expired = ended(command, 'EXPIRED', event.nowMs, { error })
      // The agent stopped by itself before the server came to this: nothing is running any more.
      if (command.cancel !== null)
        return moved('cancelled', final(expired, 'CANCELLED', event.nowMs, cancelled(command)))
      return moved('takenOver', waiting(expired, event.nowMs + backoffMs(command, event.random), event.nowMs))
    }

    case 'cancel': {
      const cancel = { reason: event.reason, requestedAtMs: event.nowMs }
      if ((phase === 'WAITING' || phase === 'OFFERED') && !event.recovering) return stopped({ ...command, cancel })
      if (command.finishedAtMs !== null) return refused(phase)
      return command.cancel === null ? moved('cancelRequested', { ...command, cancel }, cancel) : refused('requested')
    }

    case 'tick': {
      if (phase === 'WAITING' || phase === 'OFFERED') {
        if (command.cancel !== null) return stopped(command)
        if (deadlinePassed(command, event.nowMs)) {
          const to = phase === 'OFFERED' ? ended(command, 'WITHDRAWN', event.nowMs) : command
          const error =
            command.grantedCount === 0 && before(command.spec.expiresAtMs, event.nowMs)
              ? failure('EXPIRED', 'The command was not started before expiresAt.')
              : (lastGrantedAttempt(command)?.error ??
                failure('TIMED_OUT', 'The command took longer than totalTimeoutMs.'))
          return moved('expired', final(to, 'FAILED', event.nowMs, error))
        }
        if (phase === 'OFFERED' && newest !== undefined && newest.offeredAtMs + policy.offerMs <= event.nowMs)
          return moved('withdrawn', ended(command, 'WITHDRAWN', event.nowMs), { reason: 'notAccepted' })
        if (phase === 'WAITING' && before(command.availableAtMs, event.nowMs))
          return moved('ready', { ...command, availableAtMs: null })
      }
      if (phase === 'LOST' && newest !== undefined && before(giveUpAtMs(command, policy), event.nowMs)) {
        const error = failure('LOST', `Agent ${newest.agentId} did not come back; the command may have run.`)
        return moved('givenUp', final(withNewest(command, { error }), 'FAILED', event.nowMs, error))
      }
      return refused('notDue')
    }

    case 'adopt': {
      if (phase === 'COMPLETED' || phase === 'FAILED' || phase === 'CANCELLED') return refused(phase)
      const number = newest?.number ?? 0
      const mine = number === event.attempt && newest?.agentId === event.agentId && phase === 'OFFERED'
      if (event.attempt <= number && !mine) return refused('older')
      const attempt: Attempt = {
        ...offered(event.attempt, event.agentId, event.nowMs),
        state: 'RUNNING',
        grantedAtMs: event.nowMs,
        incarnation: event.incarnation,
        leaseMs: event.leaseMs,
      }
      // Every attempt between may have been granted as well, and so may what stands as an offer here.
      const unseen = mine ? 1 : event.attempt - number + (phase === 'OFFERED' ? 1 : 0)
      return moved('adopted', {
        ...command,
        status: 'RUNNING',
        availableAtMs: null,
        grantedCount: command.grantedCount + unseen,
        startedAtMs: command.startedAtMs ?? event.nowMs,
        attempts: [...command.attempts.filter((each) => each.number < event.attempt).map(passedOver), attempt],
      })
    }
  }

  /** What a later attempt, proven by a journal, makes of an earlier one that this database thinks is live. */
  function passedOver(attempt: Attempt): Attempt {
    if (attempt.finishedAtMs !== null) return attempt
    return {
      ...attempt,
      state: attempt.state === 'OFFERED' ? 'WITHDRAWN' : 'EXPIRED',
      lostAtMs: null,
      finishedAtMs: event.nowMs,
    }
  }

  /** Cancelled before it was granted, or between two attempts. */
  function stopped(wished: Command): Transition {
    const to = phase === 'OFFERED' ? ended(wished, 'WITHDRAWN', event.nowMs) : wished
    return moved('cancelled', final(to, 'CANCELLED', event.nowMs, cancelled(to)))
  }

  function lost(reason: string): Transition {
    return moved('lost', withNewest(command, { state: 'LOST', lostAtMs: event.nowMs }), { reason })
  }

  /** What the outcome of `attempt` (the newest, or a taken-over one before it) makes of the command. */
  function concluded(attempt: Attempt): Transition {
    if (event.type !== 'finish') return refused('superseded')
    const { outcome, nowMs } = event
    const error = outcome.error ?? failure('INTERNAL_ERROR', 'The agent gave no reason.')
    const finished: Attempt = {
      ...attempt,
      state: outcome.state,
      lostAtMs: null,
      finishedAtMs: nowMs,
      outcomeSha256: event.outcomeSha256,
      error: outcome.state === 'SUCCEEDED' ? null : error,
    }
    const crashCount = command.crashCount + (outcome.state === 'INTERRUPTED' ? 1 : 0)
    const reported: Command = {
      ...command,
      crashCount,
      attempts: command.attempts.map((each) => (each.number === attempt.number ? finished : each)),
    }
    const settled: Command = {
      // An offer that stood for a next attempt is off.
      ...(phase === 'OFFERED' ? ended(reported, 'WITHDRAWN', nowMs) : reported),
      result: outcome.result ?? null,
      resultTruncated: outcome.resultTruncated ?? false,
    }
    if (outcome.state === 'SUCCEEDED') return moved('completed', final(settled, 'COMPLETED', nowMs, null))
    if (outcome.state === 'CANCELLED' || (outcome.state === 'INTERRUPTED' && command.cancel !== null))
      return moved('cancelled', final(settled, 'CANCELLED', nowMs, cancelled(command)))
    // Taken over already: that the attempt before was cut only completes the history.
    if (outcome.state === 'INTERRUPTED' && (phase === 'WAITING' || phase === 'OFFERED'))
      return moved('reportedLate', reported)
    if (command.cancel === null && mayRetry(command, error)) {
      if (outcome.state === 'INTERRUPTED' && crashCount >= policy.poisonAfter) {
        const poisoned = failure('POISONED', `${crashCount} agents crashed on this command.`, { last: error.code })
        return moved('failed', final(settled, 'FAILED', nowMs, poisoned))
      }
      if (phase === 'WAITING' || phase === 'OFFERED') return moved('reportedLate', reported)
      const retryAtMs = nowMs + backoffMs(command, event.random)
      if (!deadlinePassed(command, retryAtMs))
        return moved('retried', waiting(reported, retryAtMs, nowMs), { code: error.code })
    }
    return moved('failed', final(settled, 'FAILED', nowMs, error))
  }
}

/** The next time at which `tick` has something to decide; null = never. */
export function dueAtMs(command: Command, policy: LifecyclePolicy): number | null {
  const phase = phaseOf(command)
  const newest = newestAttempt(command)
  if (phase === 'LOST') return giveUpAtMs(command, policy)
  if (phase !== 'WAITING' && phase !== 'OFFERED') return null
  const times = [
    phase === 'OFFERED' && newest !== undefined ? newest.offeredAtMs + policy.offerMs : command.availableAtMs,
    command.grantedCount === 0 ? command.spec.expiresAtMs : null,
    totalDeadlineMs(command),
    command.cancel?.requestedAtMs ?? null,
  ].filter((time) => time !== null)
  return times.length === 0 ? null : Math.min(...times)
}

/** Only a waiting command that nobody has cancelled and whose time has come may be offered. */
export const isReady = (command: Command): boolean =>
  phaseOf(command) === 'WAITING' && command.availableAtMs === null && command.cancel === null

/** What is left of `totalTimeoutMs`, or `timeoutMs` where that is less: the time one attempt may take. */
export const attemptTimeoutMs = (command: Command, nowMs: number): number => {
  const deadlineMs = totalDeadlineMs(command)
  return deadlineMs === null
    ? command.spec.timeoutMs
    : Math.max(1, Math.min(command.spec.timeoutMs, deadlineMs - nowMs))
}

const before = (timeMs: number | null, nowMs: number): boolean => timeMs !== null && timeMs <= nowMs

const totalDeadlineMs = (command: Command): number | null =>
  command.spec.totalTimeoutMs === null ? null : command.createdAtMs + command.spec.totalTimeoutMs

const deadlinePassed = (command: Command, nowMs: number): boolean =>
  (command.grantedCount === 0 && before(command.spec.expiresAtMs, nowMs)) || before(totalDeadlineMs(command), nowMs)

const giveUpAtMs = (command: Command, policy: LifecyclePolicy): number | null => {
  const newest = newestAttempt(command)
  if (newest === undefined || newest.lostAtMs === null) return null
  const timeLeftMs = Math.max(0, (newest.grantedAtMs ?? newest.lostAtMs) + command.spec.timeoutMs - newest.lostAtMs)
  return newest.lostAtMs + (command.spec.lostAfterMs ?? timeLeftMs + policy.lostGraceMs)
}

const offered = (number: number, agentId: string, nowMs: number): Attempt => ({
  number,
  state: 'OFFERED',
  agentId,
  incarnation: null,
  leaseMs: 0,
  offeredAtMs: nowMs,
  grantedAtMs: null,
  lostAtMs: null,
  finishedAtMs: null,
  outcomeSha256: null,
  error: null,
})

const grantedOnly = (command: Command): Attempt[] => {
  const granted = lastGrantedAttempt(command)
  return granted === undefined ? [] : [granted]
}

const withNewest = (command: Command, change: Partial<Attempt>): Command => {
  const last = command.attempts.length - 1
  return {
    ...command,
    attempts: command.attempts.map((attempt, index) => (index === last ? { ...attempt, ...change } : attempt)),
  }
}

/** Ends the newest attempt; the command goes on. */
const ended = (
  command: Command,
  state: 'WITHDRAWN' | 'EXPIRED',
  nowMs: number,
  change: Partial<Attempt> = {},
): Command => withNewest(command, { state, finishedAtMs: nowMs, lostAtMs: null, ...change })

const waiting = (command: Command, atMs: number, nowMs: number): Command => ({
  ...command,
  status: 'PENDING',
  availableAtMs: atMs > nowMs ? atMs : null,
})

const final = (
  command: Command,
  status: 'COMPLETED' | 'FAILED' | 'CANCELLED',
  nowMs: number,
  error: CommandError | null,
): Command => ({ ...command, status, availableAtMs: null, error, finishedAtMs: nowMs })

const cancelled = (command: Command): CommandError =>
  failure('CANCELLED', command.cancel?.reason ?? 'The agent cancelled the attempt.')
