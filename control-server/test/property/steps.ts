/** What may happen, one step each: a call and the check of its answer, a fault, or time that passes. */
import assert from 'node:assert/strict'
import type {
  CommandRecord,
  HeldAttempt,
  Outcome,
  RegisterResponse,
  SimpleReport,
  SyncRequest,
  SyncResponse,
} from '@agent-executor/protocol'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import fc from 'fast-check'
import { outcomeOf } from '../../src/lifecycle/simple-api.ts'
import { failure, hashOf, interrupted, succeeded } from '../lifecycle/builders.ts'
import { createModel, KEY_MS, type Known, type Model, mayTake, type Wanted } from './model.ts'
import { createSyncAgent, type SyncAgent } from './sync-agent.ts'
import { refusedWith, type World } from './world.ts'

export type State = {
  model: Model
  agents: Map<string, SyncAgent>
  submitted: { body: object; key: string | null }[]
  looks: number
}

export const createState = (): State => {
  const model = createModel()
  const agents = new Map<string, SyncAgent>()
  for (const id of ['a', 'b', 'liar'])
    agents.set(
      id,
      createSyncAgent(id, model, () => [...agents.values()]),
    )
  return { model, agents, submitted: [], looks: 0 }
}

type Step = fc.AsyncCommand<State, World>

/** A step that prints as its name with its parameters, and is followed by a look at every command. */
const step =
  <Parameters>(
    name: string,
    run: (state: State, world: World, parameters: Parameters) => Promise<void> | void,
    check: (state: State, parameters: Parameters) => boolean = () => true,
  ) =>
  (parameters: Parameters): Step => ({
    check: (state) => check(state, parameters),
    async run(state, world) {
      state.model.at(world.clock.nowMs)
      await run(state, world, parameters)
      await look(state, world)
    },
    toString: () => `${name}(${fc.stringify(parameters)})`,
  })

/**
 * `GET /commands` against the model, every field but the timings, which time alone changes. Those that are final are
 * read when they become so, with every fourth look, and with `everything`.
 */
export async function look(state: State, world: World, everything = false): Promise<void> {
  const { model } = state
  state.looks += 1
  const live = ({ status }: Known) => status === 'PENDING' || status === 'RUNNING'
  const all = everything || state.looks % 4 === 0 || model.commands.some((command) => command.touched && !live(command))
  const { body } = await world.call('GET', `/commands?fields=${FIELDS}${all ? '' : '&status=PENDING,RUNNING'}`)
  const records = body as Omit<CommandRecord, 'timings'>[]
  assert.deepEqual(
    records.map(({ commandId }) => commandId),
    model.commands
      .filter((command) => all || live(command))
      .map(({ commandId }) => commandId)
      .reverse(),
    'R2: every acknowledged submission, newest first, and nothing else',
  )
  for (const record of records) model.agrees(model.known(record.commandId) as Known, record, JSON.stringify(record))
}
const FIELDS =
  'commandId,type,status,priority,labels,pinnedTo,agentId,attempt,payload,result,resultTruncated,error,cancelRequested,takeover,timeoutMs,totalTimeoutMs,lostAfterMs,retry,metadata,createdAt,notBefore,expiresAt,startedAt,finishedAt,attempts'

const oneOf = <Value>(values: readonly Value[], index: number): Value | undefined => values[index % values.length]

// ── Clients ──────────────────────────────────────────────────────────────────────────────────────────────────────────

type Fields = {
  type: 'DELAY' | 'HTTP_GET_JSON'
  priority?: number | undefined
  labels?: readonly string[] | undefined
  agentId?: string | undefined
  retry?: { maxAttempts: number; retryOn?: readonly string[] | undefined } | undefined
  takeover?: 'manual' | 'auto' | undefined
  timeoutMs?: number | undefined
  totalTimeoutMs?: number | undefined
  lostAfterMs?: number | undefined
  expiresInMs?: number | undefined
  notBeforeMs?: number | undefined
}

/** Fewer fields than all, most of the time, and often another try. */
const some = <Value>(arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 2 })
const seldom = <Value>(arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })
const rarely = <Value>(arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })
const fields = fc
  .record({
    type: fc.constantFrom('DELAY', 'HTTP_GET_JSON'),
    priority: seldom(fc.integer({ min: -2, max: 2 })),
    labels: rarely(fc.constantFrom(['gpu'], ['eu', 'gpu'])),
    agentId: rarely(fc.constantFrom('a', 'b', 'liar', 's')),
    retry: some(
      fc.record({
        maxAttempts: fc.constantFrom(1, 2, 2, 5),
        retryOn: seldom(fc.constantFrom(['HTTP_ERROR'], ['INTERRUPTED'], [])),
      }),
    ),
    takeover: some(fc.constantFrom('manual', 'auto')),
    timeoutMs: seldom(fc.constantFrom(1, 20_000, 600_000)),
    totalTimeoutMs: rarely(fc.constantFrom(1000, 60_000, 3_600_000)),
    lostAfterMs: seldom(fc.constantFrom(0, 1000, 600_000)),
    expiresInMs: rarely(fc.constantFrom(1, 10_000, 3_600_000)),
    notBeforeMs: rarely(fc.constantFrom(-1000, 1, 10_000)),
  })
  .map((given): Fields => {
    // Refused without retries; once in a while that is sent too.
    const retry =
      given.takeover === 'auto' && given.priority === undefined ? { maxAttempts: 2, ...given.retry } : given.retry
    return { ...given, retry }
  })

const defined = (value: object): object => JSON.parse(JSON.stringify(value)) as object

const submit = step('submit', async (state, world, { key, ...given }: Fields & { key: number | null }) => {
  const { expiresInMs, notBeforeMs, ...rest } = given
  const now = world.clock.nowMs
  const isoAfter = (ms: number | undefined) => (ms === undefined ? undefined : new Date(now + ms).toISOString())
  const body = defined({
    ...rest,
    payload: given.type === 'DELAY' ? { ms: 1 } : { url: 'http://example.test/' },
    expiresAt: isoAfter(expiresInMs),
    notBefore: isoAfter(notBeforeMs),
  })
  state.submitted.push({ body, key: key === null ? null : `key-${key}` })
  await send(state, world, state.submitted.length - 1)
})

const submitAgain = step(
  'submitAgain',
  (state, world, index: number) => send(state, world, index % state.submitted.length),
  ({ submitted }) => submitted.length > 0,
)

async function send({ model, submitted }: State, world: World, index: number): Promise<void> {
  const { body, key } = submitted[index] as State['submitted'][number]
  const answer = await world.call('POST', '/commands', body, key === null ? {} : { 'idempotency-key': key })
  const wanted = wantedOf(body, world.clock.nowMs)
  const expected = model.keyed(key, canonicalJson(body))
  if (expected === 'conflict') return refusedWith(answer, 'IDEMPOTENCY_KEY_REUSED', 'another body')
  // A replay is answered as the first time was, though its deadline may have passed since.
  if (expected === null && wanted === null)
    return refusedWith(answer, 'INVALID_REQUEST', 'takeover needs retries, expiry comes after the start and after now')
  assert.equal(answer.status, 201, answer.text)
  assert.equal(answer.replayed, expected !== null)
  const { commandId } = answer.body as CommandRecord
  if (expected === null) model.submitted(commandId, wanted as Wanted, key, canonicalJson(body))
  else assert.equal(commandId, expected, 'one key, one command')
}

function wantedOf(body: object, nowMs: number): Wanted | null {
  const given = body as Fields & { expiresAt?: string; notBefore?: string }
  const expiresAtMs = given.expiresAt === undefined ? null : Date.parse(given.expiresAt)
  const notBeforeMs = given.notBefore === undefined ? null : Date.parse(given.notBefore)
  const maxAttempts = given.retry?.maxAttempts ?? 1
  if (given.takeover === 'auto' && maxAttempts < 2) return null
  if (expiresAtMs !== null && expiresAtMs <= Math.max(notBeforeMs ?? 0, nowMs)) return null
  return {
    type: given.type,
    priority: given.priority ?? 0,
    labels: [...(given.labels ?? [])],
    agentId: given.agentId ?? null,
    maxAttempts,
    retryOn: given.retry?.retryOn ? [...given.retry.retryOn] : null,
    takeover: given.takeover ?? 'manual',
    timeoutMs: given.timeoutMs ?? (given.type === 'DELAY' ? 60_001 : 90_000),
    totalTimeoutMs: given.totalTimeoutMs ?? null,
    lostAfterMs: given.lostAfterMs ?? null,
    expiresAtMs,
    notBeforeMs: notBeforeMs !== null && notBeforeMs > nowMs ? notBeforeMs : null,
  }
}

const cancel = step(
  'cancel',
  async ({ model }, world, { index, byDelete }: { index: number; byDelete: boolean }) => {
    const command = oneOf(model.commands, index) as Known
    const path = `/commands/${command.commandId}`
    const answer = await (byDelete ? world.call('DELETE', path) : world.call('POST', `${path}/cancel`, {}))
    assert.equal(answer.status, model.cancelled(command), answer.text)
    if (answer.status === 409) refusedWith(answer, 'COMMAND_FINAL', 'final is final')
  },
  ({ model }) => model.commands.length > 0,
)

const lookUp = step('lookUp', async ({ model }, world, { status, index }: { status: string; index: number }) => {
  for (const [method, path] of [
    ['GET', '/commands/nobody-knows'],
    ['GET', '/commands/nobody-knows/events'],
    ['POST', '/commands/nobody-knows/cancel'],
  ] as const)
    refusedWith(await world.call(method, path), 'COMMAND_NOT_FOUND', path)
  const idsOf = async (query: string): Promise<string[]> =>
    ((await world.call('GET', `/commands?fields=commandId${query}`)).body as CommandRecord[]).map(
      (each) => each.commandId,
    )
  const right = (holds: (command: Known) => boolean) =>
    model.commands
      .filter(holds)
      .map((each) => each.commandId)
      .reverse()
  assert.deepEqual(
    await idsOf(`&status=${status}`),
    right((command) => status.split(',').includes(command.status)),
    status,
  )
  assert.deepEqual(
    await idsOf('&type=DELAY&label=gpu'),
    right(({ wanted }) => wanted.type === 'DELAY' && wanted.labels.includes('gpu')),
  )
  const command = oneOf(model.commands, index)
  if (command === undefined) return
  assert.deepEqual(await idsOf(`&text=${command.commandId}`), [command.commandId])
  const one = await world.call('GET', `/commands/${command.commandId}?fields=commandId,status,result`)
  assert.deepEqual(one.body, { commandId: command.commandId, status: command.status, result: command.result })
})

// ── Agents of the simple API ─────────────────────────────────────────────────────────────────────────────────────────

const next = step('next', async ({ model }, world, agentId: string) => {
  const answer = await world.call('GET', `/commands/next?agentId=${agentId}`)
  const taken = answer.status === 200 ? (answer.body as CommandRecord) : null
  const refusal = model.next(agentId, taken?.commandId ?? null)
  if (refusal !== null) return refusedWith(answer, 'IDENTITY_CONFLICT', agentId)
  assert.match(String(answer.status), /^20[04]$/)
  if (taken === null) return
  assert.equal(taken.status, 'RUNNING')
  assert.equal(taken.agentId, agentId)
  if (agentId !== 'a') model.begins(`${taken.commandId}.${taken.attempt}`)
})

const REPORTS: readonly Pick<SimpleReport, 'result' | 'error'>[] = [
  { result: { ok: true } },
  { result: null },
  { error: 'It did not work.' },
  { error: { message: 'Try again.', code: 'TRY_AGAIN', retryable: true } },
  { error: { message: 'No.', code: 'HTTP_ERROR' } },
]

type Report = { agentId: string; index: number; report: number; attempt: number | undefined }
const result = step(
  'result',
  async ({ model }, world, { agentId, index, report, attempt }: Report) => {
    // Most often one that they run, then one of theirs, then any.
    const theirs = model.commands.filter(({ attempts }) => attempts.some((each) => each.agentId === agentId))
    const running = theirs.filter(({ status }) => status === 'RUNNING')
    const among = [running, running, theirs, model.commands][index % 4] as Known[]
    const command = oneOf(among, index) ?? (oneOf(model.commands, index) as Known)
    const body = {
      agentId,
      ...(oneOf(REPORTS, report) as object),
      ...(attempt === undefined ? {} : { attempt }),
    } as SimpleReport
    const answer = await world.call('PUT', `/commands/${command.commandId}/result`, body)
    const outcome = outcomeOf(body)
    const refusal = model.reported(agentId, command.commandId, attempt, outcome, sha256(canonicalJson(outcome)))
    if (refusal === null) assert.deepEqual([answer.status, answer.body], [200, { success: true }], answer.text)
    else
      assert.deepEqual(
        [answer.status, (answer.body as { code: string }).code],
        [refusal.status, refusal.code],
        answer.text,
      )
  },
  ({ model }) => model.commands.length > 0,
)

// ── Agents that sync ─────────────────────────────────────────────────────────────────────────────────────────────────

const agentOf = ({ agents }: State, agentId: string): SyncAgent => agents.get(agentId) as SyncAgent

type Register = { agentId: string; lost: boolean }
const register = step('register', async (state, world, { agentId, lost }: Register) => {
  const agent = agentOf(state, agentId)
  const request = agent.register()
  const answer = await world.call('POST', '/agents/register', request)
  const expected = state.model.registered(request)
  if ('code' in expected) return refusedWith(answer, 'IDENTITY_CONFLICT', agentId)
  assert.equal(answer.status, 200, answer.text)
  const response = answer.body as RegisterResponse
  assert.equal(response.incarnation, expected.incarnation)
  if (!lost) agent.registered(request, response, world.clock.nowMs)
})

const registerAgain = step(
  'registerAgain',
  async (state, world, { agentId, index }: { agentId: string; index: number }) => {
    const request = oneOf(agentOf(state, agentId).registers, index)
    assert.ok(request !== undefined)
    const answer = await world.call('POST', '/agents/register', request)
    const expected = state.model.registered(request)
    if ('code' in expected) refusedWith(answer, 'IDENTITY_CONFLICT', agentId)
    else assert.equal((answer.body as RegisterResponse).incarnation, expected.incarnation)
  },
  (state, { agentId }) => agentOf(state, agentId).registers.length > 0,
)

/** Sends the request and holds the answer against the model; what it says, null where it was refused. */
async function deliver(
  state: State,
  world: World,
  agentId: string,
  request: SyncRequest,
): Promise<SyncResponse | null> {
  const { model } = state
  const agent = agentOf(state, agentId)
  const answer = await world.call('POST', `/agents/${agentId}/sync`, request)
  const refusal = model.syncRefused(agentId, request)
  if (refusal !== null) {
    const { code } = answer.body as { code: string }
    assert.deepEqual([answer.status, code], [refusal.status, refusal.code], answer.text)
    // One that is only late says nothing to the process that has gone on since.
    if (refusal.code !== 'STALE_SYNC' && request === agent.syncs.at(-1)) agent.superseded()
    return null
  }
  assert.equal(answer.status, 200, answer.text)
  const response = answer.body as SyncResponse
  model.synced(agentId, request, response)
  agent.told(request)
  return response
}

type Sync = { agentId: string; want: SyncRequest['want']; mode: SyncRequest['mode']; answer: 'arrives' | 'lost' }
const sync = step(
  'sync',
  async (state, world, { agentId, want, mode, answer }: Sync) => {
    const agent = agentOf(state, agentId)
    agent.fence(world.clock.nowMs)
    const response = await deliver(state, world, agentId, agent.sync(want, mode))
    if (response !== null && answer === 'arrives') agent.answered(response, world.clock.nowMs)
  },
  (state, { agentId }) => agentOf(state, agentId).isRegistered(),
)

/** What an agent does in peace: registers where it has to, takes what is there, begins it, and may end it. */
type Work = { agentId: string; want: SyncRequest['want']; outcome: number | null; rounds: number }
const work = step('work', async (state, world, { agentId, want, outcome, rounds }: Work) => {
  const agent = agentOf(state, agentId)
  agent.fence(world.clock.nowMs)
  if (!agent.isRegistered()) await register({ agentId, lost: false }).run(state, world)
  for (let count = 0; count < rounds && agent.isRegistered(); count += 1) {
    const response = await deliver(state, world, agentId, agent.sync(want, 'ready'))
    if (response === null) return
    agent.answered(response, world.clock.nowMs)
    if (outcome === null) continue
    for (const attemptId of agent.runningIds()) agent.finish(attemptId, oneOf(OUTCOMES, outcome) as Outcome)
  }
})

/** Written and never sent, or on its way for a long time: what `repeat` delivers. */
const syncDelayed = step(
  'syncDelayed',
  (state, _world, { agentId, want }: { agentId: string; want: SyncRequest['want'] }) => {
    agentOf(state, agentId).sync(want, 'ready')
  },
  (state, { agentId }) => agentOf(state, agentId).isRegistered(),
)

/** A sync that was sent before arrives, once more or for the first time, and its answer is lost. */
const syncRepeated = step(
  'syncRepeated',
  async (state, world, { agentId, back }: { agentId: string; back: number }) => {
    const { syncs: sent } = agentOf(state, agentId)
    const request = sent[Math.max(0, sent.length - 1 - back)] as SyncRequest
    await deliver(state, world, agentId, request)
  },
  (state, { agentId }) => agentOf(state, agentId).syncs.length > 0,
)

const heartbeat = step('heartbeat', async (state, world, agentId: string) => {
  const agent = agentOf(state, agentId)
  const request = agent.heartbeat()
  if (!agent.isRegistered()) return
  agent.fence(world.clock.nowMs)
  const answer = await world.call('POST', `/agents/${agentId}/heartbeat`, request)
  const refusal = state.model.heartbeat(agentId, request.incarnation)
  if (refusal === null) {
    assert.equal(answer.status, 200, answer.text)
    agent.renewed(world.clock.nowMs)
  } else assert.equal((answer.body as { code: string }).code, refusal.code)
})

const OUTCOMES: readonly Outcome[] = [
  succeeded({ n: 1 }),
  succeeded(null),
  failure('HTTP_ERROR'),
  failure('NETWORK_ERROR', true),
  { ...failure('TIMED_OUT', true), state: 'TIMED_OUT' },
  interrupted,
]

const finish = step(
  'finish',
  (state, world, { agentId, index, outcome }: { agentId: string; index: number; outcome: number }) => {
    const agent = agentOf(state, agentId)
    agent.fence(world.clock.nowMs)
    const attemptId = oneOf(agent.runningIds(), index)
    if (attemptId !== undefined) agent.finish(attemptId, oneOf(OUTCOMES, outcome) as Outcome)
  },
  (state, { agentId }) => agentOf(state, agentId).runningIds().length > 0,
)

const restart = step('restart', (state, _world, agentId: string) => agentOf(state, agentId).restart())
const loseJournal = step('loseJournal', (state, _world, agentId: string) => agentOf(state, agentId).loseJournal())
const copyJournal = step('copyJournal', (state, _world, agentId: string) => agentOf(state, agentId).copyJournal())
const restoreJournal = step(
  'restoreJournal',
  (state, _world, agentId: string) => agentOf(state, agentId).restoreJournal(),
  (state, agentId) => agentOf(state, agentId).canRestore(),
)

/** A journal is copied right before its grants, and comes back after the work has begun: nothing of it begins again. */
const setBack = step(
  'setBack',
  async (state, world, { agentId, want }: { agentId: string; want: SyncRequest['want'] }) => {
    const agent = agentOf(state, agentId)
    const once = async (): Promise<void> => {
      if (!agent.isRegistered()) await register({ agentId, lost: false }).run(state, world)
      if (!agent.isRegistered()) return
      const response = await deliver(state, world, agentId, agent.sync(want, 'ready'))
      if (response !== null) agent.answered(response, world.clock.nowMs)
    }
    agent.fence(world.clock.nowMs)
    await once()
    agent.copyJournal()
    await once()
    await once()
    if (agent.canRestore()) agent.restoreJournal()
    await once()
    await once()
  },
)

type Lie = {
  want: SyncRequest['want']
  held: { index: number; attempt: number; phase: HeldAttempt['phase']; outcome: number | null }[]
}
/** An agent that says what it likes, of its own commands and of others'. */
const lie = step(
  'lie',
  async (state, world, { want, held }: Lie) => {
    const agent = agentOf(state, 'liar')
    if (!agent.isRegistered()) await register({ agentId: 'liar', lost: false }).run(state, world)
    if (!agent.isRegistered()) return
    const items = held.map(({ index, attempt, phase, outcome }): HeldAttempt => {
      const command = oneOf(state.model.commands, index)
      const number = attempt === 0 ? Math.max(1, command?.attempts.length ?? 1) : attempt
      const told =
        outcome === null || phase === 'accepted' || phase === 'running'
          ? undefined
          : (oneOf(OUTCOMES, outcome) as Outcome)
      return {
        attemptId: `${command?.commandId ?? 'unknown'}.${number}`,
        phase,
        ...(told === undefined ? {} : { outcome: told, outcomeSha256: hashOf(told) }),
      }
    })
    const request = { ...agent.sync(want, 'ready'), held: items }
    agent.syncs.pop()
    agent.syncs.push(request)
    await deliver(state, world, 'liar', request)
  },
  ({ model }) => model.commands.length > 0,
)

// ── Time and the server ──────────────────────────────────────────────────────────────────────────────────────────────

export async function sweepAt({ model, agents }: State, world: World, ms: number): Promise<void> {
  world.clock.nowMs += ms
  model.at(world.clock.nowMs)
  for (const agent of agents.values()) agent.fence(world.clock.nowMs)
  await world.sweep()
  model.swept()
  for (const command of model.commands) {
    const due = model.givenUp(command)
    if (due === 'no') continue
    const { status } = (await world.call('GET', `/commands/${command.commandId}?fields=status`)).body as CommandRecord
    if (due === 'yes') assert.equal(status, 'FAILED', `R8: ${command.commandId} is given up`)
    if (status === 'FAILED') model.giveUp(command)
  }
}

const pass = step('pass', (state, world, ms: number) => sweepAt(state, world, ms))
/** Time in which the sweeper does not come. */
const passUnswept = step('passUnswept', ({ model, agents }, world, ms: number) => {
  world.clock.nowMs += ms
  model.at(world.clock.nowMs)
  for (const agent of agents.values()) agent.fence(world.clock.nowMs)
})

/** The lease of an agent that syncs is over, no sweep has seen it yet, and a simple client comes under its id. */
const idPasses = step('idPasses', async (state, world, agentId: string) => {
  await passUnswept(33_000).run(state, world)
  await next(agentId).run(state, world)
})

const reopen = step('reopen', async ({ model }, world) => {
  await world.reopen()
  model.restarted()
})

/** No more faults: what agents can take, and what they hold, comes to its end. */
export async function peace(state: State, world: World): Promise<void> {
  for (const agentId of ['a', 'b']) {
    // Until the lease of whoever else spoke under this id is over.
    await sweepAt(state, world, 33_000)
    for (let round = 0; round < 5; round += 1)
      await work({ agentId, want: { DELAY: 100, HTTP_GET_JSON: 100 }, outcome: 0, rounds: 3 }).run(state, world)
  }
  const left = state.model.commands.filter(
    ({ status, wanted }) => status === 'PENDING' && ['a', 'b'].some((agentId) => mayTake(agentId, wanted)),
  )
  assert.deepEqual(
    left.map(({ commandId }) => commandId),
    [],
    'R8: nothing is left that somebody could have taken',
  )
}

// ── All of them ──────────────────────────────────────────────────────────────────────────────────────────────────────

const index = fc.nat({ max: 11 })
const agentId = fc.constantFrom('a', 'b')
const want = fc.record({ DELAY: fc.nat({ max: 3 }), HTTP_GET_JSON: fc.nat({ max: 3 }) })
const always = fc.constant({ DELAY: 3, HTTP_GET_JSON: 3 })
const simpleId = fc.constantFrom('s', 's', 'u', 'a')
const durationMs = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 500, 10_000, 31_500, 32_299, 32_300, 33_000) },
  { weight: 1, arbitrary: fc.constantFrom(120_000, 2_000_000, KEY_MS + 1000) },
)

const weighted: [weight: number, step: fc.Arbitrary<Step>][] = [
  [
    12,
    fc
      .record({ key: fc.option(fc.nat({ max: 3 }), { freq: 2 }) })
      .chain((key) => fields.map((rest) => submit({ ...rest, ...key }))),
  ],
  [2, index.map(submitAgain)],
  [2, fc.record({ index, byDelete: fc.boolean() }).map(cancel)],
  [1, fc.record({ status: fc.constantFrom('PENDING', 'RUNNING', 'COMPLETED,FAILED', 'CANCELLED'), index }).map(lookUp)],
  [3, simpleId.map(next)],
  [
    3,
    fc
      .record({ agentId: simpleId, index, report: fc.nat({ max: 4 }), attempt: seldom(fc.integer({ min: 1, max: 3 })) })
      .map(result),
  ],
  [2, fc.record({ agentId, lost: fc.constantFrom(false, false, false, true) }).map(register)],
  [1, fc.record({ agentId, index: fc.nat({ max: 3 }) }).map(registerAgain)],
  [
    10,
    fc
      .record({
        agentId,
        want: always,
        outcome: fc.option(fc.nat({ max: 5 }), { freq: 2 }),
        rounds: fc.constantFrom(3, 3, 3, 3, 10),
      })
      .map(work),
  ],
  [
    6,
    fc
      .record({
        agentId,
        want,
        mode: fc.constantFrom('ready', 'ready', 'ready', 'draining', 'paused'),
        answer: fc.constantFrom('arrives', 'arrives', 'lost'),
      })
      .map(sync),
  ],
  [1, fc.record({ agentId, want }).map(syncDelayed)],
  [2, fc.record({ agentId, back: fc.nat({ max: 3 }) }).map(syncRepeated)],
  [1, agentId.map(heartbeat)],
  [4, fc.record({ agentId, index, outcome: fc.nat({ max: 5 }) }).map(finish)],
  [2, agentId.map(restart)],
  [1, fc.constantFrom('a', 'b', 'liar').map(loseJournal)],
  [1, agentId.map(copyJournal)],
  [1, agentId.map(restoreJournal)],
  [2, fc.record({ agentId, want: always }).map(setBack)],
  [
    3,
    fc
      .record({
        want,
        held: fc.array(
          fc.record({
            index,
            attempt: fc.nat({ max: 3 }),
            phase: fc.constantFrom('accepted', 'running', 'finished', 'interrupted'),
            outcome: fc.option(fc.nat({ max: 5 })),
          }),
          { maxLength: 5 },
        ),
      })
      .map(lie),
  ],
  [4, durationMs.map(pass)],
  [2, durationMs.map(passUnswept)],
  [1, fc.constant('a').map(idPasses)],
  [1, fc.constant(undefined).map(reopen)],
]

export const steps = (max: number): fc.Arbitrary<Iterable<Step>> =>
  fc.commands(
    weighted.flatMap(([weight, each]) => Array.from({ length: weight }, () => each)),
    { maxCommands: max, size: 'max' },
  )
