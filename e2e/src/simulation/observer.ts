/** Sees everything that happens and says which promise it breaks. Knows no more than a stranger could: effects, answers, records. */
import type { Change } from '@agent-executor/control-server/lifecycle/agent'
import { type Command, newestAttempt, phaseOf } from '@agent-executor/control-server/lifecycle/command'
import type { AckVerdict, Offer, OutcomeState } from '@agent-executor/protocol'
import type { Server } from './server.ts'

/** R1 to R10 of docs/protocol.md, and what a broken one of them first looks like. */
export type Broken = 'R1' | 'R2' | 'R3' | 'R4' | 'R5' | 'R6' | 'R7' | 'R8' | 'R10' | 'fault'

export class Violation extends Error {
  override name = 'Violation'
  readonly promise: Broken
  constructor(promise: Broken, what: string) {
    super(`${promise}: ${what}`)
    this.promise = promise
  }
}

export type Observer = ReturnType<typeof createObserver>

type Effect = { machine: string; commandId: string; attemptId: string; paused: boolean }
type Acknowledged = { commandId: string; attempt: number; state: OutcomeState; sha256: string; decided: boolean }

export function createObserver() {
  const effects = new Set<Effect>()
  /** By attempt: the machine that began it, and how often. */
  const begun = new Map<string, { machine: string; times: number }>()
  /** By command: the attempts that were begun. */
  const tried = new Map<string, Set<string>>()
  /** By command: how many attempts its submitter allows. */
  const asked = new Map<string, number>()
  /** Submissions that were answered. */
  const submitted = new Set<string>()
  const finals = new Map<string, Command>()
  const acknowledged = new Map<string, Acknowledged>()
  let restored = false
  let adopted = 0

  const broken = (promise: Broken, what: string): never => {
    throw new Violation(promise, what)
  }

  return {
    counts: () => ({ commands: submitted.size, effects: begun.size, acknowledged: acknowledged.size, adopted }),

    asked: ({ commandId, spec }: Command): void => void asked.set(commandId, spec.retry.maxAttempts),
    submitted: ({ commandId }: Command): void => void submitted.add(commandId),

    // ── effects ───────────────────────────────────────────────────────────────────────────────────────────────────────
    begins(machine: string, { attemptId, commandId, type }: Offer): Effect {
      const before = begun.get(attemptId)
      if (before !== undefined && (type !== 'DELAY' || before.machine !== machine))
        broken('R1', `${attemptId} begins on ${machine}, it has begun on ${before.machine} already`)
      for (const other of effects)
        if (other.commandId === commandId && !other.paused)
          broken('R6', `${attemptId} begins on ${machine} while ${other.attemptId} runs on ${other.machine}`)
      begun.set(attemptId, { machine, times: (before?.times ?? 0) + 1 })
      const attempts = tried.get(commandId) ?? new Set()
      attempts.add(attemptId)
      tried.set(commandId, attempts)
      const most = asked.get(commandId) ?? 0
      if (attempts.size > most) broken('R7', `${attemptId} is run number ${attempts.size}, ${most} were asked for`)
      const effect = { machine, commandId, attemptId, paused: false }
      effects.add(effect)
      return effect
    },
    ends: (effect: Effect): void => void effects.delete(effect),

    // ── what the server stores ────────────────────────────────────────────────────────────────────────────────────────
    stored(before: Command | null, { command, entry }: Change): void {
      const { commandId } = command
      if (entry.type === 'adopted') adopted += 1
      if (before !== null && entry.from !== phaseOf(before))
        broken('fault', `${commandId}: ${entry.type} says from ${entry.from}, it was ${phaseOf(before)}`)
      const final = finals.get(commandId)
      if (final !== undefined) broken('R4', `${commandId} was ${final.status}, and then ${entry.type}`)
      if (before !== null && (newestAttempt(command)?.number ?? 0) < (newestAttempt(before)?.number ?? 0))
        broken('R5', `${commandId} went back to an earlier attempt by ${entry.type}`)
      const live = command.attempts.filter(({ finishedAtMs }) => finishedAtMs === null)
      if (live.length > 1) broken('R6', `${commandId} has two live attempts after ${entry.type}`)
      if (command.status === 'COMPLETED') {
        const deciding = command.attempts.findLast(({ state }) => state === 'SUCCEEDED')
        const wanted = before?.attempts.findLast(({ grantedAtMs }) => grantedAtMs !== null)
        if (deciding === undefined) broken('R5', `${commandId} is COMPLETED, and no attempt is`)
        if (wanted !== undefined && deciding?.number !== wanted.number)
          broken('R5', `${commandId}: attempt ${deciding?.number} decided, ${wanted.number} was the current one`)
      }
      if (command.finishedAtMs === null) return
      if (command.status !== 'COMPLETED' && command.error === null) broken('R10', `${commandId} failed without a name`)
      finals.set(commandId, command)
    },

    /** Reported as lost although the journal that the server listens to has it. */
    forgotten(attemptId: string): never {
      return broken('R10', `${attemptId} is called LOST, but its agent holds it`)
    },

    /** The server is set back: what it forgets is to come back from the journals. */
    restored(server: Server): void {
      restored = true
      finals.clear()
      for (const command of server.commands()) if (command.finishedAtMs !== null) finals.set(command.commandId, command)
      for (const commandId of submitted)
        if (server.command(commandId) === undefined && !tried.has(commandId)) submitted.delete(commandId)
    },

    // ── what an agent is told ─────────────────────────────────────────────────────────────────────────────────────────
    acknowledged(server: Server, offer: Offer, verdict: AckVerdict, state: OutcomeState, sha256: string): void {
      const { attemptId, commandId, attempt } = offer
      const counted = verdict === 'accepted' || verdict === 'duplicate'
      const kept = server.attempt(commandId, attempt)
      if (counted && !restored && kept?.outcomeSha256 !== sha256)
        broken('R3', `${attemptId} was acknowledged, and the server has ${kept?.outcomeSha256 ?? 'nothing'} of it`)
      if (!counted && !restored && kept?.outcomeSha256 === sha256)
        broken('R3', `${attemptId} is ${verdict} for its agent, and counts for the server`)
      if (counted) acknowledged.set(attemptId, { commandId, attempt, state, sha256, decided: state === 'SUCCEEDED' })
    },

    // ── when all faults have stopped ──────────────────────────────────────────────────────────────────────────────────
    settled(server: Server, outboxes: readonly string[]): void {
      if (server.recovering()) broken('R8', 'the recovery never ends')
      const [unfinished] = server.unfinished()
      if (unfinished !== undefined)
        broken('R8', `${unfinished} never ends: ${JSON.stringify(server.command(unfinished))}`)
      for (const commandId of submitted)
        if (server.command(commandId) === undefined && !restored) broken('R2', `${commandId} is gone`)
      for (const [attemptId, { commandId, attempt, sha256, decided }] of acknowledged) {
        // Of two attempts that ended before a backup and after it only the one that decided has to come back.
        if (!decided && restored) continue
        const command = server.command(commandId)
        if (
          server.attempt(commandId, attempt)?.outcomeSha256 !== sha256 ||
          (decided && command?.status !== 'COMPLETED')
        )
          broken('R3', `${attemptId} was acknowledged, and ${commandId} is ${command?.status ?? 'gone'}`)
      }
      const [unreported] = outboxes
      if (unreported !== undefined) broken('R3', `the outcome of ${unreported} is not acknowledged`)
    },
  }
}
