/** What the server remembers of an agent, and the one turn in which an agent's call is decided. */
import type { AckVerdict, EngineAvailabilities, Outcome } from '@agent-executor/protocol'
import { type AgentKind, type Command, phaseOf } from './command.ts'
import { serverLeaseMs } from './lease-policy.ts'
import { type Entry, type LifecycleEvent, type LifecyclePolicy, transition } from './transition.ts'

export type Agent = {
  agentId: string
  kind: AgentKind
  journalId: string | null
  nonce: string | null
  /** Number of the newest registration. */
  incarnation: number
  /** Grants to earlier incarnations than this one came from another journal, or a later state of this one. */
  trustedSince: number
  logSeq: number
  seq: number
  /** The server epoch it registered in. */
  epoch: string
  /** It has shown its journal in that epoch. */
  inventoried: boolean
  /** The lease runs from here. Set anew for all when the server starts. */
  renewedAtMs: number
  lastSeenAtMs: number
  leaseMs: number
  mode: 'ready' | 'draining' | 'paused'
  version: string | null
  types: string[]
  labels: string[]
  slots: Record<string, number>
  /** Of RUN_AGENT; empty where it tells of none. */
  engines: EngineAvailabilities
  clockSkewMs: number | null
}

export const isOnline = ({ renewedAtMs, leaseMs }: Agent, nowMs: number): boolean => renewedAtMs + leaseMs > nowMs

export const agentLeaseOver = (agent: Agent, nowMs: number): boolean =>
  agent.renewedAtMs + serverLeaseMs(agent.leaseMs) <= nowMs

/** `recovering` lists the agents whose journal is still awaited after a restore; null in normal times. */
export type ServerState = { epoch: string; rev: number; recovering: readonly string[] | null }

/** What the store shows for one agent's call, all read in one transaction. */
export type Turn = {
  server: ServerState
  agent: Agent | null
  /** The commands asked for by id, and `owned`; the former with every attempt that was granted to this agent. */
  asked: ReadonlyMap<string, Command>
  /** Commands whose newest attempt is OFFERED to, RUNNING on or LOST by this agent. */
  owned: readonly Command[]
  /** Commands this agent may take, best first within each type, no more than it wants. */
  ready: readonly Command[]
}

/** A report that changes nothing, kept all the same. */
export type Evidence = {
  attemptId: string
  agentId: string
  verdict: AckVerdict
  outcome: Outcome
  outcomeSha256: string
}

export type Change = { command: Command; entry: Entry }

/** What the store writes, all in the same transaction, and the answer for the caller. */
export type TurnDecision<Answer> = {
  agent?: Agent
  changes: readonly Change[]
  evidence: readonly Evidence[]
  /** A new epoch begins: every registration is void and every journal is asked for. */
  newEpoch?: string
  recoveryEnded?: boolean
  answer: Answer
}

/** Collects the transitions of one turn, so that later steps see what earlier ones did. */
export const createLedger = (policy: LifecyclePolicy) => {
  const current = new Map<string, Command>()
  const changes: Change[] = []
  return {
    changes,
    now: (command: Command): Command => current.get(command.commandId) ?? command,
    /** A command that the database does not know, made from an offer in a journal, which may have several of it. */
    add(command: Command): Command {
      const added = current.get(command.commandId)
      if (added !== undefined) return added
      const to = phaseOf(command)
      current.set(command.commandId, command)
      changes.push({ command, entry: { type: 'recovered', from: null, to, attempt: null, agentId: null } })
      return command
    },
    /** Applies the event; answers the reason where it is refused. */
    apply(command: Command, event: LifecycleEvent): { ok: true; command: Command } | { ok: false; reason: string } {
      const moved = transition(current.get(command.commandId) ?? command, event, policy)
      if (!moved.ok) return moved
      current.set(moved.command.commandId, moved.command)
      changes.push({ command: moved.command, entry: moved.entry })
      return moved
    },
  }
}
