// The lifecycle without HTTP and without a database: whatever happens in whatever order, its promises hold.
// FC_RUNS sets the number of runs of each property, FC_SEED repeats those that printed it.
import assert from 'node:assert/strict'
import { attemptId, type HeldAttempt, type Outcome } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import type { Agent, TurnDecision } from '../../src/lifecycle/agent.ts'
import { type Command, lastGrantedAttempt, newestAttempt, phaseOf } from '../../src/lifecycle/command.ts'
import { register } from '../../src/lifecycle/register.ts'
import { answerSync, type Synced } from '../../src/lifecycle/sync.ts'
import { attemptTimeoutMs, dueAtMs, isReady, type LifecycleEvent, transition } from '../../src/lifecycle/transition.ts'
import {
  agent,
  type CommandOptions,
  failure,
  frozen,
  hashOf,
  interrupted,
  policy,
  registerRequest,
  stored,
  succeeded,
  syncContext,
  syncRequest,
  turn,
  waiting,
  withOffer,
} from '../lifecycle/builders.ts'

const RUNS = Number(process.env.FC_RUNS ?? 4000)
const seed = process.env.FC_SEED
t.setTimeout(3_600_000)

/** Throws, with the shortest counterexample, where the property does not hold. */
const holds = <Given>(name: string, property: fc.IProperty<Given>): void => {
  t.test(name, async (t) => {
    const details = fc.check(property, {
      numRuns: RUNS,
      includeErrorInReport: true,
      ...(seed === undefined ? {} : { seed: Number(seed) }),
    }) as fc.RunDetails<Given>
    t.comment(`FC_SEED=${details.seed} FC_RUNS=${RUNS}`)
    if (details.failed) {
      t.comment(fc.defaultReportMessage(details))
      throw details.errorInstance
    }
    t.equal(details.numRuns, RUNS)
  })
}

// ── Anything that can be ─────────────────────────────────────────────────────────────────────────────────────────────

const rarely = <Value>(arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })
const durationMs = fc.constantFrom(0, 1, 1000, 29_999, 30_000, 32_300, 120_000, 2_000_000, 10_000_000)
const commandOptions: fc.Arbitrary<CommandOptions> = fc
  .record({
    type: fc.constantFrom('DELAY', 'HTTP_GET_JSON'),
    maxAttempts: fc.integer({ min: 1, max: 4 }),
    takeover: fc.constantFrom('manual', 'auto'),
    retryOn: rarely(fc.constantFrom([], ['HTTP_ERROR'], ['INTERRUPTED', 'LOST'])),
    timeoutMs: rarely(fc.constantFrom(1, 60_000, 1_000_000)),
    totalTimeoutMs: rarely(fc.constantFrom(1, 30_000, 2_000_000)),
    expiresAtMs: rarely(fc.constantFrom(1, 30_000, 2_000_000)),
    notBeforeMs: rarely(fc.constantFrom(1, 30_000)),
    lostAfterMs: rarely(fc.constantFrom(0, 1000, 5_000_000)),
  })
  .map((options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)))

const OUTCOMES: readonly Outcome[] = [
  succeeded(),
  succeeded(null),
  failure('HTTP_ERROR'),
  failure('NETWORK_ERROR', true),
  interrupted,
  { state: 'INTERRUPTED' },
  { state: 'CANCELLED' },
  { ...failure('TIMED_OUT', true), state: 'TIMED_OUT' },
]
const outcome = fc.constantFrom(...OUTCOMES)

/** An event as a function of the command, so that most name its attempt and its agent, and of the time. */
type Happening = { event: (command: Command, nowMs: number) => LifecycleEvent; afterMs: number }
const happens = <Given>(
  given: fc.Arbitrary<Given>,
  event: (given: Given, nowMs: number, command: Command) => LifecycleEvent,
): fc.Arbitrary<Happening['event']> =>
  given.map((drawn) => {
    const happening: Happening['event'] = (command, nowMs) => event(drawn, nowMs, command)
    const { type } = event(drawn, 0, waiting('c'))
    return Object.assign(happening, { [fc.toStringMethod]: () => `${type} ${fc.stringify(drawn)}` })
  })

const agentId = fc.constantFrom('x', 'x', 'x', 'y')
/** Up to that of the agent in the syncs below. */
const incarnation = fc.integer({ min: 1, max: 2 })
const random = fc.constantFrom(0, 0.5, 0.999)
const nothing = fc.constant(null)
const leaseMs = 32_300
const offer = happens(agentId, (agentId, nowMs) => ({ type: 'offer', nowMs, agentId }))
const grant = happens(fc.record({ agentId, incarnation }), (given, nowMs) => ({
  type: 'grant',
  nowMs,
  leaseMs,
  ...given,
}))
const finish = happens(
  fc.record({ agentId, outcome, random, back: fc.constantFrom(0, 0, 0, 1, -1) }),
  ({ back, ...given }, nowMs, command) => ({
    type: 'finish',
    nowMs,
    attempt: (newestAttempt(command)?.number ?? 0) - back,
    outcomeSha256: hashOf(given.outcome),
    ...given,
  }),
)
/** More often than not, what leads on: most promises are about what comes after it. */
const event = fc.oneof(
  { weight: 3, arbitrary: offer },
  { weight: 3, arbitrary: grant },
  happens(fc.record({ agentId, incarnation, trustedSince: fc.nat({ max: 3 }) }), (given, nowMs) => ({
    type: 'regrant',
    nowMs,
    ...given,
  })),
  happens(agentId, (agentId, nowMs) => ({ type: 'return', nowMs, agentId })),
  { weight: 3, arbitrary: finish },
  happens(nothing, (_, nowMs) => ({ type: 'withdraw', nowMs, reason: 'draining' })),
  happens(nothing, (_, nowMs) => ({ type: 'lose', nowMs, reason: 'absent' })),
  happens(random, (random, nowMs) => ({ type: 'leaseOver', nowMs, random })),
  happens(nothing, (_, nowMs) => ({ type: 'tick', nowMs })),
)
const rareEvent = fc.oneof(
  happens(nothing, (_, nowMs) => ({ type: 'cancel', nowMs, reason: 'no more needed' })),
  happens(fc.record({ agentId, incarnation, ahead: fc.nat({ max: 2 }) }), ({ ahead, ...given }, nowMs, command) => {
    const attempt = Math.max(1, (newestAttempt(command)?.number ?? 0) + ahead)
    return { type: 'adopt', nowMs, leaseMs, attempt, ...given }
  }),
)
const happenings = (rare: boolean): fc.Arbitrary<Happening[]> =>
  fc.array(
    fc.record({
      event: rare ? fc.oneof({ weight: 15, arbitrary: event }, { weight: 1, arbitrary: rareEvent }) : event,
      afterMs: durationMs,
    }),
    { maxLength: 25, size: 'max' },
  )

/** The command after all of it, as the store keeps it, and each step on the way. */
function play(
  options: CommandOptions,
  events: readonly Happening[],
  look: (before: Command, after: Command, event: LifecycleEvent) => void,
) {
  let command = frozen(stored(waiting('c', options)))
  let nowMs = 0
  for (const { event, afterMs } of events) {
    nowMs += afterMs
    const given = event(command, nowMs)
    const moved = transition(command, frozen(given), policy)
    if (!moved.ok) assert.match(moved.reason, /^\w+$/)
    else {
      assert.equal(moved.entry.from, phaseOf(command))
      assert.equal(moved.entry.to, phaseOf(moved.command))
    }
    const after = frozen(moved.ok ? stored(moved.command) : command)
    look(command, after, given)
    command = after
  }
  return { command, nowMs }
}

const isFinal = ({ status }: Command): boolean => status !== 'PENDING' && status !== 'RUNNING'

// ── Transitions ──────────────────────────────────────────────────────────────────────────────────────────────────────

holds(
  'every event in every state that can be reached is answered, and what the database demands of a command is true',
  fc.property(commandOptions, happenings(true), (options, events) => {
    play(options, events, (before, after, event) => {
      if (isFinal(before)) assert.equal(after, before, 'final is final')
      const newest = newestAttempt(after)
      if (event.type === 'cancel') assert.ok(isFinal(after) || after.cancel !== null, 'a cancel is not forgotten')
      if (before.cancel !== null) assert.notEqual(after.status, 'PENDING', 'nothing that was cancelled is tried again')
      if (after !== before && ['grant', 'regrant', 'return'].includes(event.type))
        assert.equal(newestAttempt(before)?.agentId, 'agentId' in event && event.agentId, 'only its holder goes on')
      assert.equal(isFinal(after), after.finishedAtMs !== null)
      assert.equal(after.status === 'FAILED' || after.status === 'CANCELLED', after.error !== null)
      assert.equal(after.grantedCount > 0, after.startedAtMs !== null)
      assert.ok(after.status !== 'COMPLETED' || after.grantedCount > 0)
      assert.ok(after.grantedCount <= (newest?.number ?? 0))
      assert.ok(after.crashCount <= after.grantedCount)
      assert.ok((newest?.number ?? 0) >= (newestAttempt(before)?.number ?? 0), 'numbers grow')
      assert.ok(isReady(after) ? phaseOf(after) === 'WAITING' : true)
      assert.ok(isFinal(after) ? dueAtMs(after, policy) === null && after.availableAtMs === null : true)
      assert.ok(attemptTimeoutMs(after, 1e9) >= 1)
      for (const attempt of after.attempts) {
        assert.equal(attempt.grantedAtMs === null, attempt.state === 'OFFERED' || attempt.state === 'WITHDRAWN')
        assert.equal(attempt.grantedAtMs === null, attempt.incarnation === null)
        assert.equal(attempt.state === 'LOST', attempt.lostAtMs !== null)
        const live = ['OFFERED', 'RUNNING', 'LOST'].includes(attempt.state)
        assert.equal(live, attempt.finishedAtMs === null || (isFinal(after) && attempt.state === 'LOST'))
        assert.ok(!live || attempt === newest, 'only the newest attempt is live')
      }
    })
  }),
)

holds(
  'no more attempts are granted than were asked for, and none while another one is live',
  fc.property(commandOptions, happenings(false), (options, events) => {
    play(options, events, (before, after, event) => {
      assert.ok(after.grantedCount <= after.spec.retry.maxAttempts)
      const crashed = event.type === 'finish' && event.outcome.state === 'INTERRUPTED' && before.status === 'RUNNING'
      if (crashed && after.status === 'PENDING') assert.ok(after.crashCount < policy.poisonAfter, 'not poisoned')
      if (after.grantedCount === before.grantedCount) return
      assert.equal(event.type, 'grant')
      assert.ok(before.cancel === null)
      const earlier = lastGrantedAttempt(before)
      if (earlier === undefined) return
      const again = ['FAILED', 'TIMED_OUT', 'INTERRUPTED', 'EXPIRED']
      assert.ok(again.includes(earlier.state), `after ${earlier.state}`)
      assert.ok(earlier.state !== 'EXPIRED' || before.spec.takeover === 'auto')
    })
  }),
)

holds(
  'dueAtMs names the time at which tick has something to decide, and no other',
  fc.property(commandOptions, happenings(true), fc.nat({ max: 20_000_000 }), (options, events, laterMs) => {
    const { command, nowMs } = play(options, events, () => {})
    const dueMs = dueAtMs(command, policy)
    for (const atMs of [nowMs, nowMs + laterMs, ...(dueMs === null ? [] : [dueMs - 1, dueMs])]) {
      const { ok } = transition(command, { type: 'tick', nowMs: atMs }, policy)
      assert.equal(ok, dueMs !== null && dueMs <= atMs, `due at ${dueMs}, at ${atMs}`)
    }
  }),
)

holds(
  'whoever is silent for ever: lease and deadlines bring every granted command to an end in a few steps',
  fc.property(commandOptions, happenings(true), (options, events) => {
    let { command, nowMs } = play(options, events, () => {})
    const started = command.status === 'RUNNING'
    for (let count = 0; count < 6; count += 1) {
      nowMs = Math.max(nowMs, dueAtMs(command, policy) ?? nowMs + 100_000)
      for (const type of ['leaseOver', 'tick'] as const) {
        const moved = transition(command, { type, nowMs, random: 0.5 }, policy)
        if (moved.ok) command = stored(moved.command)
      }
    }
    assert.notEqual(command.status, 'RUNNING', 'nothing runs for ever')
    assert.ok(
      dueAtMs(command, policy) === null || (dueAtMs(command, policy) as number) > nowMs,
      'nothing is left to decide',
    )
    if (started && command.spec.takeover === 'manual') assert.ok(isFinal(command))
  }),
)

// ── Syncs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What the store keeps, in a map. */
type Database = { agent: Agent; commands: Map<string, Command> }

/** As the store shows it to agent x: what any agent is shown, and every attempt that was granted to x. */
const shownToX = (before: Command | undefined, after: Command): Command => {
  const attempts = new Map([...(before?.attempts ?? []), ...after.attempts].map((each) => [each.number, each]))
  const all = [...attempts.values()].sort((a, b) => a.number - b.number)
  const shown = stored({ ...after, attempts: all }).attempts
  return {
    ...after,
    attempts: all.filter((each) => shown.includes(each) || (each.agentId === 'x' && each.grantedAtMs !== null)),
  }
}
const store = (database: Database, decision: TurnDecision<unknown>): Database => {
  const commands = new Map(database.commands)
  for (const { command } of decision.changes)
    commands.set(command.commandId, shownToX(commands.get(command.commandId), command))
  return { agent: decision.agent ?? database.agent, commands }
}

const turnOf = ({ agent: mine, commands }: Database, recovering: readonly string[] | null) => {
  const all = [...commands.values()]
  const owned = all.filter(
    (each) => newestAttempt(each)?.agentId === 'x' && ['OFFERED', 'RUNNING', 'LOST'].includes(phaseOf(each)),
  )
  return turn({ agent: mine, owned, asked: all, ready: all.filter(isReady), recovering })
}

const NOW_MS = 100_000_000
function synced(database: Database, held: HeldAttempt[], recovering: readonly string[] | null = null) {
  const { incarnation, seq, logSeq } = database.agent
  const request = syncRequest({ incarnation, seq: seq + 1, logSeq, held, want: { DELAY: 3, HTTP_GET_JSON: 3 } })
  const decision = answerSync(
    turnOf(database, recovering),
    frozen(request),
    syncContext({ nowMs: NOW_MS, random: () => 0 }),
  )
  const { answer } = decision as TurnDecision<Synced>
  assert.ok(answer.ok, JSON.stringify(answer))
  return { database: store(database, decision), response: answer.response, evidence: decision.evidence }
}

const grantedCounts = ({ commands }: Database) => [...commands.values()].map(({ grantedCount }) => grantedCount)

type Holding = { command: number; back: number; phase: HeldAttempt['phase']; outcome: Outcome | null }
const holdings: fc.Arbitrary<Holding[]> = fc.uniqueArray(
  fc.record({
    command: fc.nat({ max: 5 }),
    back: fc.constantFrom(0, 0, 0, 1, -1),
    phase: fc.constantFrom('accepted', 'running', 'finished', 'interrupted'),
    outcome: fc.option(outcome),
  }),
  { maxLength: 8, selector: ({ command, back }) => `${command}.${back}` },
)
const population = fc.array(fc.tuple(commandOptions, happenings(true)), { maxLength: 5 })

const databaseOf = (given: readonly (readonly [CommandOptions, Happening[]])[]): Database => {
  const commands = given.map(([options, events], number): [string, Command] => {
    const commandId = `c-${number}`
    return [commandId, { ...play(options, events, () => {}).command, commandId }]
  })
  return { agent: agent('x', { incarnation: 2, trustedSince: 1, logSeq: 5 }), commands: new Map(commands) }
}

/** An inventory names an attempt once. With the offers where the server asks for the whole journal. */
const heldOf = ({ commands }: Database, given: readonly Holding[], withOffers = false): HeldAttempt[] => {
  const held = given.map(({ command, back, phase, outcome }): HeldAttempt => {
    const known = commands.get(`c-${command}`)
    const newest = (known && newestAttempt(known)?.number) ?? 0
    // Of an attempt that nobody was offered only an outcome is told: anything else would be the next offer's number.
    const number = phase === 'accepted' ? newest - Math.max(0, back) || 9 : Math.max(1, newest - back)
    const told = phase === 'accepted' || phase === 'running' ? null : outcome
    const item = { attemptId: attemptId(`c-${command}`, number), phase }
    return told === null ? item : { ...item, outcome: told, outcomeSha256: hashOf(told) }
  })
  const byId = new Map(held.map((item) => [item.attemptId, withOffers ? withOffer(item) : item]))
  return [...byId.values()]
}

const DONE = ['accepted', 'duplicate', 'superseded', 'orphan', 'rejected']

holds(
  'the same inventory told twice changes nothing the second time, and every outcome is acknowledged both times',
  fc.property(population, holdings, (given, held) => {
    const items = heldOf(databaseOf(given), held)
    const first = synced(databaseOf(given), items)
    const again = synced(first.database, items)
    const outcomes = items.flatMap((item) => (item.outcome === undefined ? [] : [item.attemptId]))
    for (const { response } of [first, again]) {
      assert.deepEqual(
        response.acks.map((each) => each.attemptId),
        outcomes,
      )
      assert.ok(response.acks.every(({ verdict }) => DONE.includes(verdict)))
    }
    for (const [index, { attemptId, verdict }] of first.response.acks.entries()) {
      const expected = verdict === 'accepted' ? 'duplicate' : verdict
      assert.equal(again.response.acks[index]?.verdict, expected, attemptId)
    }
    assert.deepEqual(grantedCounts(again.database), grantedCounts(first.database), 'nothing new is granted')
    // What is offered and not held may be offered again, and for what it may still take there may be more.
    for (const [commandId, command] of first.database.commands)
      if (isFinal(command) || command.status === 'RUNNING')
        assert.deepEqual(again.database.commands.get(commandId), command)
    for (const granted of first.response.grants)
      assert.ok(again.response.grants.includes(granted), 'its answer may have been lost: granted again')
  }),
)

holds(
  'what was granted to one journal is granted to no other, whatever it says to hold',
  fc.property(population, holdings, fc.constantFrom('another', 'older', 'copied'), (given, held, kind) => {
    const before = synced(databaseOf(given), heldOf(databaseOf(given), held)).database
    const granted = [...before.commands.values()].flatMap((command) =>
      command.attempts
        .filter(({ grantedAtMs }) => grantedAtMs !== null)
        .map(({ number }) => attemptId(command.commandId, number)),
    )
    const nowMs = NOW_MS + 40_000
    const request = registerRequest({
      ...(kind === 'another' ? { journalId: 'journal-another' } : {}),
      ...(kind === 'copied' ? { previousIncarnation: 1 } : { previousIncarnation: 2 }),
      logSeq: kind === 'older' ? 4 : 5,
    })
    const settings = { nowMs, policy, limits: { leaseMs: 30_000 } }
    // The journal that the server has heard was at 5.
    const told: Database = { ...before, agent: { ...before.agent, logSeq: 5 } }
    const registered = register(turnOf(told, null), request, settings)
    assert.ok(registered.answer.ok)
    const others = store(told, registered)
    const everything = [...new Set([...granted, ...heldOf(others, held).map((each) => each.attemptId)])]
    const inventory = everything.map((id): HeldAttempt => ({ attemptId: id, phase: 'accepted' }))
    const { response } = synced(others, inventory)
    assert.deepEqual(
      response.grants.filter((id) => granted.includes(id)),
      [],
    )
  }),
)

holds(
  'in recovery, and over and over in it, nothing is granted and nothing offered, and every outcome is acknowledged',
  fc.property(population, holdings, (given, held) => {
    let database = databaseOf(given)
    const items = heldOf(database, held, true)
    for (let count = 0; count < 3; count += 1) {
      const told = synced(database, items, ['x', 'y'])
      assert.deepEqual([told.response.grants, told.response.offers, told.response.recovery], [[], [], true])
      const outcomes = items.flatMap((item) => (item.outcome === undefined ? [] : [item.attemptId]))
      assert.deepEqual(
        told.response.acks.map((each) => each.attemptId),
        outcomes,
      )
      database = told.database
    }
  }),
)
