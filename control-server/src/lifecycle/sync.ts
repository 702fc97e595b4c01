/**
 * The one call that moves work, decided as a whole: what the agent holds against what the server knows, then offers.
 * The table is that of `docs/protocol.md`; every change goes through `transition`.
 */
import {
  type AckVerdict,
  type ApiErrorCode,
  attemptId,
  type HeldAttempt,
  type Offer,
  type Outcome,
  parseAttemptId,
  type SyncRequest,
  type SyncResponse,
} from '@agent-executor/protocol'
import { type Agent, createLedger, type Evidence, type Turn, type TurnDecision } from './agent.ts'
import { type Attempt, type Command, newestAttempt, phaseOf } from './command.ts'
import { keptEngines } from './engines.ts'
import { serverLeaseMs } from './lease-policy.ts'
import { offeredPayload } from './submission.ts'
import { attemptTimeoutMs, type LifecyclePolicy } from './transition.ts'

/** An agent that holds nothing has nothing to lose with its lease, and many such agents cost what they sync. */
const IDLE_SYNCS = 2

export type SyncContext = {
  agentId: string
  nowMs: number
  random: () => number
  policy: LifecyclePolicy
  limits: { leaseMs: number; syncMs: number; cancelGraceMs: number; resultBytesMax: number }
  /** Used only where this turn finds that the server was rolled back. */
  newEpoch: string
  /** Makes a command of an offer that this database never saw; recovery only. */
  adoptCommand: (offer: Offer) => Command
}

export type Synced =
  | { ok: true; response: Omit<SyncResponse, 'rev'> }
  | { ok: false; code: ApiErrorCode; message: string }

const refusal = (code: ApiErrorCode, message: string): TurnDecision<Synced> => ({
  changes: [],
  evidence: [],
  answer: { ok: false, code, message },
})

export function answerSync(turn: Turn, request: SyncRequest, context: SyncContext): TurnDecision<Synced> {
  const { agentId, nowMs, policy, limits } = context
  const { agent, server } = turn
  if (agent === null || agent.kind !== 'sync') return refusal('NOT_REGISTERED', `Agent ${agentId} is not registered.`)
  if (request.epoch !== server.epoch || agent.epoch !== server.epoch)
    return refusal('EPOCH_CHANGED', 'The server was restored from a backup: register again.')
  if (request.incarnation < agent.incarnation)
    return refusal('INCARNATION_SUPERSEDED', `Incarnation ${agent.incarnation} of agent ${agentId} has taken over.`)
  if (request.incarnation > agent.incarnation)
    return refusal('NOT_REGISTERED', 'This incarnation is not registered here.')
  if (request.seq <= agent.seq) return refusal('STALE_SYNC', `Sync ${agent.seq} was answered already.`)
  // Under a living process only the roll-back of a whole machine does this. To register tells which grants still count.
  if (request.logSeq < agent.logSeq) return refusal('NOT_REGISTERED', 'This journal has gone back: register again.')
  if (request.revSeen > server.rev)
    return {
      ...refusal('EPOCH_CHANGED', 'This agent has seen a later state of the server: it was restored from a backup.'),
      newEpoch: context.newEpoch,
    }

  const recovering = server.recovering !== null
  const ledger = createLedger(policy)
  const evidence: Evidence[] = []
  const grants: string[] = []
  const drop: string[] = []
  const acks: SyncResponse['acks'] = []
  const desired: SyncResponse['desired'] = []
  const held = new Set<string>()

  for (const item of request.held) {
    held.add(item.attemptId)
    const known = commandOf(item)
    if (known === undefined) answerUnknown(item)
    else answerHeld(item, adopted(known, item))
  }

  // By absence: what the server believes this agent to have and the agent does not name.
  const offers: Offer[] = []
  const outstanding = new Map<string, number>()
  for (const owned of turn.owned) {
    const command = ledger.now(owned)
    const newest = newestAttempt(command)
    if (newest === undefined || newest.agentId !== agentId || held.has(attemptId(command.commandId, newest.number)))
      continue
    const phase = phaseOf(command)
    if (phase === 'OFFERED' && request.mode === 'ready' && !recovering) {
      offers.push(offerOf(command, newest))
      outstanding.set(command.type, (outstanding.get(command.type) ?? 0) + 1)
    } else if (phase === 'OFFERED')
      ledger.apply(command, { type: 'withdraw', nowMs, reason: recovering ? 'recovery' : request.mode })
    else if (phase === 'RUNNING') ledger.apply(command, { type: 'lose', nowMs, reason: 'absent' })
  }

  if (request.mode === 'ready' && !recovering)
    for (const command of turn.ready) {
      const taken = outstanding.get(command.type) ?? 0
      if (taken >= (request.want[command.type] ?? 0)) continue
      const offered = ledger.apply(command, { type: 'offer', nowMs, agentId })
      const newest = offered.ok ? newestAttempt(offered.command) : undefined
      if (!offered.ok || newest === undefined) continue
      outstanding.set(command.type, taken + 1)
      offers.push(offerOf(offered.command, newest))
    }

  const waitingFor = server.recovering?.filter((id) => id !== agentId) ?? []
  const synced: Agent = {
    ...agent,
    seq: request.seq,
    logSeq: request.logSeq,
    inventoried: true,
    renewedAtMs: nowMs,
    lastSeenAtMs: nowMs,
    leaseMs: limits.leaseMs,
    mode: request.mode,
    clockSkewMs: request.clockMs === undefined ? null : request.clockMs - nowMs,
    engines: request.engines === undefined ? agent.engines : keptEngines(request.engines),
  }
  return {
    agent: synced,
    changes: ledger.changes,
    evidence,
    ...(recovering && waitingFor.length === 0 ? { recoveryEnded: true } : {}),
    answer: {
      ok: true,
      response: {
        incarnation: agent.incarnation,
        seq: request.seq,
        epoch: server.epoch,
        leaseMs: limits.leaseMs,
        nextSyncMs: request.held.length === 0 && offers.length === 0 ? IDLE_SYNCS * limits.syncMs : limits.syncMs,
        recovery: recovering,
        offers,
        grants,
        acks,
        desired,
        drop,
      },
    },
  }

  function commandOf(item: HeldAttempt): Command | undefined {
    const command = turn.asked.get(parseAttemptId(item.attemptId).commandId)
    return command && ledger.now(command)
  }

  function answerHeld(item: HeldAttempt, command: Command): void {
    const { number } = parseAttemptId(item.attemptId)
    const newest = newestAttempt(command)
    const current = newest?.number === number && newest.agentId === agentId
    const phase = phaseOf(command)

    if (item.phase === 'finished' || item.phase === 'interrupted') {
      if (item.outcome !== undefined && item.outcomeSha256 !== undefined)
        answerOutcome(item.attemptId, command, number, item.outcome, item.outcomeSha256)
      // Listed without its outcome, which comes with a later sync: held all the same.
      else if (current && phase === 'LOST') ledger.apply(command, { type: 'return', nowMs, agentId })
      return
    }
    if (!current || (phase !== 'OFFERED' && phase !== 'RUNNING' && phase !== 'LOST')) {
      drop.push(item.attemptId)
      return
    }
    if (item.phase === 'running') {
      if (phase === 'OFFERED') drop.push(item.attemptId)
      else {
        if (phase === 'LOST') ledger.apply(command, { type: 'return', nowMs, agentId })
        wantCancel(item.attemptId, command)
      }
      return
    }
    // Accepted. Nothing is handed out before every journal is known: another one may hold a later attempt.
    if (recovering) return
    if (phase === 'OFFERED') {
      const leaseMs = serverLeaseMs(limits.leaseMs)
      const granted = ledger.apply(command, {
        type: 'grant',
        nowMs,
        agentId,
        incarnation: request.incarnation,
        leaseMs,
      })
      ;(granted.ok ? grants : drop).push(item.attemptId)
      // Accepted too late: ended here, or the offer would be made and dropped again until the sweeper comes.
      if (!granted.ok) ledger.apply(command, { type: 'tick', nowMs })
      return
    }
    const { incarnation } = request
    const { trustedSince } = agent as Agent
    const granted = ledger.apply(command, { type: 'regrant', nowMs, agentId, incarnation, trustedSince })
    const may = granted.ok ? phaseOf(granted.command) === 'RUNNING' : granted.reason === 'granted'
    if (may && command.cancel === null) grants.push(item.attemptId)
    else if (may) wantCancel(item.attemptId, command)
    else drop.push(item.attemptId)
  }

  function wantCancel(id: string, command: Command): void {
    if (command.cancel !== null)
      desired.push({ attemptId: id, cancel: command.cancel.reason, graceMs: limits.cancelGraceMs })
  }

  function answerOutcome(id: string, command: Command, attempt: number, outcome: Outcome, outcomeSha256: string): void {
    const known = command.attempts.find((each) => each.number === attempt)
    if (known?.agentId === agentId && known.outcomeSha256 === outcomeSha256) {
      acks.push({ attemptId: id, verdict: 'duplicate' })
      return
    }
    const finished = ledger.apply(command, {
      type: 'finish',
      nowMs,
      agentId,
      attempt,
      outcome,
      outcomeSha256,
      random: context.random(),
    })
    if (finished.ok) acks.push({ attemptId: id, verdict: 'accepted' })
    // The same attempt with two outcomes: somebody else wrote in this agent's name, or the journal is damaged.
    else
      setAside(
        id,
        outcome,
        outcomeSha256,
        known !== undefined && known.outcomeSha256 !== null ? 'rejected' : 'superseded',
      )
  }

  function answerUnknown(item: HeldAttempt): void {
    const { number } = parseAttemptId(item.attemptId)
    if (
      recovering &&
      item.offer !== undefined &&
      item.offer.attemptId === item.attemptId &&
      number === item.offer.attempt
    )
      answerHeld(item, adopted(ledger.add(context.adoptCommand(item.offer)), item))
    else if (item.outcome !== undefined && item.outcomeSha256 !== undefined)
      setAside(item.attemptId, item.outcome, item.outcomeSha256, 'orphan')
    else if (item.phase === 'accepted' || item.phase === 'running') drop.push(item.attemptId)
  }

  function setAside(id: string, outcome: Outcome, outcomeSha256: string, verdict: AckVerdict): void {
    evidence.push({ attemptId: id, agentId, verdict, outcome, outcomeSha256 })
    acks.push({ attemptId: id, verdict })
  }

  /**
   * In recovery the journal knows better than a database that was set back what has run. What was only accepted never
   * did: another journal may hold an earlier attempt that has decided the command, so that nothing is made of it.
   */
  function adopted(command: Command, item: HeldAttempt): Command {
    if (!recovering || item.phase === 'accepted') return command
    const result = ledger.apply(command, {
      type: 'adopt',
      nowMs,
      agentId,
      attempt: parseAttemptId(item.attemptId).number,
      incarnation: request.incarnation,
      leaseMs: serverLeaseMs(limits.leaseMs),
    })
    return result.ok ? result.command : command
  }

  function offerOf(command: Command, attempt: Attempt): Offer {
    return {
      attemptId: attemptId(command.commandId, attempt.number),
      commandId: command.commandId,
      attempt: attempt.number,
      type: command.type,
      payload: offeredPayload(command),
      timeoutMs: attemptTimeoutMs(command, nowMs),
      takeover: command.spec.takeover,
      resultBytesMax: limits.resultBytesMax,
      createdAtMs: command.createdAtMs,
    }
  }
}
