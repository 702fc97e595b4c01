/**
 * One life of an agent, without network, timers and executors: what it says to the server, what it makes of an answer,
 * and what its journal must hold before anything happens. Synchronous, and everything comes from the options: the process
 * and the simulation of it run the same code.
 *
 * The driver sends what `registration` and `sync` give, one at a time, and hands the answer back. Every method throws
 * what the journal throws; what was to come after the failed commit has not happened then.
 */
import {
  type EngineAvailabilities,
  type Offer,
  type Outcome,
  PROTOCOL,
  type RegisterRequest,
  type RegisterResponse,
  type SyncRequest,
  type SyncResponse,
} from '@agent-executor/protocol'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import type { CrashPoint } from './crash-points.ts'
import { type Action, actionsFor } from './decide/answer.ts'
import { inventory, wanted } from './decide/inventory.ts'
import { leaseEndsMs, mustStop } from './decide/lease.ts'
import { recover } from './decide/recover.ts'
import type { Entry, Journal, Write } from './journal/journal.ts'
import { failed, type StopCause } from './run.ts'

export type Logger = Record<'debug' | 'info' | 'warn' | 'error', (facts: object, message: string) => void>

/** The effects, which only the session begins. */
export type Work = {
  active: (attemptId: string) => boolean
  running: () => Iterable<Offer>
  /** The start is in the journal. Ends in `finished`, unless it was stopped by `drop` or `stop`. */
  begin: (entry: Entry) => void
  stop: (attemptId: string, cause: StopCause) => void
}

export type SessionOptions = {
  journal: Omit<Journal, 'prune' | 'close'>
  /** The lease in memory, which the heartbeat thread may renew as well. */
  lease: {
    registered: (answer: RegisterResponse) => void
    renewed: (endsMs: number, nextSyncMs: number) => void
    leaseEndsMs: () => number
  }
  work: Work
  types: readonly string[]
  afterCrash: (type: string) => 'resume' | 'adopt' | 'interrupted'
  /** Whether an attempt of the type could begin now. */
  ready: (type: string) => boolean
  /** What RUN_AGENT can run here, and why not. */
  engines: () => EngineAvailabilities
  labels: readonly string[]
  slots: Readonly<Record<string, number>>
  version: string
  mode: () => SyncRequest['mode']
  /** The wall clock, for what is stored. */
  nowMs: () => number
  leaseClockMs: () => number
  newId: () => string
  crashPoint: (name: CrashPoint) => void
  logger: Logger
}

/** A request, and when it was sent by the lease clock. */
export type Sent<Request> = { request: Request; sentMs: number }
export type Ended = { attemptId: string; outcome: Outcome }
export type SentSync = Sent<SyncRequest> & { complete: boolean }

/** An answer that belongs to another request: as good as none. */
export class ForeignAnswer extends Error {
  override name = 'ForeignAnswer'
}

/** Outcomes a sync carries at most; the rest goes with the next. */
const OUTCOME_BYTES_MAX = 8 * 1024 * 1024

export type Session = ReturnType<typeof createSession>

export function createSession(options: SessionOptions) {
  const { journal, lease, work, mode, nowMs, leaseClockMs, crashPoint, logger } = options
  const { agentId, journalId } = journal.identity()

  /** Logged as started and not begun in this process: what may begin, once. */
  const mayBegin = new Set<string>()

  let registration: { incarnation: number; epoch: string; recovery: boolean } | null = null
  /** As told last; kept while there is no registration, because the lease it measured still runs out. */
  let leaseMs = 0
  let nextSyncMs = 0
  let seq = 0
  let rev = 0
  let outcomeBytesMax = OUTCOME_BYTES_MAX
  /** What the server knows of the engines, as text. */
  let enginesTold = ''

  const renewed = (sentMs: number, answer: { leaseMs: number; nextSyncMs: number }): void => {
    leaseMs = answer.leaseMs
    nextSyncMs = answer.nextSyncMs
    lease.renewed(leaseEndsMs(sentMs, leaseMs), nextSyncMs)
  }

  /** What may be taken over must be over before it is. */
  const fence = (): void => {
    if (!mustStop(leaseClockMs(), lease.leaseEndsMs(), leaseMs)) return
    for (const { attemptId, takeover } of work.running())
      if (takeover === 'auto') {
        logger.warn({ attemptId }, 'the lease is over, stopping')
        work.stop(attemptId, { type: 'fence' })
      }
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
    if (entry?.phase === 'STARTED' && mayBegin.delete(attemptId)) work.begin(entry)
  }

  /** Begun by an earlier life, and not over with it. */
  const goesOn = (attemptId: string): boolean => {
    const entry = journal.get(attemptId)
    return entry !== undefined && mayBegin.has(attemptId) && options.afterCrash(entry.offer.type) === 'adopt'
  }

  /** Does what the answer asks for: one commit, then the effects. */
  const perform = (actions: readonly Action[], revSeen: number, confirmedUntilMs: number): boolean => {
    const atMs = nowMs()
    const of = <Type extends Action['type']>(type: Type) =>
      actions.filter((action): action is Extract<Action, { type: Type }> => action.type === type)

    const writes: Write[] = []
    for (const { attemptId, verdict } of of('ack')) writes.push({ type: 'ack', attemptId, verdict, atMs })
    for (const { attemptId } of of('reopen')) writes.push({ type: 'reopen', attemptId })
    for (const { offer } of of('accept')) writes.push({ type: 'accept', offer, atMs })
    for (const { attemptId, started } of of('drop')) {
      if (started)
        writes.push(finishWrite(attemptId, failed('INTERRUPTED', 'INTERRUPTED', 'The server took the attempt away.')))
      writes.push({ type: 'ack', attemptId, verdict: 'dropped', atMs })
      work.stop(attemptId, { type: 'drop' })
      logger.warn({ attemptId, started }, 'dropped')
    }
    /** Of an earlier life, and it goes on: it has to be taken up, to be stopped. */
    const toStop: Extract<Action, { type: 'cancel' }>[] = []
    for (const cancel of of('cancel')) {
      const { attemptId, reason, graceMs, active } = cancel
      if (active) work.stop(attemptId, { type: 'cancel', reason, graceMs })
      else if (goesOn(attemptId)) toStop.push(cancel)
      else writes.push(finishWrite(attemptId, failed('CANCELLED', 'CANCELLED', reason)))
    }

    const starts = of('start').map(({ attemptId }) => attemptId)
    const resumes = of('resume').map(({ attemptId }) => attemptId)
    if (starts.length > 0) crashPoint('grant.received')
    // The answer may have been under way for longer than the lease: then the server may think otherwise by now. What the
    // heartbeat thread renewed since does not count, the lease may have been over before.
    const late = starts.length + resumes.length > 0 && mustStop(leaseClockMs(), confirmedUntilMs, leaseMs)
    if (!late) for (const attemptId of starts) writes.push({ type: 'start', attemptId, atMs })
    if (writes.length > 0) journal.write([...writes, { type: 'seen', rev: revSeen }])
    if (late) return true
    for (const attemptId of starts) mayBegin.add(attemptId)
    for (const attemptId of [...resumes, ...starts]) begin(attemptId)
    for (const { attemptId, reason, graceMs } of toStop) {
      begin(attemptId)
      work.stop(attemptId, { type: 'cancel', reason, graceMs })
    }
    return of('accept').length > 0 || of('reopen').length > 0 || of('cancel').some(({ active }) => !active)
  }

  return {
    agentId,
    registered: (): boolean => registration !== null,
    /** Who this life is to the server; null while it is not registered. */
    identity(): { agentId: string; incarnation: number; epoch: string } | null {
      return registration && { agentId, incarnation: registration.incarnation, epoch: registration.epoch }
    },
    /** The server's revision as seen last. */
    rev: (): number => rev,
    /** How long after a sync the server wants the next one at the latest. */
    nextSyncMs: (): number => nextSyncMs,

    /** What the journal says of the life before. Nothing is resumed before the server has confirmed it. */
    recover(): void {
      const recoveryOf = ({ phase, offer }: Entry) => recover(phase, options.afterCrash(offer.type))
      const open = journal.open()
      const interrupted = open.filter((entry) => recoveryOf(entry) === 'interrupt')
      const message = 'The agent stopped after the start was logged; the command may have run.'
      journal.recovered(
        interrupted.map(({ attemptId }) => finishWrite(attemptId, failed('INTERRUPTED', 'INTERRUPTED', message))),
      )
      for (const entry of open) if (recoveryOf(entry) === 'resume') mayBegin.add(entry.attemptId)
      for (const { offer } of interrupted)
        logger.warn({ commandId: offer.commandId, attempt: offer.attempt }, 'interrupted')
    },

    registration(): Sent<RegisterRequest> {
      const identity = journal.identity()
      const nonce = options.newId()
      journal.registering(nonce)
      const sentMs = leaseClockMs()
      crashPoint('register.before-send')
      const request: RegisterRequest = {
        agentId,
        journalId,
        nonce,
        previousNonces: identity.nonces,
        previousIncarnation: identity.incarnation,
        logSeq: identity.logSeq,
        protocol: { ...PROTOCOL },
        version: options.version,
        types: [...options.types],
        labels: [...options.labels],
        slots: { ...options.slots },
        engines: options.engines(),
      }
      return { request, sentMs }
    },

    registrationAnswered({ request, sentMs }: Sent<RegisterRequest>, answer: RegisterResponse): void {
      crashPoint('register.after-answer')
      // In a new epoch the server may have forgotten what it acknowledged.
      if (answer.recovery) journal.reopenAll()
      journal.registered(answer)
      registration = answer
      seq = 0
      rev = answer.rev
      enginesTold = JSON.stringify(request.engines)
      // A renewal as well; without it, work would be fenced that a server set back to a backup is about to confirm.
      fence()
      lease.registered(answer)
      renewed(sentMs, { leaseMs: answer.leaseMs, nextSyncMs: answer.syncMs })
      const { incarnation, epoch, recovery } = answer
      logger.info({ agentId, incarnation, epoch, recovery }, 'registered')
    },

    /** Only where `registered`. */
    sync(): SentSync {
      if (registration === null) throw new Error('not registered')
      const open = journal.open()
      const identity = journal.identity()
      const { held, complete } = inventory(open, journal.outcome, {
        bytesMax: outcomeBytesMax,
        recovery: registration.recovery,
      })
      const request: SyncRequest = {
        incarnation: registration.incarnation,
        seq: ++seq,
        epoch: registration.epoch,
        revSeen: Math.max(identity.revSeen, rev),
        logSeq: identity.logSeq,
        mode: mode(),
        want: wanted(options.slots, open, mode(), options.ready),
        held,
        clockMs: nowMs(),
      }
      const engines = options.engines()
      if (JSON.stringify(engines) !== enginesTold) request.engines = engines
      const sentMs = leaseClockMs()
      crashPoint('sync.before-send')
      return { request, complete, sentMs }
    },

    /** Answers whether there is something to say at once. Throws `ForeignAnswer`. */
    syncAnswered({ request, complete, sentMs }: SentSync, answer: SyncResponse): boolean {
      crashPoint('sync.after-answer')
      // An answer to an earlier registration, or to an earlier request, says nothing about this one.
      if (registration === null || answer.incarnation !== request.incarnation || answer.seq !== request.seq)
        throw new ForeignAnswer('an answer to another request')
      // A lease that was over on the way here cannot be taken up again as if nothing had been: first what it covered.
      fence()
      renewed(sentMs, answer)
      rev = answer.rev
      outcomeBytesMax = OUTCOME_BYTES_MAX
      registration = { ...registration, recovery: answer.recovery }
      if (request.engines !== undefined) enginesTold = JSON.stringify(request.engines)

      // As it is now, not as it was sent: a run may have ended while the answer was on its way, and what the answer
      // confirms must not begin a second time.
      const known = (attemptId: string) => {
        const entry = journal.get(attemptId)
        return entry && { phase: entry.phase, hasOutcome: entry.outcomeSha256 !== null, active: work.active(attemptId) }
      }
      const running = request.held.filter(({ phase }) => phase === 'running').map(({ attemptId }) => attemptId)
      const actions = actionsFor(answer, known, running, mode())
      const taken = perform(actions, answer.rev, leaseEndsMs(sentMs, answer.leaseMs))
      // Without an ack the next request would say the same again.
      return taken || (answer.acks.length > 0 && (!complete || answer.recovery))
    },

    /** The server refused the request. Answers whether this life is over. */
    refused(code: string): 'superseded' | 'unsupported' | null {
      if (code === 'INCARNATION_SUPERSEDED') return 'superseded'
      if (code === 'PROTOCOL_UNSUPPORTED') return 'unsupported'
      if (code === 'NOT_REGISTERED' || code === 'EPOCH_CHANGED') registration = null
      if (code === 'BODY_TOO_LARGE') outcomeBytesMax = Math.max(1, Math.floor(outcomeBytesMax / 4))
      return null
    },

    /** Effects are over. Where the journal throws, the outcomes are known to the caller alone and have to be given again. */
    finished(ended: readonly Ended[]): void {
      journal.write(ended.map(({ attemptId, outcome }) => finishWrite(attemptId, outcome)))
    },

    /** The effect of an attempt has a container, which is not started before this returns. */
    logContainer(attemptId: string, containerId: string): void {
      journal.write([{ type: 'container', attemptId, containerId }])
    },

    fence,
  }
}
