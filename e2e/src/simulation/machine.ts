/**
 * A machine with one agent on it: the real session over a disk, clocks and effects that can fail. What the loops, timers
 * and the heartbeat thread of the process do is done here by steps of the simulation.
 */
import type { CrashPoint } from '@agent-executor/agent/crash-points'
import { fenceMarginMs, leaseEndsMs } from '@agent-executor/agent/decide/lease'
import { failed, type StopCause } from '@agent-executor/agent/run'
import { createSession, ForeignAnswer, type Sent, type SentSync, type Session } from '@agent-executor/agent/session'
import type {
  Offer,
  Outcome,
  RegisterRequest,
  RegisterResponse,
  SyncRequest,
  SyncResponse,
} from '@agent-executor/protocol'
import type { Random } from '../random.ts'
import { createMemoryJournal, type Disk, type MemoryJournal } from './memory-journal.ts'
import type { Observer } from './observer.ts'
import type { Answer } from './server.ts'

/** The process is dead from here on. */
export class Crash extends Error {
  override name = 'Crash'
}

/** What is on its way: a call and who waits for it. */
export type Call =
  | { kind: 'register'; sent: Sent<RegisterRequest> }
  | { kind: 'sync'; sent: SentSync }
  | { kind: 'heartbeat'; request: { incarnation: number; epoch: string }; sentMs: number }
export type CallAnswer = Answer<RegisterResponse | SyncResponse | { incarnation: number; leaseMs: number }>

type Running = {
  offer: Offer
  effect: ReturnType<Observer['begins']>
  /** By true time. */
  endsAtMs: number
  cause: StopCause | null
}

export type MachineOptions = {
  name: string
  agentId: string
  disk: Disk
  slots: Readonly<Record<string, number>>
  /** How long an effect takes at most. */
  effectMs: () => number
  /** The clocks run by up to 0.4 % too fast or too slow. */
  clockRate: number
  fsync: boolean
  /** True time; nobody else in the simulation has it. */
  trueMs: () => number
  random: () => Random
  newId: () => string
  crashPoint: (name: CrashPoint) => void
  observer: Observer
  tell: (line: () => string) => void
}

export type Machine = ReturnType<typeof createMachine>

/** From one tick of the fence to the next, on a machine that has other things to do as well. */
const FENCE_TICK_MS = 1500
const OUTCOMES: readonly Outcome[] = [
  { state: 'SUCCEEDED', result: { ok: true } },
  { state: 'SUCCEEDED', result: null },
  failed('FAILED', 'HTTP_ERROR', 'The server answered 404.'),
  { state: 'FAILED', error: { code: 'NETWORK_ERROR', message: 'connection reset', retryable: true } },
]

export function createMachine(options: MachineOptions) {
  const { name, agentId, trueMs, random, observer, tell } = options
  let journal: MemoryJournal = openJournal(options.disk)
  let session: Session | null = null
  let mode: SyncRequest['mode'] = 'ready'
  let suspended = false
  let wallAheadMs = 0
  /** Changes with every start: an answer to a process that is gone reaches nobody. */
  let life = 0
  let pending: Call | null = null
  const runs = new Map<string, Running>()
  let nextTickMs = 0
  const lease = { mainEndsMs: 0, threadEndsMs: 0, leaseMs: 0, registration: null as RegisterResponse | null }
  const leaseEnds = () => Math.max(lease.mainEndsMs, lease.threadEndsMs)
  const leaseClockMs = () => trueMs() * options.clockRate + 1_000_000
  const trueOf = (leaseMs: number) => (leaseMs - 1_000_000) / options.clockRate

  function openJournal(disk: Disk): MemoryJournal {
    return createMemoryJournal({ disk, crashPoint: options.crashPoint, fsync: options.fsync })
  }

  /** The process dies with all its effects. */
  const die = (): void => {
    for (const { effect } of runs.values()) observer.ends(effect)
    runs.clear()
    session = null
    pending = null
    suspended = false
    life += 1
  }
  /** What a process does until it dies of it; answers undefined then. */
  const alive = <Result>(body: (session: Session) => Result): Result | undefined => {
    if (session === null || suspended) return undefined
    try {
      return body(session)
    } catch (error) {
      if (!(error instanceof Crash)) throw error
      tell(() => `${name} dies ${(error as Crash).message}`)
      die()
      return undefined
    }
  }

  const stop = (attemptId: string, cause: StopCause): void => {
    const running = runs.get(attemptId)
    if (running === undefined || running.cause !== null) return
    running.cause = cause
    const takesMs = random().next() * fenceMarginMs(lease.leaseMs)
    running.endsAtMs = Math.min(running.endsAtMs, trueMs() + takesMs)
  }

  const outcomeOf = (running: Running): Outcome | null => {
    switch (running.cause?.type) {
      case undefined:
        return random().pick(OUTCOMES)
      case 'cancel':
        return failed('CANCELLED', 'CANCELLED', 'not needed any more')
      case 'fence':
        return failed('INTERRUPTED', 'INTERRUPTED', 'The lease was over.')
      default:
        return null
    }
  }

  return {
    name,
    agentId,
    up: (): boolean => session !== null,
    suspended: (): boolean => suspended,
    life: (): number => life,
    waiting: (): boolean => pending !== null,
    journal: (): MemoryJournal => journal,
    /** It is up, and believes that its lease goes on. */
    leased: (): boolean => session !== null && leaseClockMs() < leaseEnds(),

    boot(): void {
      die()
      Object.assign(lease, { mainEndsMs: 0, threadEndsMs: 0, leaseMs: 0, registration: null })
      mode = 'ready'
      tell(() => `${name} starts`)
      session = createSession({
        journal,
        lease: {
          registered: (answer) => Object.assign(lease, { mainEndsMs: 0, threadEndsMs: 0, registration: answer }),
          renewed: (endsMs) => {
            lease.mainEndsMs = endsMs
            lease.leaseMs = lease.registration?.leaseMs ?? 0
          },
          leaseEndsMs: leaseEnds,
        },
        work: {
          active: (attemptId) => runs.has(attemptId),
          running: () => [...runs.values()].map(({ offer }) => offer),
          begin({ attemptId, offer }) {
            const effect = observer.begins(name, offer)
            tell(() => `${name} begins ${attemptId}`)
            const endsAtMs = trueMs() + random().next() * options.effectMs()
            runs.set(attemptId, { offer, effect, endsAtMs, cause: null })
            options.crashPoint('effect.begun')
          },
          stop,
        },
        types: ['DELAY', 'HTTP_GET_JSON'],
        engines: () => ({}),
        afterCrash: (type) => (type === 'DELAY' ? 'resume' : 'interrupted'),
        ready: () => true,
        labels: [],
        slots: options.slots,
        version: '1',
        mode: () => mode,
        nowMs: () => trueMs() + wallAheadMs,
        leaseClockMs,
        newId: options.newId,
        crashPoint: options.crashPoint,
        logger: { debug() {}, info() {}, warn() {}, error() {} },
      })
      alive((it) => it.recover())
    },

    kill(): void {
      die()
    },
    cutPower(): void {
      die()
      journal.cutPower(random().next())
    },
    /** The disk of a machine that is down is changed from outside. */
    setDisk(disk: Disk): void {
      die()
      journal = openJournal(disk)
    },
    suspend(): void {
      suspended = session !== null
      for (const { effect } of runs.values()) effect.paused = suspended
    },
    /** The timers are the first to run. */
    resume(): void {
      suspended = false
      alive((it) => it.fence())
      for (const running of runs.values()) {
        running.effect.paused = false
        if (running.cause?.type === 'fence') running.endsAtMs = trueMs()
      }
    },
    setWallClock(aheadMs: number): void {
      wallAheadMs = aheadMs
    },
    setMode(next: SyncRequest['mode']): void {
      mode = next
    },

    /** The next call of the main thread; an earlier one that is still under way is given up. */
    call(): Call | null {
      pending = null
      pending =
        alive(
          (it): Call =>
            it.registered() ? { kind: 'sync', sent: it.sync() } : { kind: 'register', sent: it.registration() },
        ) ?? null
      return pending
    },

    /** A renewal of the heartbeat thread, which sends none while its lease is long or over. */
    beat(): Call | null {
      const { registration } = lease
      const sentMs = leaseClockMs()
      if (session === null || suspended || registration === null) return null
      if (sentMs >= leaseEnds() || sentMs < leaseEnds() - (registration.leaseMs * 2) / 3) return null
      const { incarnation, epoch } = registration
      return { kind: 'heartbeat', request: { incarnation, epoch }, sentMs }
    },

    /** The answer to one of the calls of this life. */
    answered(call: Call, answer: CallAnswer, server: Parameters<Observer['acknowledged']>[0]): void {
      if (call.kind === 'heartbeat') {
        if (!answer.ok || suspended || session === null || leaseClockMs() >= leaseEnds()) return
        if (answer.response.incarnation === lease.registration?.incarnation)
          lease.threadEndsMs = leaseEndsMs(call.sentMs, answer.response.leaseMs)
        return
      }
      if (pending !== call) return
      pending = null
      alive((it) => {
        if (!answer.ok) {
          if (it.refused(answer.code) !== null) die()
          return
        }
        if (call.kind === 'register') return it.registrationAnswered(call.sent, answer.response as RegisterResponse)
        const response = answer.response as SyncResponse
        const before = new Map(response.acks.map(({ attemptId }) => [attemptId, journal.get(attemptId)?.phase]))
        try {
          it.syncAnswered(call.sent, response)
        } catch (error) {
          if (!(error instanceof ForeignAnswer)) throw error
        }
        for (const { attemptId, verdict } of response.acks) {
          const entry = journal.get(attemptId)
          if (
            before.get(attemptId) === 'FINISHED' &&
            entry?.phase === 'ACKED' &&
            entry.outcomeState &&
            entry.outcomeSha256
          )
            observer.acknowledged(server, entry.offer, verdict, entry.outcomeState, entry.outcomeSha256)
        }
      })
    },

    /** By true time: when something happens by itself, at the earliest. */
    nextMs(): number {
      if (session === null || suspended || runs.size === 0) return Number.POSITIVE_INFINITY
      let next = Number.POSITIVE_INFINITY
      let fenced = false
      for (const { endsAtMs, cause, offer } of runs.values()) {
        next = Math.min(next, endsAtMs)
        fenced ||= cause === null && offer.takeover === 'auto'
      }
      if (!fenced) return next
      return Math.min(next, Math.max(nextTickMs, trueOf(leaseEnds() - fenceMarginMs(lease.leaseMs))))
    },
    /** Lets happen what is due by now. */
    elapse(): void {
      alive((it) => it.fence())
      nextTickMs = trueMs() + random().next() * FENCE_TICK_MS
      for (const [attemptId, running] of [...runs])
        if (running.endsAtMs <= trueMs() && runs.has(attemptId))
          alive((it) => {
            observer.ends(running.effect)
            const outcome = outcomeOf(running)
            if (outcome !== null) {
              options.crashPoint('effect.done')
              it.finished([{ attemptId, outcome }])
            }
            runs.delete(attemptId)
          })
    },
  }
}
