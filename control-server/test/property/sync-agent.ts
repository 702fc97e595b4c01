/**
 * An agent that does what docs/protocol.md asks of it, in short: a journal that outlives the process, one sync after the
 * other, nothing begun without a grant. Its requests are made here; the steps send, delay, repeat or lose them.
 */
import assert from 'node:assert/strict'
import type {
  HeldAttempt,
  Offer,
  Outcome,
  RegisterRequest,
  RegisterResponse,
  SyncRequest,
  SyncResponse,
} from '@agent-executor/protocol'
import { hashOf, interrupted, registerRequest } from '../lifecycle/builders.ts'
import { LEASE_MS, type Model, takers } from './model.ts'

type Item = Pick<Offer, 'attemptId' | 'commandId' | 'type' | 'takeover'> &
  Pick<HeldAttempt, 'phase'> & { outcome?: Outcome }
type Journal = {
  journalId: string
  /** Grows with every entry. */
  logSeq: number
  incarnation: number
  /** Of registrations whose answer never came. */
  nonces: string[]
  items: Map<string, Item>
}

export type SyncAgent = ReturnType<typeof createSyncAgent>

const CANCELLED: Outcome = { state: 'CANCELLED', error: { code: 'CANCELLED', message: 'Stopped.', retryable: false } }

export function createSyncAgent(agentId: string, model: Model, all: () => readonly SyncAgent[]) {
  let numbers = 0
  const fresh = (what: string): string => {
    numbers += 1
    return `${what}-of-${agentId}-${numbers}`
  }
  const emptyJournal = (): Journal => ({
    journalId: fresh('journal'),
    logSeq: 0,
    incarnation: 0,
    nonces: [],
    items: new Map(),
  })
  const copyOf = (journal: Journal): Journal => ({
    ...journal,
    nonces: [...journal.nonces],
    items: new Map([...journal.items].map(([id, item]) => [id, { ...item }])),
  })

  let journal = emptyJournal()
  let copy: Journal | null = null
  let registration: { incarnation: number; epoch: string } | null = null
  /** A new process goes on with nothing before the server has confirmed it. */
  let confirmed = false
  let seq = 0
  let revSeen = 0
  let leaseEndsMs = 0
  /** As the journal was found: what is written before the server has heard of it would hide that it is an older copy. */
  let foundLogSeq: number | null = null
  /** The newest state of this journal that the server has seen. */
  let toldLogSeq = 0

  const log = (change: () => void): void => {
    journal.logSeq += 1
    change()
  }
  const finish = (item: Item, outcome: Outcome): void =>
    log(() => Object.assign(item, { phase: outcome.state === 'INTERRUPTED' ? 'interrupted' : 'finished', outcome }))

  /** The process is gone, and with it the requests in flight; a wait goes on, a fetch does not. */
  const restart = (): void => {
    registration = null
    confirmed = false
    foundLogSeq ??= journal.logSeq
    for (const item of journal.items.values())
      if (item.phase === 'running' && item.type === 'HTTP_GET_JSON') finish(item, interrupted)
  }

  return {
    agentId,
    /** What it has sent, for those who send it again. */
    registers: [] as RegisterRequest[],
    syncs: [] as SyncRequest[],
    isRegistered: (): boolean => registration !== null,
    /** Whether it works on this command at the moment. */
    isAtIt: (commandId: string): boolean =>
      confirmed && [...journal.items.values()].some((item) => item.commandId === commandId && item.phase === 'running'),
    runningIds: (): string[] =>
      [...journal.items.values()].filter(({ phase }) => phase === 'running').map((item) => item.attemptId),

    register(): RegisterRequest {
      restart()
      const nonce = fresh('nonce')
      const { journalId, incarnation } = journal
      const logSeq = foundLogSeq ?? journal.logSeq
      const request = registerRequest({ agentId, journalId, nonce, logSeq, previousIncarnation: incarnation })
      const { types, labels } = takers.get(agentId) ?? { types: [], labels: [] }
      const complete = { ...request, previousNonces: journal.nonces.slice(-16), types: [...types], labels: [...labels] }
      journal.nonces.push(nonce)
      this.registers.push(complete)
      return complete
    },
    registered(request: RegisterRequest, answer: RegisterResponse, nowMs: number): void {
      registration = { incarnation: answer.incarnation, epoch: answer.epoch }
      journal.incarnation = answer.incarnation
      journal.nonces = []
      foundLogSeq = null
      toldLogSeq = request.logSeq
      seq = 0
      revSeen = answer.rev
      leaseEndsMs = nowMs + LEASE_MS
    },
    /** The server does not know this process any more. */
    superseded: restart,
    restart,

    sync(want: SyncRequest['want'], mode: SyncRequest['mode']): SyncRequest {
      seq += 1
      const held = [...journal.items.values()].map(
        ({ attemptId, phase, outcome }): HeldAttempt => ({
          attemptId,
          phase,
          ...(outcome === undefined ? {} : { outcome, outcomeSha256: hashOf(outcome) }),
        }),
      )
      const { incarnation, epoch } = registration ?? { incarnation: 0, epoch: 'unregistered' }
      const request = { incarnation, seq, epoch, revSeen, logSeq: journal.logSeq, mode, want, held }
      this.syncs.push(request)
      return request
    },
    /** The server has it, whether or not its answer arrives. */
    told(request: SyncRequest): void {
      toldLogSeq = Math.max(toldLogSeq, request.logSeq)
    },
    answered(response: SyncResponse, nowMs: number): void {
      revSeen = Math.max(revSeen, response.rev)
      leaseEndsMs = nowMs + LEASE_MS
      for (const { attemptId } of response.acks) log(() => journal.items.delete(attemptId))
      for (const attemptId of response.drop)
        if (journal.items.has(attemptId)) log(() => journal.items.delete(attemptId))
      for (const { attemptId } of response.desired) {
        const item = journal.items.get(attemptId)
        if (item !== undefined && item.outcome === undefined) finish(item, CANCELLED)
      }
      for (const attemptId of response.grants) {
        const item = journal.items.get(attemptId)
        if (item?.phase !== 'accepted') continue
        log(() => {
          item.phase = 'running'
        })
        model.begins(attemptId)
      }
      confirmed = true
      for (const { commandId, phase } of journal.items.values())
        if (phase === 'running') {
          const atIt = all()
            .filter((each) => each.isAtIt(commandId))
            .map((each) => each.agentId)
          assert.deepEqual(atIt, [agentId], `R6: who is at ${commandId}`)
        }
      for (const { attemptId, commandId, type, takeover } of response.offers)
        if (!journal.items.has(attemptId))
          log(() => journal.items.set(attemptId, { attemptId, commandId, type, takeover, phase: 'accepted' }))
    },
    heartbeat: () => ({ incarnation: registration?.incarnation ?? 0, epoch: registration?.epoch ?? 'unregistered' }),
    renewed(nowMs: number): void {
      leaseEndsMs = nowMs + LEASE_MS
    },

    finish(attemptId: string, outcome: Outcome): void {
      const item = journal.items.get(attemptId)
      if (item?.phase === 'running') finish(item, outcome)
    },
    /** At the end of its lease it stops what somebody else may then be given. */
    fence(nowMs: number): void {
      if (nowMs < leaseEndsMs) return
      for (const item of journal.items.values())
        if (item.phase === 'running' && item.takeover === 'auto') finish(item, interrupted)
    },

    loseJournal(): void {
      journal = emptyJournal()
      foundLogSeq = null
      restart()
      copy = null
      toldLogSeq = 0
    },
    copyJournal(): void {
      copy = copyOf(journal)
    },
    /** A copy that the server has seen to be old: one of the very moment of a grant is beyond what can be noticed. */
    canRestore: (): boolean => copy !== null && copy.journalId === journal.journalId && copy.logSeq < toldLogSeq,
    restoreJournal(): void {
      journal = copyOf(copy as Journal)
      foundLogSeq = null
      restart()
    },
  }
}
