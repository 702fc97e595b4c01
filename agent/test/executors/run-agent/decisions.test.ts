// What comes next, and what an end means: every combination as a row.
import type { EngineOutcome } from '@agent-executor/engines'
import { FAILURE_CODES } from '@agent-executor/protocol'
import t from 'tap'
import { containerName, LABELS } from '../../../src/docker/create-options.ts'
import { availability } from '../../../src/executors/run-agent/availability.ts'
import { classify, type End } from '../../../src/executors/run-agent/classify.ts'
import { RAN_BEFORE } from '../../../src/executors/run-agent/input.ts'
import { mayStartAnew, nextStep } from '../../../src/executors/run-agent/step.ts'
import type { SessionUsage } from '../../../src/gateway/client.ts'

const owner = { agentId: 'a', attemptId: 'c.1' }
const ours = { [LABELS.agent]: 'a', [LABELS.attempt]: 'c.1' }
const name = containerName('c.1')

t.test('the next step follows from the journal and from Docker', async (t) => {
  for (const [status, withoutId, withId] of [
    [null, 'create', 'gone'],
    ['created', 'start', 'start'],
    ['running', 'follow', 'follow'],
    ['paused', 'follow', 'follow'],
    ['restarting', 'follow', 'follow'],
    ['exited', 'collect', 'collect'],
    ['removing', 'stranger', 'gone'],
    ['dead', 'stranger', 'gone'],
  ] as const) {
    const seen = status === null ? null : { status, labels: ours, name }
    t.equal(nextStep(seen, null, owner), withoutId, `${status}, not logged`)
    t.equal(nextStep(seen, 'id', owner), withId, `${status}, logged`)
  }
})

t.test('a container of somebody else is never started, stopped or read', async (t) => {
  for (const labels of [{}, { ...ours, [LABELS.agent]: 'b' }, { ...ours, [LABELS.attempt]: 'c.2' }])
    for (const status of ['created', 'running', 'exited', 'dead'])
      for (const loggedId of [null, 'id']) t.equal(nextStep({ status, labels, name }, loggedId, owner), 'stranger')
})

t.test('one of the pool is an attempt’s by its name, and is never started as if it were new', async (t) => {
  const labels = { [LABELS.agent]: 'a', [LABELS.pool]: 'c0ffee' }
  for (const [status, withoutId, withId] of [
    ['created', 'discard', 'collect'],
    ['running', 'follow', 'follow'],
    ['paused', 'follow', 'follow'],
    ['exited', 'discard', 'collect'],
    ['removing', 'discard', 'gone'],
    ['dead', 'discard', 'gone'],
  ] as const) {
    t.equal(nextStep({ status, labels, name }, null, owner), withoutId, `${status}, not logged`)
    t.equal(nextStep({ status, labels, name }, 'id', owner), withId, `${status}, logged`)
    for (const stranger of [
      { status, labels, name: 'agent-executor-pool-0a' },
      { status, labels, name: containerName('c.2') },
      { status, labels: { ...labels, [LABELS.agent]: 'b' }, name },
    ])
      for (const loggedId of [null, 'id']) t.equal(nextStep(stranger, loggedId, owner), 'stranger')
  }
})

t.test('one of the pool is started anew only where it has certainly not begun', async (t) => {
  for (const exitCode of [0, 2, 125, 137, 143]) {
    t.ok(mayStartAnew({ status: 'exited', exitCode }, false))
    t.notOk(mayStartAnew({ status: 'exited', exitCode }, true))
  }
  t.notOk(mayStartAnew({ status: 'exited', exitCode: 255 }, false), 'the machine died: the disk may be older')
  t.notOk(mayStartAnew({ status: 'created', exitCode: 0 }, false), 'Docker has forgotten that it ran')
})

const end = (change: Partial<End>): End => ({
  ...{
    exitCode: 0,
    oomKilled: false,
    stoppedFor: null,
    unwatched: false,
    wasLate: false,
    lastWords: '',
    hasHooks: false,
  },
  engine: null,
  ...change,
})

t.test('what an end means', async (t) => {
  const rows: [Partial<End>, string, string | null][] = [
    [{}, 'exited', null],
    [{ unwatched: true }, 'exited', null],
    [{ oomKilled: true }, 'exited', null],
    [{ exitCode: 1 }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 1, oomKilled: true }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 125 }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 127 }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 128 }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 255 }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 255, unwatched: true }, 'hostStopped', 'HOST_STOPPED'],
    [{ exitCode: 137, unwatched: true }, 'hostStopped', 'HOST_STOPPED'],
    [{ exitCode: 143, unwatched: true }, 'hostStopped', 'HOST_STOPPED'],
    [{ exitCode: 137, unwatched: true, wasLate: true }, 'timeout', 'TIMED_OUT'],
    [{ exitCode: 143, unwatched: false, wasLate: true }, 'signal', 'EXIT_SIGNAL'],
    [{ exitCode: 1, unwatched: true, wasLate: true }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 0, unwatched: true, wasLate: true }, 'exited', null],
    [{ exitCode: 1, unwatched: true }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 139 }, 'signal', 'EXIT_SIGNAL'],
    [{ exitCode: 137 }, 'signal', 'EXIT_SIGNAL'],
    [{ exitCode: 143 }, 'signal', 'EXIT_SIGNAL'],
    [{ exitCode: 200 }, 'exited', 'EXIT_NONZERO'],
    [{ exitCode: 137, oomKilled: true }, 'outOfMemory', 'OOM_KILLED'],
    [{ exitCode: 137, oomKilled: true, unwatched: true }, 'outOfMemory', 'OOM_KILLED'],
    [{ exitCode: 137, stoppedFor: 'timeout' }, 'timeout', 'CANCELLED'],
    [{ exitCode: 0, stoppedFor: 'cancel' }, 'cancelled', 'CANCELLED'],
    [{ exitCode: 143, stoppedFor: 'idle' }, 'idleTimeout', 'IDLE_TIMEOUT'],
    [{ exitCode: 137, stoppedFor: 'fence' }, 'leaseOver', 'CANCELLED'],
    [{ exitCode: 125, lastWords: `done\n${RAN_BEFORE}\n` }, 'unknown', 'INTERRUPTED'],
    [{ exitCode: 0, lastWords: RAN_BEFORE }, 'exited', null],
  ]
  for (const [change, reason, code] of rows) {
    const verdict = classify(end(change))
    t.equal(verdict.reason, reason, JSON.stringify(change))
    t.equal(verdict.failure?.code ?? null, code, JSON.stringify(change))
    if (code !== null) t.ok(code in FAILURE_CODES)
  }
})

t.test('what the end of an engine with a language model means', async (t) => {
  const NO_CALLS = { refusals: [], lastError: null }
  const refused = (unit: SessionUsage['refusals'][number]['unit']) => ({ unit, scope: 'command', count: 1 })
  const said = (code: NonNullable<EngineOutcome['failure']>['code']): EngineOutcome => ({
    ...{ answer: null, sessionId: null },
    failure: { code, message: 'it says' },
  })
  const fine: EngineOutcome = { answer: 'done', sessionId: null, failure: null }
  const rows: [
    string,
    Partial<End>,
    EngineOutcome | null,
    Partial<typeof NO_CALLS | SessionUsage> | null,
    string,
    string | null,
  ][] = [
    ['all is well', {}, fine, {}, 'exited', null],
    ['nobody could ask the gateway', {}, fine, null, 'exited', null],
    [
      'money',
      { exitCode: 1 },
      said('ENGINE_ERROR'),
      { refusals: [refused('costMicroUsd')] },
      'budget',
      'BUDGET_EXCEEDED',
    ],
    ['tokens', { exitCode: 1 }, fine, { refusals: [refused('tokens')] }, 'budget', 'BUDGET_EXCEEDED'],
    ['turns', { exitCode: 1 }, fine, { refusals: [refused('requests')] }, 'turnLimit', 'TURN_LIMIT'],
    [
      'both',
      { exitCode: 1 },
      fine,
      { refusals: [refused('requests'), refused('tokens')] },
      'budget',
      'BUDGET_EXCEEDED',
    ],
    ['a price that nobody knows', { exitCode: 1 }, fine, { refusals: [refused(null)] }, 'budget', 'BUDGET_EXCEEDED'],
    ['refused, and it says that all is well', {}, fine, { refusals: [refused('tokens')] }, 'budget', 'BUDGET_EXCEEDED'],
    ['it says that it failed, with 0', {}, said('ENGINE_ERROR'), {}, 'engineError', 'ENGINE_ERROR'],
    ['it says that it has no turns left', { exitCode: 1 }, said('TURN_LIMIT'), {}, 'turnLimit', 'TURN_LIMIT'],
    [
      'a provider that refuses',
      { exitCode: 1 },
      said('ENGINE_ERROR'),
      { lastError: { status: 401, message: '401' } },
      'gatewayError',
      'GATEWAY_ERROR',
    ],
    [
      'a provider that nobody reaches, and silence',
      { exitCode: 1 },
      null,
      { lastError: { status: null, message: 'none' } },
      'gatewayError',
      'GATEWAY_ERROR',
    ],
    [
      'what is left of a status of HTTP is no signal',
      { exitCode: 145 },
      said('GATEWAY_ERROR'),
      {},
      'gatewayError',
      'GATEWAY_ERROR',
    ],
    ['a signal is one', { exitCode: 139 }, said('ENGINE_ERROR'), {}, 'signal', 'EXIT_SIGNAL'],
    ['it says nothing', { exitCode: 1 }, fine, {}, 'exited', 'EXIT_NONZERO'],
    [
      'stopped by this agent',
      { exitCode: 143, stoppedFor: 'timeout' },
      said('ENGINE_ERROR'),
      { refusals: [refused('tokens')] },
      'timeout',
      'CANCELLED',
    ],
    ['out of memory', { exitCode: 137, oomKilled: true }, null, {}, 'outOfMemory', 'OOM_KILLED'],
    ['the machine died', { exitCode: 255, unwatched: true }, null, {}, 'hostStopped', 'HOST_STOPPED'],
  ]
  for (const [name, change, outcome, told, reason, code] of rows) {
    const gateway = told === null ? null : ({ ...NO_CALLS, ...told } as SessionUsage)
    const verdict = classify({ ...end(change), engine: { outcome, gateway } })
    t.equal(verdict.reason, reason, name)
    t.equal(verdict.failure?.code ?? null, code, name)
  }
})

t.test('an engine is available where its image and a key for it are', async (t) => {
  const gateway = (up: boolean, ...keys: string[]) => ({
    up: () => up,
    reason: () => 'ECONNREFUSED',
    has: (name: string) => keys.includes(name),
  })
  const machine = {
    ...{ slots: 1, docker: { up: true, reason: '' }, image: 'an-image', runtime: '', hasImage: true, hasRuntime: true },
    ...{ providers: ['anthropic', 'openai'] as const, gateway: gateway(true, 'openai') },
    ...{ hasAdapter: true, adapter: 'own', isAllowed: true, probed: { ok: true } as const },
  }
  t.same(availability(machine), { available: true, reason: null }, 'one of its providers will do')
  const rows: [object, RegExp][] = [
    [{ gateway: gateway(true, 'gemini') }, /no key for anthropic or openai/],
    [{ gateway: gateway(false, 'openai') }, /does not answer: ECONNREFUSED/],
    [{ gateway: null }, /no gateway/],
    [{ hasImage: false }, /an-image/],
    [{ hasImage: null }, /not asked/],
    [{ hasAdapter: false }, /no adapter own/],
    [{ isAllowed: false }, /RUN_AGENT_IMAGES/],
    [{ probed: null }, /being asked/],
    [{ probed: { ok: false, reason: 'It says 2, and not 1.' } }, /an-image is not fit: It says 2/],
    [{ slots: 0 }, /MAX_CONCURRENT_AGENTS/],
    [{ docker: { up: false, reason: 'gone' } }, /gone/],
  ]
  for (const [change, reason] of rows) t.match(availability({ ...machine, ...change }), { available: false, reason })
  t.match(availability({ ...machine, providers: [], gateway: null }), { available: true }, 'shell needs none')
})
