/**
 * The control server without HTTP and database: the decisions of `lifecycle/` over maps, in the order in which routes,
 * sweeper and store bring them together.
 */
import type { Agent, Change, Turn, TurnDecision } from '@agent-executor/control-server/lifecycle/agent'
import {
  type Attempt,
  type Command,
  lastGrantedAttempt,
  newestAttempt,
  phaseOf,
} from '@agent-executor/control-server/lifecycle/command'
import { heartbeat } from '@agent-executor/control-server/lifecycle/heartbeat'
import { leaseExpiresAtMs, serverLeaseMs } from '@agent-executor/control-server/lifecycle/lease-policy'
import { laneOf, mayTake, parseLane } from '@agent-executor/control-server/lifecycle/matching'
import { register } from '@agent-executor/control-server/lifecycle/register'
import { commandOfOffer } from '@agent-executor/control-server/lifecycle/submission'
import { answerSync } from '@agent-executor/control-server/lifecycle/sync'
import {
  dueAtMs,
  isReady,
  type LifecycleEvent,
  type LifecyclePolicy,
  transition,
} from '@agent-executor/control-server/lifecycle/transition'
import {
  type HeartbeatRequest,
  parseAttemptId,
  type RegisterRequest,
  type RegisterResponse,
  type SyncRequest,
  type SyncResponse,
} from '@agent-executor/protocol'

export type Answer<Response> = { ok: true; response: Response } | { ok: false; code: string }

/** Never changed in place, so that a copy of the maps is a backup. */
type Stored = { command: Command; attempts: ReadonlyMap<number, Attempt> }
type State = {
  epoch: string
  rev: number
  recovering: boolean
  commands: Map<string, Stored>
  agents: Map<string, Agent>
}
export type Backup = { state: State }

/** Told of everything that is stored, after the commit. */
type ServerObserver = {
  stored: (before: Command | null, change: Change) => void
}

export type ServerOptions = {
  policy: LifecyclePolicy
  leaseMs: number
  nowMs: () => number
  random: () => number
  newId: () => string
  observer: ServerObserver
  /** Called right before and right after a commit; what it throws is a crash there. */
  crashPoint: (place: 'before' | 'after') => void
  /** False: a disk on which a commit is not durable, which must be found out. */
  fsync: boolean
}

/** Commits that a disk without fsync may lose at most. */
const UNSYNCED_MAX = 4

export type Server = ReturnType<typeof createServer>

const copyOf = (state: State): State => ({
  ...state,
  commands: new Map(state.commands),
  agents: new Map(state.agents),
})

export function createServer(options: ServerOptions) {
  const { policy, leaseMs, nowMs, random, newId, observer, crashPoint } = options
  const limits = { leaseMs, syncMs: Math.floor(leaseMs / 3), cancelGraceMs: 1000, resultBytesMax: 1_000_000 }
  let state: State = { epoch: newId(), rev: 0, recovering: false, commands: new Map(), agents: new Map() }
  /** Ids of what is not final, oldest first. */
  let open = new Set<string>()
  /** A LOST attempt is not given up before, because of a restart. */
  let postponed = new Map<string, number>()

  const unsynced: State[] = []
  const committing = (): void => {
    crashPoint('before')
    if (options.fsync) return
    unsynced.push(copyOf(state))
    if (unsynced.length > UNSYNCED_MAX) unsynced.shift()
  }

  const awaited = (): string[] =>
    [...state.agents.values()]
      .filter((agent) => agent.kind === 'sync' && (!agent.inventoried || agent.epoch !== state.epoch))
      .map(({ agentId }) => agentId)

  /** As the store keeps it: all attempts, of which the newest and the newest granted are shown. */
  const save = (change: Change): void => {
    const { command } = change
    const before = state.commands.get(command.commandId)
    const attempts = new Map(before?.attempts)
    for (const attempt of command.attempts) attempts.set(attempt.number, attempt)
    const shown = [lastGrantedAttempt(command), newestAttempt(command)]
    const kept = { ...command, attempts: command.attempts.filter((attempt) => shown.includes(attempt)) }
    state.commands.set(command.commandId, { command: kept, attempts })
    if (command.finishedAtMs === null) open.add(command.commandId)
    else open.delete(command.commandId)
    state.rev += 1
    observer.stored(before?.command ?? null, change)
  }

  const shownTo = (agentId: string, { command, attempts }: Stored): Command => {
    const granted = (each: Attempt) => each.agentId === agentId && each.grantedAtMs !== null
    if (attempts.size === command.attempts.length) return command
    const shown = [...attempts.values()].filter((each) => granted(each) || command.attempts.includes(each))
    return { ...command, attempts: shown.sort((a, b) => a.number - b.number) }
  }

  const lease = <Result>(
    agentId: string,
    ask: readonly string[],
    want: Readonly<Record<string, number>>,
    decide: (turn: Turn) => TurnDecision<Result>,
  ): Result => {
    const agent = state.agents.get(agentId) ?? null
    const live = [...open].map((commandId) => (state.commands.get(commandId) as Stored).command)
    const owned = live.filter(
      (command) => newestAttempt(command)?.agentId === agentId && phaseOf(command) !== 'WAITING',
    )
    const asked = new Map(owned.map((command) => [command.commandId, command]))
    for (const commandId of ask) {
      const stored = state.commands.get(commandId)
      if (stored !== undefined) asked.set(commandId, shownTo(agentId, stored))
    }
    const fits = (command: Command) => agent !== null && mayTake(agent, parseLane(laneOf(command)))
    const ready = Object.entries(want).flatMap(([type, count]) =>
      count <= 0
        ? []
        : live
            .filter((command) => command.type === type && isReady(command) && fits(command))
            .sort((a, b) => b.priority - a.priority || (a.commandId < b.commandId ? -1 : 1))
            .slice(0, count),
    )
    const { epoch, rev, recovering } = state
    const decision = decide({
      server: { epoch, rev, recovering: recovering ? awaited() : null },
      agent,
      owned,
      asked,
      ready,
    })
    committing()
    if (decision.agent) state.agents.set(agentId, decision.agent)
    for (const change of decision.changes) save(change)
    if (decision.newEpoch) beginEpoch(decision.newEpoch)
    if (decision.recoveryEnded) state.recovering = false
    crashPoint('after')
    return decision.answer
  }

  const beginEpoch = (epoch: string): void => {
    state.epoch = epoch
    state.rev += 1
    state.recovering = awaited().length > 0
  }

  const move = (command: Command, event: LifecycleEvent): void => {
    const moved = transition(command, event, policy)
    if (moved.ok) save({ command: moved.command, entry: moved.entry })
  }

  const commandOf = (commandId: string): Command | undefined => state.commands.get(commandId)?.command

  return {
    submit(command: Command): void {
      committing()
      save({
        command,
        entry: { type: 'submitted', from: null, to: phaseOf(command), attempt: null, agentId: null },
      })
      crashPoint('after')
    },

    cancel(commandId: string): void {
      const command = commandOf(commandId)
      const { recovering } = state
      const reason = 'not needed any more'
      if (command !== undefined) move(command, { type: 'cancel', nowMs: nowMs(), reason, recovering })
    },

    register(request: RegisterRequest): Answer<RegisterResponse> {
      const answer = lease(request.agentId, [], {}, (turn) =>
        register(turn, request, { nowMs: nowMs(), policy, limits }),
      )
      if (!answer.ok) return { ok: false, code: answer.code }
      const { incarnation, protocol, recovery } = answer
      const { epoch, rev } = state
      return {
        ok: true,
        response: { incarnation, epoch, rev, leaseMs, syncMs: limits.syncMs, protocol, recovery },
      }
    },

    sync(agentId: string, request: SyncRequest): Answer<SyncResponse> {
      const ask = new Set(request.held.map(({ attemptId }) => parseAttemptId(attemptId).commandId))
      const answer = lease(agentId, [...ask], request.mode === 'ready' ? request.want : {}, (turn) =>
        answerSync(turn, request, {
          agentId,
          nowMs: nowMs(),
          random,
          policy,
          limits,
          newEpoch: newId(),
          adoptCommand: commandOfOffer,
        }),
      )
      return answer.ok
        ? { ok: true, response: { ...answer.response, rev: state.rev } }
        : { ok: false, code: answer.code }
    },

    heartbeat(agentId: string, request: HeartbeatRequest): Answer<{ incarnation: number; leaseMs: number }> {
      const answer = lease(agentId, [], {}, (turn) => heartbeat(turn, request, { agentId, nowMs: nowMs() }))
      return answer.ok
        ? { ok: true, response: { incarnation: request.incarnation, leaseMs: answer.leaseMs } }
        : { ok: false, code: answer.code }
    },

    sweep(): void {
      if (state.recovering) return
      const now = nowMs()
      for (const commandId of open) {
        const command = (state.commands.get(commandId) as Stored).command
        const newest = newestAttempt(command)
        const agent = newest && state.agents.get(newest.agentId)
        if (phaseOf(command) === 'RUNNING' && newest && agent && leaseExpiresAtMs(newest, agent) <= now)
          move(command, { type: 'leaseOver', nowMs: now, random: random() })
      }
      for (const commandId of open) {
        const command = (state.commands.get(commandId) as Stored).command
        const notBeforeMs = phaseOf(command) === 'LOST' ? (postponed.get(commandId) ?? 0) : 0
        const due = Math.max(notBeforeMs, dueAtMs(command, policy) ?? Number.POSITIVE_INFINITY)
        if (due <= now) move(command, { type: 'tick', nowMs: now })
      }
    },

    /** When the next lease is over, unless it is renewed. */
    leaseOverMs(): number {
      let firstMs = Number.POSITIVE_INFINITY
      for (const commandId of open) {
        const command = (state.commands.get(commandId) as Stored).command
        const newest = newestAttempt(command)
        const agent = newest && state.agents.get(newest.agentId)
        if (newest && agent && phaseOf(command) === 'RUNNING')
          firstMs = Math.min(firstMs, leaseExpiresAtMs(newest, agent))
      }
      return firstMs
    },

    /** Everything that was not synced is gone. */
    cutPower(lost: number): void {
      state = unsynced[unsynced.length - Math.floor(lost * (unsynced.length + 1))] ?? state
      unsynced.length = 0
    },

    /** Started again after a crash, or with a backup in place of its database. */
    restart(backup: Backup | null): void {
      if (backup !== null) state = copyOf(backup.state)
      const now = nowMs()
      open = new Set(
        [...state.commands.values()].flatMap(({ command }) =>
          command.finishedAtMs === null ? [command.commandId] : [],
        ),
      )
      postponed = new Map()
      for (const agent of state.agents.values()) state.agents.set(agent.agentId, { ...agent, renewedAtMs: now })
      for (const commandId of open) {
        const agentId = newestAttempt((state.commands.get(commandId) as Stored).command)?.agentId
        const agent = agentId === undefined ? undefined : state.agents.get(agentId)
        if (agent !== undefined) postponed.set(commandId, now + serverLeaseMs(agent.leaseMs))
      }
      if (backup !== null) beginEpoch(newId())
    },

    backup: (): Backup => ({ state: copyOf(state) }),
    recovering: (): boolean => state.recovering,
    agent: (agentId: string): Agent | undefined => state.agents.get(agentId),
    agents: (): number => state.agents.size,
    command: commandOf,
    commands: (): Command[] => [...state.commands.values()].map(({ command }) => command),
    unfinished: (): string[] => [...open],
    attempt: (commandId: string, number: number): Attempt | undefined =>
      state.commands.get(commandId)?.attempts.get(number),
  }
}
