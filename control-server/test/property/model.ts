/**
 * What the server has to do, said a second time and shortly: the facts that its answers establish, what each answer must
 * be in their light, and the promises R1 to R9. It follows docs/protocol.md, not the code: no phases, no events, one
 * function for each call. Throws where the server and the promises disagree.
 */
import assert from 'node:assert/strict'
import type {
  AttemptState,
  CommandRecord,
  CommandType,
  HeldAttempt,
  JsonValue,
  Offer,
  Outcome,
  RegisterRequest,
  SyncRequest,
  SyncResponse,
} from '@agent-executor/protocol'
import { policy } from '../lifecycle/builders.ts'

export const LEASE_MS = 30_000
/** How long the server waits on an agent that was told LEASE_MS: 1 % and 2 s more. */
const SILENCE_MS = 32_300
export const KEY_MS = 86_400_000

/** What was asked for, defaults filled in. */
export type Wanted = {
  type: CommandType
  priority: number
  labels: string[]
  agentId: string | null
  maxAttempts: number
  retryOn: string[] | null
  takeover: 'manual' | 'auto'
  timeoutMs: number
  totalTimeoutMs: number | null
  lostAfterMs: number | null
  expiresAtMs: number | null
  notBeforeMs: number | null
}

type Attempt = {
  number: number
  agentId: string
  state: AttemptState
  offeredAtMs: number
  grantedAtMs: number | null
  lostSinceMs: number | null
  /** How long a client of the simple API may be silent. */
  leaseMs: number
  /** The line of registrations it was granted to; see `Agent`. */
  line: number
  /** Of the client of the simple API that it was handed to; null where it was granted through sync. */
  simple: number | null
  sha256: string | null
  errorCode: string | null
}

export type Known = {
  commandId: string
  wanted: Wanted
  createdAtMs: number
  status: CommandRecord['status']
  errorCode: string | null
  result: JsonValue
  cancelled: boolean
  /** Its time has come, and the sweep has seen that. */
  ready: boolean
  crashes: number
  attempts: Attempt[]
  /** As last read, without timings; '' before the first read. */
  text: string
  /** A call has changed it since. */
  touched: boolean
}

type Agent = {
  kind: 'sync' | 'simple'
  journalId: string | null
  nonce: string | null
  incarnation: number
  seq: number
  logSeq: number
  renewedAtMs: number
  /** Changes whenever a registration is not the direct successor, with all that was written since, of the one before. */
  line: number
}

type Fate = 'stays' | 'again' | [status: 'COMPLETED' | 'FAILED' | 'CANCELLED', errorCode: string | null]
type Refusal = { status: number; code: string }
const isFinal = ({ status }: Known): boolean => status !== 'PENDING' && status !== 'RUNNING'
const newestOf = (command: Known): Attempt | undefined => command.attempts.at(-1)
const grantedOf = (command: Known): Attempt[] => command.attempts.filter(({ grantedAtMs }) => grantedAtMs !== null)
const newestIs = (command: Known, state: AttemptState): boolean => newestOf(command)?.state === state

export type Model = ReturnType<typeof createModel>

export function createModel() {
  const commands: Known[] = []
  const byId = new Map<string, Known>()
  const keys = new Map<string, { body: string; commandId: string; atMs: number }>()
  const agents = new Map<string, Agent>()
  /** Effects outside: how often each attempt began. */
  const begun = new Map<string, number>()
  let nowMs = 0
  let restartedAtMs = 0
  let lines = 0

  const leaseOver = (agent: Agent): boolean => agent.renewedAtMs + SILENCE_MS <= nowMs
  const deadlinePassed = ({ wanted, createdAtMs, attempts }: Known): boolean =>
    (wanted.expiresAtMs !== null &&
      wanted.expiresAtMs <= nowMs &&
      attempts.every((each) => each.grantedAtMs === null)) ||
    (wanted.totalTimeoutMs !== null && createdAtMs + wanted.totalTimeoutMs <= nowMs)

  const end = (command: Known, status: 'COMPLETED' | 'FAILED' | 'CANCELLED', errorCode: string | null): void => {
    assert.ok(!isFinal(command), 'R4: final is final')
    const newest = newestOf(command)
    if (newest?.state === 'OFFERED') newest.state = 'WITHDRAWN'
    Object.assign(command, { status, errorCode, ready: false, touched: true })
  }

  const lose = (command: Known): void => {
    Object.assign(newestOf(command) as Attempt, { state: 'LOST', lostSinceMs: nowMs })
    command.touched = true
  }

  const withdraw = (command: Known): void => {
    ;(newestOf(command) as Attempt).state = 'WITHDRAWN'
    Object.assign(command, { ready: true, touched: true })
  }

  /** Somebody else speaks under this id now: offers go back, what was granted may have run. */
  const disown = (agentId: string): void => {
    for (const command of commands) {
      if (isFinal(command) || newestOf(command)?.agentId !== agentId) continue
      if (newestIs(command, 'OFFERED')) withdraw(command)
      else if (newestIs(command, 'RUNNING')) lose(command)
    }
  }

  const offer = (command: Known, agentId: string): Attempt => {
    assert.ok(
      command.status === 'PENDING' && command.ready && !newestIs(command, 'OFFERED'),
      'only a waiting one is offered',
    )
    assert.ok(!deadlinePassed(command), 'not after its deadline')
    const blank = {
      grantedAtMs: null,
      lostSinceMs: null,
      leaseMs: 0,
      line: 0,
      simple: null,
      sha256: null,
      errorCode: null,
    }
    const attempt: Attempt = {
      number: (newestOf(command)?.number ?? 0) + 1,
      agentId,
      state: 'OFFERED',
      offeredAtMs: nowMs,
      ...blank,
    }
    command.attempts.push(attempt)
    Object.assign(command, { ready: false, touched: true })
    return attempt
  }

  const grant = (command: Known, attempt: Attempt, line: number, leaseMs: number): void => {
    const earlier = grantedOf(command)
    assert.ok(
      earlier.every(({ state }) => state !== 'RUNNING' && state !== 'LOST'),
      'R6: one live grant at a time',
    )
    assert.ok(earlier.length < command.wanted.maxAttempts, 'R7: another grant only where retries were asked for')
    assert.ok(!command.cancelled, 'nothing that was cancelled starts')
    Object.assign(attempt, { state: 'RUNNING', grantedAtMs: nowMs, line, leaseMs })
    Object.assign(command, { status: 'RUNNING', touched: true })
  }

  /** How a command ends by an accepted outcome; 'stays' as it is, or is tried 'again'. */
  const fateOf = (command: Known, outcome: Outcome, late: boolean): Fate => {
    const { wanted, cancelled } = command
    const code = outcome.error?.code ?? 'INTERNAL_ERROR'
    const isInterrupted = outcome.state === 'INTERRUPTED'
    if (outcome.state === 'SUCCEEDED') return ['COMPLETED', null]
    if (outcome.state === 'CANCELLED' || (isInterrupted && cancelled)) return ['CANCELLED', 'CANCELLED']
    const again =
      !cancelled &&
      grantedOf(command).length < wanted.maxAttempts &&
      (wanted.retryOn === null ? outcome.error?.retryable === true : wanted.retryOn.includes(code))
    if (late && (isInterrupted || again)) return 'stays'
    if (again && isInterrupted && command.crashes >= policy.poisonAfter) return ['FAILED', 'POISONED']
    return again && !deadlinePassed(command) ? 'again' : ['FAILED', code]
  }

  const conclude = (command: Known, attempt: Attempt, outcome: Outcome, sha256: string): void => {
    const late = attempt.state === 'EXPIRED'
    const errorCode = outcome.error?.code ?? 'INTERNAL_ERROR'
    Object.assign(attempt, { state: outcome.state, sha256, lostSinceMs: null, errorCode })
    command.touched = true
    if (outcome.state === 'INTERRUPTED') command.crashes += 1
    const fate = fateOf(command, outcome, late)
    if (fate === 'stays') return
    // The jitter of the test's server is 0: the next attempt is due at once.
    if (fate === 'again') Object.assign(command, { status: 'PENDING', ready: true })
    else {
      if (outcome.state === 'SUCCEEDED') command.result = outcome.result ?? null
      end(command, ...fate)
    }
  }

  const verdictOf = (agentId: string, item: HeldAttempt): string[] => {
    const { command, number } = find(item.attemptId)
    if (command === undefined) return ['orphan']
    const attempt = command.attempts.find((each) => each.number === number)
    if (attempt !== undefined && attempt.agentId === agentId && isCurrent(command, attempt)) return ['accepted']
    const verdicts =
      attempt === undefined || attempt.sha256 === null
        ? ['superseded']
        : [attempt.agentId === agentId && attempt.sha256 === item.outcomeSha256 ? 'duplicate' : 'rejected']
    // Of the earlier attempts of others the server need not remember the hash.
    const isOld =
      attempt !== undefined &&
      attempt.agentId !== agentId &&
      attempt !== newestOf(command) &&
      attempt !== grantedOf(command).at(-1)
    return isOld ? [...verdicts, 'superseded'] : verdicts
  }

  /** Its outcome is the command's: it runs, or it was taken over and nobody was granted the next one. */
  const isCurrent = (command: Known, attempt: Attempt): boolean =>
    command.status === 'RUNNING'
      ? attempt === newestOf(command)
      : command.status === 'PENDING' && attempt.state === 'EXPIRED' && attempt === grantedOf(command).at(-1)

  const find = (attemptId: string): { command: Known | undefined; number: number } => {
    const dot = attemptId.lastIndexOf('.')
    return { command: byId.get(attemptId.slice(0, dot)), number: Number(attemptId.slice(dot + 1)) }
  }

  return {
    commands,
    agents,
    find,
    known: (commandId: string): Known | undefined => byId.get(commandId),
    at: (timeMs: number): void => {
      nowMs = timeMs
    },
    restarted(): void {
      restartedAtMs = nowMs
      for (const agent of agents.values()) agent.renewedAtMs = nowMs
    },

    /** R1 and R7, as the world outside sees them. */
    begins(attemptId: string): void {
      const count = (begun.get(attemptId) ?? 0) + 1
      begun.set(attemptId, count)
      assert.equal(count, 1, `R1: ${attemptId} began ${count} times`)
      const { command } = find(attemptId)
      const attempts = [...begun.keys()].filter((each) => find(each).command === command).length
      assert.ok(attempts <= (command?.wanted.maxAttempts ?? 0), `R7: ${attempts} attempts of ${attemptId} began`)
    },

    /** The id to expect where the key is known, 'conflict' where it was used with another body. */
    keyed(key: string | null, body: string): string | null | 'conflict' {
      const known = key === null ? undefined : keys.get(key)
      if (known === undefined) return null
      return known.body === body ? known.commandId : 'conflict'
    },

    submitted(commandId: string, wanted: Wanted, key: string | null, body: string): void {
      assert.ok(!byId.has(commandId), 'a new id')
      const ready = wanted.notBeforeMs === null || wanted.notBeforeMs <= nowMs
      const empty = {
        errorCode: null,
        result: null,
        cancelled: false,
        crashes: 0,
        attempts: [],
        text: '',
        touched: true,
      }
      const command: Known = { commandId, wanted, createdAtMs: nowMs, status: 'PENDING', ready, ...empty }
      commands.push(command)
      byId.set(commandId, command)
      if (key !== null) keys.set(key, { body, commandId, atMs: nowMs })
    },

    /** The status of the answer. */
    cancelled(command: Known): 200 | 202 | 409 {
      if (command.status === 'CANCELLED') return 200
      if (isFinal(command)) return 409
      if (!command.cancelled) Object.assign(command, { cancelled: true, touched: true })
      if (command.status === 'RUNNING') return 202
      end(command, 'CANCELLED', 'CANCELLED')
      return 200
    },

    /** `taken` is what the server handed out. */
    next(agentId: string, taken: string | null): Refusal | null {
      const agent = agents.get(agentId)
      // What this very call takes back is for the next one.
      const waited = commands.filter(({ ready }) => ready)
      if (agent?.kind === 'sync') {
        if (!leaseOver(agent)) return { status: 409, code: 'IDENTITY_CONFLICT' }
        disown(agentId)
      }
      const incarnation = agent?.kind === 'simple' ? agent.incarnation : (agent?.incarnation ?? 0) + 1
      lines += 1
      agents.set(agentId, {
        kind: 'simple',
        journalId: null,
        nonce: null,
        incarnation,
        seq: 0,
        logSeq: 0,
        renewedAtMs: nowMs,
        line: lines,
      })
      const isFor = ({ labels, agentId: pinnedTo }: Wanted) => labels.length === 0 && (pinnedTo ?? agentId) === agentId
      const candidates = waited.filter(({ wanted }) => isFor(wanted))
      const best = byUrgency(candidates.filter((command) => !deadlinePassed(command)))[0]
      // One whose deadline has passed stands in the way until the sweep has seen it.
      if (taken === null) {
        assert.ok(
          best === undefined || candidates.some(deadlinePassed),
          `${best?.commandId} waits, and nothing is handed out`,
        )
        return null
      }
      assert.equal(taken, best?.commandId, 'the most urgent one is handed out')
      const command = best as Known
      const leftMs =
        command.wanted.totalTimeoutMs === null
          ? Number.POSITIVE_INFINITY
          : command.createdAtMs + command.wanted.totalTimeoutMs - nowMs
      const leaseMs = Math.ceil((Math.min(command.wanted.timeoutMs, leftMs) * 101) / 100) + 2000
      const attempt = offer(command, agentId)
      grant(command, attempt, lines, leaseMs)
      attempt.simple = incarnation
      return null
    },

    /** A report over the simple API. */
    reported(
      agentId: string,
      commandId: string,
      attemptNumber: number | undefined,
      outcome: Outcome,
      sha256: string,
    ): Refusal | null {
      const command = byId.get(commandId)
      if (command === undefined) return { status: 404, code: 'COMMAND_NOT_FOUND' }
      const agent = agents.get(agentId)
      // One that is refused renews nothing.
      const renew = () => agent?.kind === 'simple' && Object.assign(agent, { renewedAtMs: nowMs })
      const newest = newestOf(command)
      const isNamed = (each: Attempt) => each.agentId === agentId && (attemptNumber ?? each.number) === each.number
      const isCurrentOne = command.status === 'RUNNING' && newest !== undefined && isNamed(newest)
      if (!isCurrentOne && command.attempts.some((each) => isNamed(each) && each.sha256 === sha256)) {
        renew()
        return null
      }
      if (command.status !== 'RUNNING') return { status: 400, code: 'COMMAND_NOT_RUNNING' }
      if (!isCurrentOne || agent?.kind !== 'simple' || newest.simple !== agent.incarnation)
        return { status: 400, code: 'NOT_YOUR_COMMAND' }
      renew()
      conclude(command, newest, outcome, sha256)
      return null
    },

    registered(request: RegisterRequest): Refusal | { incarnation: number } {
      const { agentId, nonce, journalId, logSeq, previousIncarnation, previousNonces } = request
      const agent = agents.get(agentId)
      if (agent?.kind === 'sync' && agent.nonce === nonce) return { incarnation: agent.incarnation }
      const sameJournal = agent === undefined || agent.journalId === journalId
      const succeeds =
        agent !== undefined &&
        sameJournal &&
        (agent.incarnation === previousIncarnation || (agent.nonce !== null && previousNonces.includes(agent.nonce)))
      if (agent !== undefined && !succeeds && !leaseOver(agent)) return { status: 409, code: 'IDENTITY_CONFLICT' }
      if (!sameJournal) disown(agentId)
      const goesOn = agent !== undefined && succeeds && logSeq >= agent.logSeq
      if (!goesOn) lines += 1
      const line = goesOn ? agent.line : lines
      const incarnation = Math.max(agent?.incarnation ?? 0, previousIncarnation) + 1
      agents.set(agentId, { kind: 'sync', journalId, nonce, incarnation, seq: 0, logSeq, renewedAtMs: nowMs, line })
      return { incarnation }
    },

    heartbeat(agentId: string, incarnation: number): Refusal | null {
      const agent = agents.get(agentId)
      if (agent?.kind !== 'sync' || incarnation > agent.incarnation) return { status: 409, code: 'NOT_REGISTERED' }
      if (incarnation < agent.incarnation) return { status: 409, code: 'INCARNATION_SUPERSEDED' }
      agent.renewedAtMs = nowMs
      return null
    },

    /** Why a sync is refused, null where it is served. */
    syncRefused(agentId: string, request: SyncRequest): Refusal | null {
      const agent = agents.get(agentId)
      if (agent?.kind !== 'sync' || request.incarnation > agent.incarnation)
        return { status: 409, code: 'NOT_REGISTERED' }
      if (request.incarnation < agent.incarnation) return { status: 409, code: 'INCARNATION_SUPERSEDED' }
      if (request.seq <= agent.seq) return { status: 409, code: 'STALE_SYNC' }
      return null
    },

    /** Holds the answer of a sync against the table of docs/protocol.md, line by line. */
    synced(agentId: string, request: SyncRequest, response: SyncResponse): void {
      const agent = agents.get(agentId) as Agent
      Object.assign(agent, { seq: request.seq, renewedAtMs: nowMs, logSeq: Math.max(agent.logSeq, request.logSeq) })
      assert.equal(response.seq, request.seq)
      assert.equal(response.incarnation, request.incarnation)
      const waited = commands.filter(({ ready }) => ready)
      const grants: string[] = []
      const drop: string[] = []
      const desired: string[] = []
      const acks: string[][] = []

      for (const item of request.held) {
        const { command, number } = find(item.attemptId)
        const newest = command && newestOf(command)
        const current = newest?.number === number && newest.agentId === agentId
        if (item.phase === 'finished' || item.phase === 'interrupted') {
          if (item.outcome !== undefined) {
            const verdicts = verdictOf(agentId, item)
            acks.push(verdicts)
            const attempt = command?.attempts.find((each) => each.number === number)
            if (verdicts[0] === 'accepted')
              conclude(command as Known, attempt as Attempt, item.outcome, item.outcomeSha256 as string)
          } else if (current && newest.state === 'LOST' && command?.status === 'RUNNING') resume(command)
          continue
        }
        const running = command?.status === 'RUNNING' && current
        if (command !== undefined && running && item.phase === 'running') {
          if (newest.state === 'LOST') resume(command)
          if (command.cancelled) desired.push(item.attemptId)
        } else if (command !== undefined && running && newest.line === agent.line) {
          // Granted to this very journal: it has not begun.
          if (newest.state === 'LOST') resume(command)
          ;(command.cancelled ? desired : grants).push(item.attemptId)
          command.touched = true
        } else if (command !== undefined && running) {
          if (newest.state === 'RUNNING') lose(command)
          drop.push(item.attemptId)
        } else if (
          command?.status === 'PENDING' &&
          current &&
          newest.state === 'OFFERED' &&
          item.phase === 'accepted'
        ) {
          if (deadlinePassed(command)) {
            drop.push(item.attemptId)
            end(command, 'FAILED', codeAtDeadline(command))
          } else {
            grant(command, newest, agent.line, SILENCE_MS)
            grants.push(item.attemptId)
          }
        } else drop.push(item.attemptId)
      }
      assert.deepEqual(response.grants, grants, 'grants')
      assert.deepEqual(response.drop, drop, 'drop')
      assert.deepEqual(
        response.desired.map((each) => each.attemptId),
        desired,
        'desired',
      )
      const told = request.held.filter(({ outcome }) => outcome !== undefined).map((each) => each.attemptId)
      assert.deepEqual(
        response.acks.map((each) => each.attemptId),
        told,
        'R3: every outcome is acknowledged',
      )
      for (const [index, { attemptId, verdict }] of response.acks.entries())
        assert.ok(acks[index]?.includes(verdict), `${attemptId} is ${acks[index]}, not ${verdict}`)

      const held = new Set(request.held.map((each) => each.attemptId))
      const expected: string[] = []
      for (const command of commands) {
        const newest = newestOf(command)
        if (newest?.agentId !== agentId || held.has(`${command.commandId}.${newest.number}`) || isFinal(command))
          continue
        if (newest.state === 'RUNNING') lose(command)
        else if (newest.state === 'OFFERED' && request.mode === 'ready')
          expected.push(`${command.commandId}.${newest.number}`)
        else if (newest.state === 'OFFERED') withdraw(command)
      }
      const repeated = response.offers.filter((each) => expected.includes(each.attemptId))
      assert.deepEqual(
        repeated.map((each) => each.attemptId).sort(),
        expected.sort(),
        'an offer that is not held is repeated',
      )
      const fresh = response.offers.filter((each) => !expected.includes(each.attemptId))
      assert.ok(request.mode === 'ready' || response.offers.length === 0, 'nothing for an agent that takes nothing')
      if (request.mode === 'ready') offered(agentId, request, repeated, fresh, waited)
    },

    swept(): void {
      for (const [key, { atMs }] of keys) if (atMs < nowMs - KEY_MS) keys.delete(key)
      for (const command of commands) {
        const newest = newestOf(command)
        if (command.status === 'RUNNING' && newest?.state === 'RUNNING' && silent(newest)) {
          const { takeover, maxAttempts } = command.wanted
          if (takeover === 'manual' || grantedOf(command).length >= maxAttempts) lose(command)
          else {
            Object.assign(newest, { state: 'EXPIRED', errorCode: 'LOST' })
            if (command.cancelled) end(command, 'CANCELLED', 'CANCELLED')
            else Object.assign(command, { status: 'PENDING', ready: true, touched: true })
          }
        }
        if (command.status === 'PENDING') {
          const { notBeforeMs } = command.wanted
          if (deadlinePassed(command)) end(command, 'FAILED', codeAtDeadline(command))
          else if (newest?.state === 'OFFERED' && newest.offeredAtMs + policy.offerMs <= nowMs) withdraw(command)
          else if (!command.ready && newest === undefined && notBeforeMs !== null && notBeforeMs <= nowMs)
            Object.assign(command, { ready: true, touched: true })
        }
      }
    },

    /** LOST ones that have to be given up by now, or, shortly after a restart, may be. */
    givenUp(command: Known): 'yes' | 'maybe' | 'no' {
      const newest = newestOf(command)
      if (command.status !== 'RUNNING' || newest?.state !== 'LOST') return 'no'
      const { timeoutMs, lostAfterMs } = command.wanted
      const sinceMs = newest.lostSinceMs as number
      const leftMs = Math.max(0, (newest.grantedAtMs as number) + timeoutMs - sinceMs)
      if (sinceMs + (lostAfterMs ?? leftMs + policy.lostGraceMs) > nowMs) return 'no'
      return restartedAtMs + SILENCE_MS > nowMs ? 'maybe' : 'yes'
    },
    giveUp: (command: Known): void => end(command, 'FAILED', 'LOST'),

    /** The record that was read is the one that is known. */
    agrees(command: Known, record: Omit<CommandRecord, 'timings'>, text: string): void {
      const newest = newestOf(command)
      const granted = grantedOf(command).at(-1)
      const shown = [granted, newest].filter(
        (each, index, all) => each !== undefined && all.indexOf(each) === index,
      ) as Attempt[]
      const holder = newest?.state === 'WITHDRAWN' && command.status !== 'PENDING' ? granted : newest
      assert.deepEqual(
        {
          status: record.status,
          errorCode: record.error?.code ?? null,
          cancelled: record.cancelRequested,
          attempt: record.attempt,
          agentId: record.agentId,
          attempts: record.attempts.map(({ attempt, agentId, state }) => [attempt, agentId, state]),
        },
        {
          status: command.status,
          errorCode: command.errorCode,
          cancelled: command.cancelled,
          attempt: newest?.number ?? 0,
          agentId: holder === undefined || holder.state === 'WITHDRAWN' ? null : holder.agentId,
          attempts: shown.map(({ number, agentId, state }) => [number, agentId, state]),
        },
        command.commandId,
      )
      if (command.status === 'COMPLETED')
        assert.deepEqual(record.result, command.result, 'R3: the result that was accepted')
      if (!command.touched) assert.equal(text, command.text, 'R4, R5, R9: what nothing has changed reads the same')
      Object.assign(command, { text, touched: false })
    },
  }

  function resume(command: Known): void {
    Object.assign(newestOf(command) as Attempt, { state: 'RUNNING', lostSinceMs: null })
    command.touched = true
  }

  function codeAtDeadline(command: Known): string {
    const { expiresAtMs } = command.wanted
    const granted = grantedOf(command).at(-1)
    if (granted === undefined) return expiresAtMs !== null && expiresAtMs <= nowMs ? 'EXPIRED' : 'TIMED_OUT'
    // What went wrong last says more than that time is up.
    return granted.errorCode as string
  }

  function silent({ agentId, grantedAtMs, leaseMs }: Attempt): boolean {
    const { kind, renewedAtMs } = agents.get(agentId) as Agent
    const atMs = grantedAtMs as number
    const fromMs = kind === 'sync' ? Math.max(atMs, renewedAtMs) : Math.max(atMs, Math.min(renewedAtMs, atMs + leaseMs))
    return fromMs + leaseMs <= nowMs
  }

  function offered(agentId: string, request: SyncRequest, repeated: Offer[], fresh: Offer[], waited: Known[]): void {
    for (const type of ['DELAY', 'HTTP_GET_JSON'] as const) {
      const want = (request.want[type] ?? 0) - repeated.filter((each) => each.type === type).length
      const candidates = waited.filter(({ wanted, ready }) => ready && wanted.type === type && mayTake(agentId, wanted))
      const right = byUrgency(candidates.filter((command) => !deadlinePassed(command))).slice(0, Math.max(0, want))
      const got = fresh.filter((each) => each.type === type)
      const gotIds = got.map((each) => each.commandId)
      const rightIds = right.map((command) => command.commandId)
      if (candidates.some(deadlinePassed))
        assert.deepEqual(gotIds, rightIds.slice(0, gotIds.length), `offers of ${type}, or fewer`)
      else assert.deepEqual(gotIds, rightIds, `offers of ${type}: the most urgent`)
      for (const each of got) assert.equal(offer(byId.get(each.commandId) as Known, agentId).number, each.attempt)
    }
  }
}

type Taker = { types: readonly string[]; labels: readonly string[] }
/** What the agents of the test say of themselves when they register. */
export const takers: ReadonlyMap<string, Taker> = new Map([
  ['a', { types: ['DELAY', 'HTTP_GET_JSON'], labels: [] }],
  ['b', { types: ['DELAY', 'HTTP_GET_JSON'], labels: ['gpu'] }],
  ['liar', { types: ['DELAY'], labels: ['gpu', 'eu'] }],
])

export const mayTake = (agentId: string, { type, labels, agentId: pinnedTo }: Wanted): boolean => {
  const taker = takers.get(agentId) as Taker
  return (
    taker.types.includes(type) &&
    labels.every((label) => taker.labels.includes(label)) &&
    (pinnedTo ?? agentId) === agentId
  )
}

/** Highest priority first, then the oldest. */
const byUrgency = (commands: readonly Known[]): Known[] =>
  [...commands].sort(
    (one, other) => other.wanted.priority - one.wanted.priority || (one.commandId < other.commandId ? -1 : 1),
  )
