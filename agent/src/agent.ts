/**
 * The agent: one loop that syncs, one that waits for news, and the runs between. What is to be done is decided in
 * `decide/`; here it is done, in the order that makes it safe: journal first, effect second, report third.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CommandType,
  type Outcome,
  PROTOCOL,
  type RegisterRequest,
  type SyncRequest,
} from '@agent-executor/protocol'
import { canonicalJson, isDiskFullError, isFatalSqliteError, sha256 } from '@agent-executor/runtime'
import { type ControlServer, Refused, Unreachable } from './client/control-server.ts'
import type { CrashPoint } from './crash-points.ts'
import { type Action, actionsFor } from './decide/answer.ts'
import { backoffMs, jittered } from './decide/backoff.ts'
import { inventory, wanted } from './decide/inventory.ts'
import { leaseEndsMs, mustStop } from './decide/lease.ts'
import { recover } from './decide/recover.ts'
import type { Executor } from './executors/executor.ts'
import type { Heartbeat } from './heartbeat/heartbeat.ts'
import type { Entry, Journal, Write } from './journal/journal.ts'
import { failed, type Run, run, type StopCause } from './run.ts'
import { createTrigger } from './trigger.ts'

export type AgentOptions = {
  journal: Journal
  client: ControlServer
  heartbeat: Heartbeat
  executors: readonly Executor[]
  slots: Readonly<Record<string, number>>
  labels: readonly string[]
  version: string
  pollIntervalMs: number
  retention: { ms: number; rowsMax: number }
  /** The wall clock, for what is stored. */
  nowMs: () => number
  leaseClockMs: () => number
  random: () => number
  newId: () => string
  crashPoint: (name: CrashPoint) => void
  logger: Logger
  /** The journal cannot be trusted any more; must not return. */
  onFatal: (error: unknown) => never
}

type Logger = Record<'debug' | 'info' | 'warn' | 'error', (facts: object, message: string) => void>

/** Why the agent came to its end. */
export type AgentEnd = 'drained' | 'superseded' | 'unsupported'

/** Outcomes a sync carries at most; the rest goes with the next. */
const OUTCOME_BYTES_MAX = 8 * 1024 * 1024
/** How often leases and the journal's age are looked at. */
const FENCE_TICK_MS = 250
const PRUNE_TICK_MS = 3_600_000
const PRUNE_BATCH = 1000
/** A wait that is over sooner and brought nothing was none. */
const WAIT_MS_MIN = 1000
/** After the disk was full, how long nothing new is taken. */
const DISK_FULL_PAUSE_MS = 5000

export function createAgent(options: AgentOptions) {
  const { journal, client, heartbeat, logger, crashPoint, nowMs, leaseClockMs, random } = options
  const executors = new Map<string, Executor>(options.executors.map((executor) => [executor.type, executor]))
  const { agentId, journalId, logSeq: openedLogSeq } = journal.identity()
  const runs = new Map<string, Run>()
  const syncSoon = createTrigger()
  const stopping = new AbortController()

  /** Logged as started and not begun in this process: what may begin, once. */
  const mayBegin = new Set<string>()

  let registration: { incarnation: number; epoch: string; recovery: boolean } | null = null
  /** As told last; kept while there is no registration, because the lease it measured still runs out. */
  let leaseMs = 0
  /** Of this process's last registration, 0 before the first. */
  let incarnation = 0
  let seq = 0
  let rev = 0
  let mode: 'ready' | 'draining' = 'ready'
  let outcomeBytesMax = OUTCOME_BYTES_MAX
  let diskFullUntilMs = 0
  /** Resolves when the sync that is under way, or the next one, is over. */
  let synced = deferred()

  /** An I/O error ends the process: after it nothing this process believes about the journal is certain. */
  const guarded = <Result>(body: () => Result): Result => {
    try {
      return body()
    } catch (error) {
      if (isFatalSqliteError(error)) return options.onFatal(error)
      if (isDiskFullError(error)) diskFullUntilMs = nowMs() + DISK_FULL_PAUSE_MS
      throw error
    }
  }
  const write = (writes: readonly Write[]): void => guarded(() => journal.write(writes))
  /** With a full disk offers are declined too, or each would come again with every answer and fail the same way. */
  const modeNow = (): SyncRequest['mode'] => (mode === 'ready' && nowMs() < diskFullUntilMs ? 'paused' : mode)

  const register = async (): Promise<void> => {
    const identity = journal.identity()
    const nonce = options.newId()
    guarded(() => journal.registering(nonce))
    const sentMs = leaseClockMs()
    crashPoint('register.before-send')
    const request: RegisterRequest = {
      agentId,
      journalId,
      nonce,
      previousNonces: identity.nonces,
      previousIncarnation: identity.incarnation,
      // As it was found: what this process has written since would hide that the file is an older copy.
      logSeq: incarnation === 0 ? openedLogSeq : identity.logSeq,
      protocol: { ...PROTOCOL },
      version: options.version,
      types: [...executors.keys()],
      labels: [...options.labels],
      slots: { ...options.slots },
    }
    const answer = await client.register(request, stopping.signal)
    crashPoint('register.after-answer')
    // In a new epoch the server may have forgotten what it acknowledged.
    if (answer.recovery) guarded(() => journal.reopenAll())
    guarded(() => journal.registered(answer))
    registration = answer
    incarnation = answer.incarnation
    seq = 0
    rev = answer.rev
    // A renewal as well; without it, work would be fenced that a server set back to a backup is about to confirm.
    fence()
    heartbeat.registered(answer)
    renewed(sentMs, answer.leaseMs)
    logger.info(
      { agentId, incarnation: answer.incarnation, epoch: answer.epoch, recovery: answer.recovery },
      'registered',
    )
  }

  const renewed = (sentMs: number, ms: number): void => {
    leaseMs = ms
    heartbeat.renewed(leaseEndsMs(sentMs, ms))
  }

  /** One exchange. Answers whether another one has something to say at once. */
  const sync = async (): Promise<boolean> => {
    if (registration === null) await register()
    const current = registration
    if (current === null) return true
    const open = journal.open()
    const identity = journal.identity()
    const { held, complete } = inventory(open, journal.outcome, { bytesMax: outcomeBytesMax, full: current.recovery })
    const request: SyncRequest = {
      incarnation: current.incarnation,
      seq: ++seq,
      epoch: current.epoch,
      revSeen: Math.max(identity.revSeen, rev),
      logSeq: identity.logSeq,
      mode: modeNow(),
      want: wanted(options.slots, open, modeNow()),
      held,
      clockMs: nowMs(),
    }
    const sentMs = leaseClockMs()
    crashPoint('sync.before-send')
    const answer = await client.sync(agentId, request, stopping.signal)
    crashPoint('sync.after-answer')
    // An answer to an earlier registration, or to an earlier request, says nothing about this one.
    if (registration !== current || answer.incarnation !== current.incarnation || answer.seq !== request.seq)
      throw new Unreachable('an answer to another request')
    // A lease that was over on the way here cannot be taken up again as if nothing had been: first what it covered.
    fence()
    renewed(sentMs, answer.leaseMs)
    rev = answer.rev
    outcomeBytesMax = OUTCOME_BYTES_MAX
    registration = { ...current, recovery: answer.recovery }

    // As it is now, not as it was sent: a run may have ended while the answer was on its way, and what the answer
    // confirms must not begin a second time.
    const known = (attemptId: string) => {
      const entry = journal.get(attemptId)
      return entry && { phase: entry.phase, hasOutcome: entry.outcomeSha256 !== null, active: runs.has(attemptId) }
    }
    const running = held.filter(({ phase }) => phase === 'running').map(({ attemptId }) => attemptId)
    const actions = actionsFor(answer, known, running, modeNow())
    const taken = perform(actions, answer.rev, leaseEndsMs(sentMs, answer.leaseMs))
    // Without an ack the next request would say the same again.
    return taken || (answer.acks.length > 0 && (!complete || answer.recovery))
  }

  /** Does what the answer asks for; one commit for what needs no effect, one for all starts. */
  const perform = (actions: readonly Action[], revSeen: number, grantedUntilMs: number): boolean => {
    const atMs = nowMs()
    const seen: Write = { type: 'seen', rev: revSeen }
    const of = <Type extends Action['type']>(type: Type) =>
      actions.filter((action): action is Extract<Action, { type: Type }> => action.type === type)

    const writes: Write[] = []
    for (const { attemptId, verdict } of of('ack')) writes.push({ type: 'ack', attemptId, verdict, atMs })
    for (const { attemptId } of of('reopen')) writes.push({ type: 'reopen', attemptId })
    for (const { offer } of of('accept')) writes.push({ type: 'accept', offer, atMs })
    for (const action of of('drop')) {
      if (action.started)
        writes.push(
          finishWrite(action.attemptId, failed('INTERRUPTED', 'INTERRUPTED', 'The server took the attempt away.')),
        )
      writes.push({ type: 'ack', attemptId: action.attemptId, verdict: 'dropped', atMs })
      runs.get(action.attemptId)?.stop({ type: 'drop' })
      logger.warn({ attemptId: action.attemptId, started: action.started }, 'dropped')
    }
    for (const { attemptId, reason, active } of of('cancel'))
      if (active) runs.get(attemptId)?.stop({ type: 'cancel', reason })
      else writes.push(finishWrite(attemptId, failed('CANCELLED', 'CANCELLED', reason)))
    if (writes.length > 0) write([...writes, seen])
    for (const { attemptId } of of('resume')) begin(attemptId)

    const starts = of('start').map(({ attemptId }) => attemptId)
    if (starts.length > 0) {
      crashPoint('grant.received')
      // The answer may have been under way for longer than the lease: then the server may think otherwise by now. What
      // the heartbeat thread renewed since does not count, the lease may have been over before.
      if (mustStop(leaseClockMs(), grantedUntilMs, leaseMs)) return true
      write([...starts.map((attemptId): Write => ({ type: 'start', attemptId, atMs })), seen])
      for (const attemptId of starts) mayBegin.add(attemptId)
      for (const attemptId of starts) begin(attemptId)
    }
    return of('accept').length > 0 || of('reopen').length > 0 || of('cancel').some(({ active }) => !active)
  }

  const finishWrite = (attemptId: string, outcome: Outcome): Write => ({
    type: 'finish',
    attemptId,
    outcome,
    outcomeSha256: sha256(canonicalJson(outcome)),
    atMs: nowMs(),
  })

  /** The start is in the journal: the effect begins, unless it has begun in this process already. */
  const begin = (attemptId: string): void => {
    const entry = journal.get(attemptId)
    if (entry?.phase !== 'STARTED' || entry.startedAtMs === null || !mayBegin.delete(attemptId)) return
    const { offer, startedAtMs } = entry
    const executor = executors.get(offer.type)
    if (executor === undefined) {
      write([
        finishWrite(attemptId, failed('FAILED', 'INTERNAL_ERROR', `This agent has no executor for ${offer.type}.`)),
      ])
      syncSoon.ring()
      return
    }
    logger.info({ commandId: offer.commandId, attempt: offer.attempt, type: offer.type }, 'started')
    const begun = run({ executor, offer, startedAtMs, nowMs, onBegun: () => crashPoint('effect.begun') })
    runs.set(attemptId, begun)
    begun.outcome
      .then(async (outcome) => {
        if (outcome === null) return
        crashPoint('effect.done')
        await store(attemptId, outcome)
        logger.info({ commandId: offer.commandId, attempt: offer.attempt, state: outcome.state }, 'finished')
      })
      .catch((error: unknown) => logger.error({ err: error, attemptId }, 'fault at the end of a run'))
      .finally(() => {
        runs.delete(attemptId)
        syncSoon.ring()
      })
  }

  /** An outcome is kept in memory until the journal takes it: losing it would make a known outcome unknown. */
  const store = async (attemptId: string, outcome: Outcome): Promise<void> => {
    for (;;)
      try {
        return write([finishWrite(attemptId, outcome)])
      } catch (error) {
        logger.error({ err: error, attemptId }, 'outcome not stored, it waits in memory')
        if (stopping.signal.aborted) return
        await sleep(1000, undefined, { signal: stopping.signal }).catch(() => {})
      }
  }

  const syncLoop = async (): Promise<AgentEnd> => {
    let failures = 0
    while (!stopping.signal.aborted) {
      try {
        const again = await sync()
        failures = 0
        synced.resolve()
        synced = deferred()
        if (!again) await syncSoon.heard(jittered(options.pollIntervalMs, random()))
      } catch (error) {
        const end = await afterFailure(error, failures++)
        if (end !== null) return end
      }
    }
    return 'drained'
  }

  const afterFailure = async (error: unknown, failures: number): Promise<AgentEnd | null> => {
    if (isFatalSqliteError(error)) return options.onFatal(error)
    if (error instanceof Refused) {
      if (error.code === 'INCARNATION_SUPERSEDED') return 'superseded'
      if (error.code === 'PROTOCOL_UNSUPPORTED') {
        logger.error({ code: error.code }, error.message)
        return 'unsupported'
      }
      if (error.code === 'NOT_REGISTERED' || error.code === 'EPOCH_CHANGED') registration = null
      if (error.code === 'BODY_TOO_LARGE') outcomeBytesMax = Math.max(1, Math.floor(outcomeBytesMax / 4))
      logger.warn({ code: error.code, statusCode: error.statusCode }, error.message)
    } else if (error instanceof Unreachable) logger.warn({ reason: error.message, failures: failures + 1 }, 'no answer')
    else logger.error({ err: error }, 'sync failed')
    const pauseMs = backoffMs(failures, random())
    const askedMs = error instanceof Refused ? (error.retryAfterMs ?? 0) : 0
    await sleep(Math.max(pauseMs, Math.min(askedMs, 10_000)), undefined, { signal: stopping.signal }).catch(() => {})
    return null
  }

  /** A long poll is open whenever there is a registration; its answer only rings the bell of the sync loop. */
  const waitLoop = async (): Promise<void> => {
    let inVain = 0
    while (!stopping.signal.aborted) {
      const [askedRev, askedMs] = [rev, performance.now()]
      try {
        if (registration === null) await synced.promise
        else if (await client.wait(agentId, rev, stopping.signal)) {
          const done = synced.promise
          syncSoon.ring()
          await done
        }
        // A server that is stopping answers every wait at once; so would a broken one, for ever.
        inVain = rev === askedRev && performance.now() - askedMs < WAIT_MS_MIN ? inVain + 1 : 0
      } catch {
        inVain += 1
      }
      if (inVain > 0)
        await sleep(backoffMs(inVain - 1, random()), undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  /** What may be taken over must be over before it is. */
  const fence = (): void => {
    if (!mustStop(leaseClockMs(), heartbeat.leaseEndsMs(), leaseMs)) return
    for (const [attemptId, { offer, stop }] of runs)
      if (offer.takeover === 'auto') {
        logger.warn({ attemptId }, 'the lease is over, stopping')
        stop({ type: 'fence' })
      }
  }

  const prune = (): void => {
    const beforeMs = nowMs() - options.retention.ms
    try {
      while (guarded(() => journal.prune(beforeMs, options.retention.rowsMax, PRUNE_BATCH)) === PRUNE_BATCH);
    } catch (error) {
      logger.error({ err: error }, 'journal not pruned')
    }
  }

  /** What the journal says of the life before. Nothing is resumed before the server has confirmed it. */
  const recoverJournal = (): void => {
    const recoveryOf = ({ phase, offer }: Entry) =>
      recover(phase, executors.get(offer.type)?.afterCrash ?? 'interrupted')
    const open = guarded(() => journal.open())
    const interrupted = open.filter((entry) => recoveryOf(entry) === 'interrupt')
    const message = 'The agent stopped after the start was logged; the command may have run.'
    write(interrupted.map(({ attemptId }) => finishWrite(attemptId, failed('INTERRUPTED', 'INTERRUPTED', message))))
    for (const entry of open) if (recoveryOf(entry) === 'resume') mayBegin.add(entry.attemptId)
    for (const { offer } of interrupted)
      logger.warn({ commandId: offer.commandId, attempt: offer.attempt }, 'interrupted')
  }

  const stopRuns = async (cause: StopCause): Promise<void> => {
    for (const each of runs.values()) each.stop(cause)
    await Promise.allSettled([...runs.values()].map(({ outcome }) => outcome))
  }

  /** A run that cannot end within the grace by itself goes on in the agent's next life. */
  const endsWithin = ({ offer, startedAtMs }: Entry, graceMs: number): boolean =>
    offer.type !== ('DELAY' satisfies CommandType) ||
    (startedAtMs ?? 0) + (offer.payload as { ms: number }).ms - nowMs() <= graceMs

  return {
    agentId,

    /** Runs until it is drained or has to stop. */
    async run(): Promise<AgentEnd> {
      recoverJournal()
      prune()
      const timers = [setInterval(fence, FENCE_TICK_MS), setInterval(prune, PRUNE_TICK_MS)]
      for (const timer of timers) timer.unref()
      const waiting = waitLoop()
      const end = await syncLoop()
      stopping.abort()
      synced.resolve()
      await stopRuns({ type: 'stop' })
      await waiting
      for (const timer of timers) clearInterval(timer)
      return end
    },

    /** Takes nothing new, finishes what can be finished within `graceMs`, reports it, stops. */
    async drain(graceMs: number): Promise<void> {
      if (mode === 'draining') return
      mode = 'draining'
      const untilMs = performance.now() + graceMs
      const unfinished = (): boolean =>
        guarded(() => journal.open()).some(
          (entry) =>
            entry.phase !== 'STARTED' || (runs.has(entry.attemptId) && endsWithin(entry, untilMs - performance.now())),
        )
      do {
        const done = synced.promise
        syncSoon.ring()
        await Promise.race([done, sleep(Math.min(500, graceMs))])
      } while (unfinished() && performance.now() < untilMs)
      stopping.abort()
      syncSoon.ring()
    },

    /** Stops at once; the journal has what the next life needs. */
    stop(): void {
      stopping.abort()
      syncSoon.ring()
    },
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
