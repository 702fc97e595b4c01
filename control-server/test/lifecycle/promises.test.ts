/**
 * The promises R1, R2, R4, R6, R7 and R8 against what a network and machines do: requests and answers that are lost, come
 * twice or late, agents that crash, lose or restore their journal, a server that is set back. The server is the real
 * lifecycle over a map instead of a database; the agents are small and follow the rules of docs/protocol.md.
 */
import type { HeldAttempt, Offer, Outcome, RegisterRequest, SyncRequest, SyncResponse } from '@agent-executor/protocol'
import t from 'tap'
import type { Agent, ServerState, Turn, TurnDecision } from '../../src/lifecycle/agent.ts'
import { type Command, newestAttempt, phaseOf } from '../../src/lifecycle/command.ts'
import { leaseExpiresAtMs } from '../../src/lifecycle/lease-policy.ts'
import { register } from '../../src/lifecycle/register.ts'
import { commandOfOffer } from '../../src/lifecycle/submission.ts'
import { answerSync } from '../../src/lifecycle/sync.ts'
import { dueAtMs, isReady, type LifecycleEvent, transition } from '../../src/lifecycle/transition.ts'
import {
  failure,
  frozen,
  hashOf,
  interrupted,
  LEASE_MS,
  policy,
  seededRandom,
  stored,
  succeeded,
  syncContext,
  waiting,
} from './builders.ts'

const AGENT_IDS = ['x', 'y', 'z']

type Entry = { offer: Offer; phase: 'ACCEPTED' | 'STARTED' | 'FINISHED' | 'ACKED'; outcome: Outcome | null }
type Journal = {
  journalId: string
  incarnation: number
  nonces: string[]
  logSeq: number
  revSeen: number
  entries: Map<string, Entry>
}
/** One machine with one agent: the process may be down, the journal stays. */
type Machine = {
  agentId: string
  journal: Journal
  up: boolean
  registration: { incarnation: number; epoch: string; recovery: boolean } | null
  seq: number
  /** Where the journal was before this process wrote to it: a copy must not catch up with what the server has seen. */
  logSeqFound: number
  leaseEndsMs: number
  active: Set<string>
}
type Server = {
  state: Omit<ServerState, 'recovering'> & { recovering: boolean }
  commands: Map<string, Command>
  agents: Map<string, Agent>
}

function world(seed: number) {
  const random = seededRandom(seed)
  const chance = (probability: number) => random() < probability
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)] as Value
  const story: string[] = []
  const starts = new Map<string, number>()
  const finals = new Map<string, string>()
  const onTheWay: { machine: Machine; request: SyncRequest }[] = []
  let nowMs = 0
  let ids = 0
  let server: Server = {
    state: { epoch: 'epoch-0', rev: 0, recovering: false },
    commands: new Map(),
    agents: new Map(),
  }
  let backup: Server | null = null

  const newJournal = (): Journal => ({
    journalId: `journal-${ids++}`,
    incarnation: 0,
    nonces: [],
    logSeq: 0,
    revSeen: 0,
    entries: new Map(),
  })
  const machines = AGENT_IDS.map(
    (agentId): Machine => ({
      agentId,
      journal: newJournal(),
      up: true,
      registration: null,
      seq: 0,
      logSeqFound: 0,
      leaseEndsMs: 0,
      active: new Set(),
    }),
  )
  const copies = new Map<Machine, Journal>()

  const broken = (what: string): never => {
    throw new Error(`SEED=${seed}: ${what}\n${story.join('\n')}`)
  }

  // ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────
  const awaited = () =>
    [...server.agents.values()]
      .filter((agent) => agent.kind === 'sync' && (!agent.inventoried || agent.epoch !== server.state.epoch))
      .map(({ agentId }) => agentId)
  const put = (command: Command): void => {
    server.state.rev++
    server.commands.set(command.commandId, stored(command))
    const { status, commandId } = command
    const before = finals.get(commandId)
    if (before !== undefined && before !== status) broken(`R4: ${commandId} was ${before} and is ${status}`)
    if (command.finishedAtMs !== null) finals.set(commandId, status)
    const live = command.attempts.filter(({ state }) => state === 'RUNNING' || state === 'OFFERED')
    if (live.length > 1) broken(`R6: two live attempts of ${commandId}`)
  }
  const move = (command: Command, event: LifecycleEvent): void => {
    const moved = transition(frozen(command), event, policy)
    if (moved.ok) put(moved.command)
  }
  const lease = <Answer>(
    agentId: string,
    ask: string[],
    want: number,
    decide: (turn: Turn) => TurnDecision<Answer>,
  ): Answer => {
    const commands = [...server.commands.values()]
    const owned = commands.filter(
      (command) =>
        newestAttempt(command)?.agentId === agentId && ['OFFERED', 'RUNNING', 'LOST'].includes(phaseOf(command)),
    )
    const asked = new Map(owned.map((command) => [command.commandId, command]))
    for (const commandId of ask) {
      const command = server.commands.get(commandId)
      if (command) asked.set(commandId, command)
    }
    const { epoch, rev, recovering } = server.state
    const decision = decide({
      server: { epoch, rev, recovering: recovering ? awaited() : null },
      agent: server.agents.get(agentId) ?? null,
      owned,
      asked,
      ready: commands.filter(isReady).slice(0, want),
    })
    if (decision.agent) server.agents.set(agentId, decision.agent)
    for (const { command } of decision.changes) put(command)
    if (decision.newEpoch) beginEpoch(decision.newEpoch)
    if (decision.recoveryEnded) server.state.recovering = false
    return decision.answer
  }
  const beginEpoch = (epoch: string): void => {
    server.state = { epoch, rev: server.state.rev + 1, recovering: true }
    if (awaited().length === 0) server.state.recovering = false
  }
  const sweep = (): void => {
    if (server.state.recovering) return
    for (const command of server.commands.values()) {
      const newest = newestAttempt(command)
      const agent = newest && server.agents.get(newest.agentId)
      if (phaseOf(command) === 'RUNNING' && newest && agent && leaseExpiresAtMs(newest, agent) <= nowMs)
        move(command, { type: 'leaseOver', nowMs, random: random() })
    }
    for (const command of server.commands.values())
      if ((dueAtMs(command, policy) ?? Number.POSITIVE_INFINITY) <= nowMs) move(command, { type: 'tick', nowMs })
  }

  // ── the agents ──────────────────────────────────────────────────────────────────────────────────────────────────────
  const write = (machine: Machine, body: () => void): void => {
    body()
    machine.journal.logSeq++
  }
  const finishRun = (machine: Machine, attemptId: string, outcome: Outcome): void => {
    const entry = machine.journal.entries.get(attemptId)
    machine.active.delete(attemptId)
    if (entry?.phase === 'ACCEPTED' || entry?.phase === 'STARTED')
      write(machine, () => Object.assign(entry, { phase: 'FINISHED', outcome }))
  }
  const begin = (machine: Machine, attemptId: string, offer: Offer): void => {
    const commandId = offer.commandId
    for (const other of machines)
      for (const each of other.active)
        if (each.startsWith(`${commandId}.`) && (each !== attemptId || other !== machine))
          broken(`R6: ${each} runs on ${other.agentId} while ${attemptId} starts`)
    machine.active.add(attemptId)
  }
  const start = (machine: Machine, attemptId: string, entry: Entry): void => {
    story.push(`${nowMs} ${machine.agentId} starts ${attemptId}`)
    write(machine, () => Object.assign(entry, { phase: 'STARTED' }))
    starts.set(attemptId, (starts.get(attemptId) ?? 0) + 1)
    if ((starts.get(attemptId) ?? 0) > 1) broken(`R1: ${attemptId} was started twice`)
    const { commandId } = entry.offer
    const earlier = [...starts.keys()].some((each) => each.startsWith(`${commandId}.`) && each !== attemptId)
    const maxAttempts = Number(/-(\d)$/.exec(commandId)?.[1])
    if (earlier && maxAttempts === 1) broken(`R7: ${attemptId} is a second run that nobody asked for`)
    begin(machine, attemptId, entry.offer)
  }
  /** DELAY goes on after a crash; a fetch that was in flight is interrupted. */
  const boot = (machine: Machine): void => {
    const logSeqFound = machine.journal.logSeq
    Object.assign(machine, { up: true, registration: null, seq: 0, logSeqFound, leaseEndsMs: 0, active: new Set() })
    for (const [attemptId, entry] of machine.journal.entries)
      if (entry.phase === 'STARTED' && entry.offer.type === 'HTTP_GET_JSON') finishRun(machine, attemptId, interrupted)
  }
  const die = (machine: Machine): void => {
    Object.assign(machine, { up: false, registration: null, active: new Set() })
  }
  const fence = (): void => {
    for (const machine of machines)
      if (nowMs >= machine.leaseEndsMs - 2000)
        for (const attemptId of [...machine.active])
          if (machine.journal.entries.get(attemptId)?.offer.takeover === 'auto')
            finishRun(machine, attemptId, interrupted)
  }
  const registering = (machine: Machine, faults: boolean): void => {
    const { journal, agentId } = machine
    const nonce = `nonce-${ids++}`
    const request: RegisterRequest = {
      ...{ agentId, journalId: journal.journalId, nonce, previousNonces: [...journal.nonces] },
      ...{ previousIncarnation: journal.incarnation, logSeq: machine.logSeqFound, protocol: { min: 1, max: 1 } },
      ...{ version: '1', types: ['DELAY', 'HTTP_GET_JSON'], labels: [], slots: {} },
    }
    journal.nonces.push(nonce)
    if (faults && chance(0.1)) return
    const call = () =>
      lease(agentId, [], 0, (turn) => register(turn, request, { nowMs, policy, limits: { leaseMs: LEASE_MS } }))
    const answer = call()
    const { epoch, rev } = server.state
    story.push(`${nowMs} ${agentId} registers: ${answer.ok ? answer.incarnation : answer.code}`)
    if (!answer.ok || (faults && chance(0.15))) return
    if (faults && chance(0.1)) call()
    if (answer.recovery)
      for (const entry of journal.entries.values())
        if (entry.phase === 'ACKED' && entry.outcome !== null) entry.phase = 'FINISHED'
    Object.assign(journal, { incarnation: answer.incarnation, nonces: [], revSeen: rev })
    Object.assign(machine, {
      registration: { incarnation: answer.incarnation, epoch, recovery: answer.recovery },
      seq: 0,
    })
  }
  const requestOf = (machine: Machine): SyncRequest => {
    const { journal, registration } = machine
    const held = [...journal.entries].flatMap(([attemptId, { phase, outcome, offer }]): HeldAttempt[] => {
      if (phase === 'ACKED') return []
      const shown = registration?.recovery ? { offer } : {}
      if (phase === 'ACCEPTED') return [{ attemptId, phase: 'accepted', ...shown }]
      if (phase === 'STARTED' || outcome === null) return [{ attemptId, phase: 'running', ...shown }]
      const told = chance(0.9) ? { outcome, outcomeSha256: hashOf(outcome) } : {}
      return [{ attemptId, phase: outcome.state === 'INTERRUPTED' ? 'interrupted' : 'finished', ...told, ...shown }]
    })
    return {
      ...{
        incarnation: registration?.incarnation ?? 0,
        seq: ++machine.seq,
        epoch: registration?.epoch ?? '',
        revSeen: journal.revSeen,
      },
      ...{
        logSeq: journal.logSeq,
        mode: chance(0.95) ? 'ready' : 'draining',
        want: { DELAY: 2, HTTP_GET_JSON: 2 },
        held,
      },
    }
  }
  const serverSync = (machine: Machine, request: SyncRequest) => {
    const ask = request.held.map(({ attemptId }) => attemptId.slice(0, attemptId.lastIndexOf('.')))
    const context = syncContext({
      agentId: machine.agentId,
      nowMs,
      random,
      newEpoch: `epoch-${ids++}`,
      adoptCommand: commandOfOffer,
    })
    const answer = lease(machine.agentId, ask, request.mode === 'ready' ? 4 : 0, (turn) =>
      answerSync(turn, request, context),
    )
    story.push(
      `${nowMs} ${machine.agentId} ${JSON.stringify({ ...request, want: undefined })} ${JSON.stringify(answer)}`,
    )
    return answer.ok ? { ...answer, response: { ...answer.response, rev: server.state.rev } } : answer
  }
  const syncing = (machine: Machine, faults: boolean): void => {
    if (machine.registration === null) registering(machine, faults)
    if (machine.registration === null) return
    const request = structuredClone(requestOf(machine))
    const sentMs = nowMs
    if (faults && chance(0.1)) onTheWay.push({ machine, request })
    if (faults && chance(0.1)) return
    const answer = serverSync(machine, request)
    if (faults && chance(0.05)) serverSync(machine, request)
    if (faults && chance(0.1)) return
    if (answer.ok) {
      machine.leaseEndsMs = Math.max(machine.leaseEndsMs, sentMs + answer.response.leaseMs)
      performing(machine, answer.response, request)
    } else if (answer.code === 'INCARNATION_SUPERSEDED') die(machine)
    else if (answer.code === 'NOT_REGISTERED' || answer.code === 'EPOCH_CHANGED') machine.registration = null
  }
  const performing = (machine: Machine, response: SyncResponse, request: SyncRequest): void => {
    const { journal, active } = machine
    const entryOf = (attemptId: string) => journal.entries.get(attemptId)
    if (machine.registration !== null) machine.registration.recovery = response.recovery
    for (const { attemptId } of response.acks) {
      const entry = entryOf(attemptId)
      if (entry?.phase === 'FINISHED') write(machine, () => Object.assign(entry, { phase: 'ACKED' }))
    }
    for (const attemptId of response.drop) {
      const entry = entryOf(attemptId)
      if (entry?.phase === 'STARTED') finishRun(machine, attemptId, interrupted)
      if (entry) write(machine, () => Object.assign(entry, { phase: 'ACKED' }))
      active.delete(attemptId)
    }
    for (const { attemptId } of response.desired)
      finishRun(machine, attemptId, { ...failure('CANCELLED'), state: 'CANCELLED' })
    for (const attemptId of response.grants) {
      const entry = entryOf(attemptId)
      if (entry?.phase === 'ACCEPTED' && nowMs < machine.leaseEndsMs - 2000) start(machine, attemptId, entry)
    }
    // Not in recovery: another journal, not shown yet, may hold a later attempt.
    for (const { attemptId, phase } of response.recovery ? [] : request.held) {
      const entry = entryOf(attemptId)
      if (phase === 'running' && entry?.phase === 'STARTED' && !active.has(attemptId))
        begin(machine, attemptId, entry.offer)
    }
    for (const offer of response.offers) {
      const entry = entryOf(offer.attemptId)
      if (entry === undefined || (entry.phase === 'ACKED' && entry.outcome === null))
        write(machine, () => journal.entries.set(offer.attemptId, { offer, phase: 'ACCEPTED', outcome: null }))
      else if (entry.phase === 'ACKED') entry.phase = 'FINISHED'
    }
    journal.revSeen = Math.max(journal.revSeen, response.rev)
  }

  const submit = (): void => {
    const maxAttempts = pick([1, 1, 2, 3])
    const commandId = `c${ids++}-${maxAttempts}`
    put(
      waiting(commandId, {
        ...{ createdAtMs: nowMs, maxAttempts, type: pick(['DELAY', 'HTTP_GET_JSON']) },
        takeover: maxAttempts > 1 ? pick(['manual', 'auto']) : 'manual',
        expiresAtMs: chance(0.2) ? nowMs + 60_000 : null,
        lostAfterMs: chance(0.3) ? 60_000 : null,
        backoff: { initialMs: 1000, maxMs: 5000, factor: 2 },
      }),
    )
  }

  const step = (): void => {
    nowMs += Math.floor(random() ** 4 * 40_000)
    fence()
    if (chance(0.9)) sweep()
    const machine = pick(machines)
    const { journal } = machine
    const what = random()
    if (what < 0.1) submit()
    else if (what < 0.62) {
      if (machine.up) syncing(machine, true)
      else boot(machine)
    } else if (what < 0.74) {
      const [attemptId] = [...machine.active]
      if (attemptId !== undefined)
        finishRun(machine, attemptId, pick([succeeded(), failure('HTTP_ERROR'), failure('NETWORK_ERROR', true)]))
    } else if (what < 0.8) die(machine)
    else if (what < 0.86) {
      const late = onTheWay.shift()
      if (late) serverSync(late.machine, late.request)
    } else if (what < 0.9) {
      const command = pick([...server.commands.values()])
      if (command && chance(0.3)) move(command, { type: 'cancel', nowMs, reason: 'no more needed' })
    } else if (what < 0.93) copies.set(machine, structuredClone(journal))
    else if (what < 0.96 && server.state.recovering) {
      // What the server has forgotten and then a journal too, nobody can know: that pair of faults is not promised.
    } else if (what < 0.95) {
      // Restored from an old copy. One that is as new as the server's own memory of it cannot be told from a restart.
      const copy = copies.get(machine)
      const seen = server.agents.get(machine.agentId)
      if (
        copy === undefined ||
        seen?.journalId !== copy.journalId ||
        copy.logSeq >= seen.logSeq ||
        journal.journalId !== copy.journalId
      )
        return
      story.push(`${nowMs} ${machine.agentId}: journal restored`)
      die(machine)
      machine.journal = structuredClone(copy)
      backup = null
    } else if (what < 0.96) {
      story.push(`${nowMs} ${machine.agentId}: journal lost`)
      die(machine)
      machine.journal = newJournal()
      backup = null
    } else if (what < 0.98) {
      if (server.agents.size === AGENT_IDS.length && !server.state.recovering) backup = structuredClone(server)
    } else if (backup !== null && chance(0.5)) {
      story.push(`${nowMs} server restored to revision ${backup.state.rev}`)
      server = structuredClone(backup)
      finals.clear()
      for (const { commandId, status, finishedAtMs } of server.commands.values())
        if (finishedAtMs !== null) finals.set(commandId, status)
      for (const agent of server.agents.values()) agent.renewedAtMs = nowMs
      beginEpoch(`epoch-${ids++}`)
      onTheWay.length = 0
    }
  }

  /** R8: no more faults, and everything ends. */
  const settle = (): void => {
    const unfinished = () => [...server.commands.values()].filter(({ finishedAtMs }) => finishedAtMs === null)
    for (let round = 0; round < 400 && unfinished().length > 0; round++) {
      nowMs += round < 50 ? 5000 : 60_000
      fence()
      sweep()
      for (const machine of machines) {
        if (!machine.up) boot(machine)
        syncing(machine, false)
        for (const attemptId of machine.active) finishRun(machine, attemptId, succeeded())
      }
    }
    const [left] = unfinished()
    if (left) broken(`R8: ${left.commandId} never ends: ${JSON.stringify(left, null, 1)}`)
  }
  return { step, settle, started: () => starts.size }
}

t.test('whatever is lost, late, repeated, killed or set back: nothing runs twice, and everything ends', async (t) => {
  const single = process.env.SEED
  const first = Number(single ?? Date.now() % 1_000_000) * 10_000
  t.comment(`SEED=${first / 10_000} repeats this run`)
  let started = 0
  for (let run = 0; run < 400; run++) {
    const one = world(first + run)
    for (let step = 0; step < 150; step++) one.step()
    one.settle()
    started += one.started()
  }
  t.comment(`${started} attempts were started`)
  t.ok(started > 2000, 'enough to mean something')
})
