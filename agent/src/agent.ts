/**
 * The agent's process: one loop that syncs, one that waits for news, and the runs between. What is said and done is
 * decided in `session.ts` and `decide/`; here are the network, the timers and the executors.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type CommandType, parseAttemptId } from '@agent-executor/protocol'
import { isDiskFullError, isFatalSqliteError } from '@agent-executor/runtime'
import { type ControlServer, Refused, Unreachable } from './client/control-server.ts'
import type { CrashPoint } from './crash-points.ts'
import { backoffMs, jittered } from './decide/backoff.ts'
import type { AttemptState, Executor } from './executors/executor.ts'
import type { Heartbeat } from './heartbeat/heartbeat.ts'
import type { Entry, Journal } from './journal/journal.ts'
import { failed, type Run, run, type StopCause } from './run.ts'
import { createSession, type Ended, ForeignAnswer, type Logger } from './session.ts'
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

/** Why the agent came to its end. */
export type AgentEnd = 'drained' | 'superseded' | 'unsupported'

/** How often leases and the journal's age are looked at. */
const FENCE_TICK_MS = 250
const PRUNE_TICK_MS = 3_600_000
const PRUNE_BATCH = 1000
/** What Docker did not remove when it was asked to. */
const RECONCILE_TICK_MS = 30_000
/** A wait that is over sooner and brought nothing was none. */
const WAIT_MS_MIN = 1000
/** After the journal did not take an outcome. */
const STORE_AGAIN_MS = 1000
/** After the disk was full, how long nothing new is taken. */
const DISK_FULL_PAUSE_MS = 5000

export function createAgent(options: AgentOptions) {
  const { journal, client, heartbeat, logger, crashPoint, nowMs, leaseClockMs, random } = options
  const executors = new Map<string, Executor>(options.executors.map((executor) => [executor.type, executor]))
  const runs = new Map<string, Run>()
  const syncSoon = createTrigger()
  const stopping = new AbortController()

  let mode: 'ready' | 'draining' = 'ready'
  /** A wait call is open. */
  let parked = false
  /** The sync loop pauses for longer than the poll interval. */
  let idle = false
  /** By the lease clock. */
  let diskFullUntilMs = 0
  /** The fingerprint of the engine definitions that the executors have; null where none wants them. */
  let definitionsSeen = options.executors.some(({ define }) => define !== undefined) ? '' : null
  /** Resolves when the sync that is under way, or the next one, is over. */
  let synced = deferred()

  /** An I/O error ends the process: after it nothing this process believes about the journal is certain. */
  const guarded = <Result>(body: () => Result): Result => {
    try {
      return body()
    } catch (error) {
      if (isFatalSqliteError(error)) return options.onFatal(error)
      if (isDiskFullError(error)) diskFullUntilMs = leaseClockMs() + DISK_FULL_PAUSE_MS
      throw error
    }
  }
  const session = createSession({
    ...options,
    lease: heartbeat,
    types: [...executors.keys()],
    afterCrash: (type) => executors.get(type)?.afterCrash ?? 'interrupted',
    ready: (type) => executors.get(type)?.ready?.() ?? true,
    engines: () => Object.assign({}, ...options.executors.map((executor) => executor.engines?.())),
    // With a full disk offers are declined too, or each would come again with every answer and fail the same way.
    mode: () => (mode === 'ready' && leaseClockMs() < diskFullUntilMs ? 'paused' : mode),
    work: {
      active: (attemptId) => runs.has(attemptId),
      running: () => [...runs.values()].map(({ offer }) => offer),
      begin,
      stop: (attemptId, cause) => runs.get(attemptId)?.stop(cause),
    },
  })

  /** One exchange. Answers whether another one has something to say at once. */
  const sync = async (): Promise<boolean> => {
    if (!session.registered()) {
      const sent = guarded(session.registration)
      const answer = await client.register(sent.request, stopping.signal)
      guarded(() => session.registrationAnswered(sent, answer))
    }
    const sent = guarded(session.sync)
    const request = definitionsSeen === null ? sent.request : { ...sent.request, definitionsSeen }
    const answer = await client.sync(session.agentId, request, stopping.signal)
    if (answer.definitions !== undefined) {
      definitionsSeen = answer.definitions.fingerprint
      for (const { define } of options.executors) define?.(answer.definitions.engines)
    }
    const again = guarded(() => session.syncAnswered(sent, answer))
    if (answer.acks.length + answer.drop.length > 0) reconcile()
    return again
  }

  const stateOf = (attemptId: string): AttemptState => {
    const entry = guarded(() => journal.get(attemptId))
    if (entry === undefined) return 'unknown'
    return entry.phase === 'ACKED' && !runs.has(attemptId) ? 'acknowledged' : 'open'
  }
  let reconciling = false
  let reconcileAgain = false
  /** One at a time; asked for meanwhile, once more. */
  const reconcile = (): void => {
    reconcileAgain = reconciling
    if (reconciling || stopping.signal.aborted) return
    reconciling = true
    Promise.all(options.executors.map((executor) => executor.reconcile?.(stateOf)))
      .catch((error: unknown) =>
        logger.warn({ err: error }, 'what attempts have left was not removed, it is tried again'),
      )
      .finally(() => {
        reconciling = false
        if (reconcileAgain) reconcile()
      })
  }

  function begin({ attemptId, offer, startedAtMs, containerId }: Entry): void {
    const executor = executors.get(offer.type)
    if (executor === undefined || startedAtMs === null) {
      store({ attemptId, outcome: failed('FAILED', 'INTERNAL_ERROR', `This agent has no executor for ${offer.type}.`) })
      return
    }
    logger.info({ commandId: offer.commandId, attempt: offer.attempt, type: offer.type }, 'started')
    const begun = run({
      ...{ executor, offer, startedAtMs, nowMs },
      onBegun: () => crashPoint('effect.begun'),
      container: { id: containerId, write: (id) => guarded(() => session.logContainer(attemptId, id)) },
    })
    runs.set(attemptId, begun)
    begun.outcome
      .then((outcome) => {
        if (outcome === null) {
          runs.delete(attemptId)
          syncSoon.ring()
          reconcile()
          return
        }
        crashPoint('effect.done')
        store({ attemptId, outcome })
      })
      .catch((error: unknown) => logger.error({ err: error, attemptId }, 'fault at the end of a run'))
  }

  /** Kept in memory until the journal takes them: losing one would make a known outcome unknown. */
  const unstored = new Set<Ended>()
  /** Outcomes of the same turn of the event loop share a commit. */
  const store = (ended: Ended): void => {
    unstored.add(ended)
    if (unstored.size === 1) setImmediate(storeAll)
  }
  const storeAll = (): void => {
    if (storeTogether([...unstored])) return
    // One that the journal does not take must not keep the others waiting.
    for (const ended of unstored) storeTogether([ended])
    if (unstored.size > 0 && !stopping.signal.aborted) setTimeout(storeAll, STORE_AGAIN_MS).unref()
  }
  const storeTogether = (batch: readonly Ended[]): boolean => {
    try {
      guarded(() => session.finished(batch))
    } catch (error) {
      logger.error({ err: error, outcomes: batch.length }, 'outcome not stored, it waits in memory')
      return false
    }
    for (const ended of batch) {
      const { commandId, number } = parseAttemptId(ended.attemptId)
      logger.info({ commandId, attempt: number, state: ended.outcome.state }, 'finished')
      unstored.delete(ended)
      runs.delete(ended.attemptId)
    }
    syncSoon.ring()
    return true
  }

  /** With nothing in hand and an open wait there is nothing to poll for: what is left is to renew the lease, in good time. */
  const pauseMs = (): number => {
    idle = parked && guarded(() => journal.open()).length === 0
    return jittered(
      idle ? Math.max(options.pollIntervalMs, 0.9 * session.nextSyncMs()) : options.pollIntervalMs,
      random(),
    )
  }

  const syncLoop = async (): Promise<AgentEnd> => {
    let failures = 0
    while (!stopping.signal.aborted) {
      try {
        const again = await sync()
        failures = 0
        synced.resolve()
        synced = deferred()
        if (!again) await syncSoon.heard(pauseMs())
        idle = false
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
      const end = session.refused(error.code)
      if (end === 'unsupported') logger.error({ code: error.code }, error.message)
      if (end !== null) return end
      logger.warn({ code: error.code, statusCode: error.statusCode }, error.message)
    } else if (error instanceof Unreachable || error instanceof ForeignAnswer)
      logger.warn({ reason: error.message, failures: failures + 1 }, 'no answer')
    else logger.error({ err: error }, 'sync failed')
    const pauseMs = backoffMs(failures, random())
    const askedMs = error instanceof Refused ? (error.retryAfterMs ?? 0) : 0
    await sleep(Math.max(pauseMs, Math.min(askedMs, 10_000)), undefined, { signal: stopping.signal }).catch(() => {})
    return null
  }

  const parkedWait = async (rev: number): Promise<boolean> => {
    parked = true
    try {
      return await client.wait(session.agentId, rev, stopping.signal)
    } finally {
      parked = false
    }
  }

  /** A long poll is open whenever there is a registration; its answer only rings the bell of the sync loop. */
  const waitLoop = async (): Promise<void> => {
    let inVain = 0
    while (!stopping.signal.aborted) {
      const [askedRev, askedMs] = [session.rev(), performance.now()]
      try {
        if (!session.registered()) await synced.promise
        else if (await parkedWait(askedRev)) {
          const done = synced.promise
          syncSoon.ring()
          await done
        }
        // A server that is stopping answers every wait at once; so would a broken one, for ever.
        inVain = session.rev() === askedRev && performance.now() - askedMs < WAIT_MS_MIN ? inVain + 1 : 0
      } catch {
        inVain += 1
        // Back to polling. Not at once: a server that was restarted has lost the waits of all agents together.
        setTimeout(() => idle && syncSoon.ring(), options.pollIntervalMs * random()).unref()
      }
      if (inVain > 0)
        await sleep(backoffMs(inVain - 1, random()), undefined, { signal: stopping.signal }).catch(() => {})
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

  const stopRuns = async (cause: StopCause): Promise<void> => {
    for (const each of runs.values()) each.stop(cause)
    await Promise.allSettled([...runs.values()].map(({ outcome }) => outcome))
  }

  /** A run that cannot end within the grace by itself goes on in the agent's next life. */
  const endsWithin = ({ offer, startedAtMs }: Entry, graceMs: number): boolean =>
    offer.type !== ('DELAY' satisfies CommandType) ||
    (startedAtMs ?? 0) + (offer.payload as { ms: number }).ms - nowMs() <= graceMs

  return {
    agentId: session.agentId,
    identity: session.identity,
    stateOf,

    /** Runs until it is drained or has to stop. */
    async run(): Promise<AgentEnd> {
      guarded(session.recover)
      prune()
      reconcile()
      const timers = [
        setInterval(session.fence, FENCE_TICK_MS),
        setInterval(prune, PRUNE_TICK_MS),
        setInterval(reconcile, RECONCILE_TICK_MS),
      ]
      for (const timer of timers) timer.unref()
      const waiting = waitLoop()
      const end = await syncLoop()
      stopping.abort()
      synced.resolve()
      await stopRuns({ type: 'stop' })
      storeAll()
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

    /** An executor is ready now, or not any more: the server should know, and what could not be cleaned up may be now. */
    readyChanged(): void {
      reconcile()
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
