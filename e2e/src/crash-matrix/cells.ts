/**
 * The cells of the matrix as data: what happens, in which situation, and how the command may end. Nothing runs here.
 *
 * What is expected follows from one fact: how far the attempt had come when its agent was lost. Before the grant it
 * never started; before the intent is in the journal it has not begun; after the outcome is, it is known; between the
 * two it depends on the type whether a restarted agent can go on.
 */
import type { CRASH_POINT_NAMES as AGENT_POINTS } from '@agent-executor/agent/crash-points'
import type { CRASH_POINT_NAMES as SERVER_POINTS } from '@agent-executor/control-server/crash-points'
import { serverLeaseMs } from '@agent-executor/control-server/lifecycle/lease-policy'
import { FAULTS, type Fault, type Message, type Misbehaviour } from '../faulty-proxy.ts'

/** As short as the server allows. */
export const LEASE_MS = 1000
/** After so long the lease is over on the server's clock as well, and the sweeper has seen it. */
export const LEASE_OVER_MS = serverLeaseMs(LEASE_MS) + 300

/** What a type does, and what becomes of it where its agent dies between intent and outcome. A further type is a further row. */
export const TYPES = {
  DELAY: { payload: (effectMs: number) => ({ ms: effectMs }), afterCrash: 'resumed' },
  HTTP_GET_JSON: {
    payload: (effectMs: number, targetUrl: string) => ({ url: `${targetUrl}/visit/${effectMs}` }),
    afterCrash: 'in doubt',
  },
  RUN_AGENT: {
    payload: (effectMs: number) => ({
      ...{ engine: 'shell', prompt: `echo begun; sleep ${effectMs / 1000}; echo done; echo kept >/output/kept` },
      resources: { memoryBytes: 64 * 2 ** 20 },
    }),
    afterCrash: 'adopted',
  },
} as const satisfies Record<
  string,
  { payload: (effectMs: number, targetUrl: string) => object; afterCrash: AfterCrash }
>
/** `adopted`: goes on without its agent, and its next life finds it. */
type AfterCrash = 'resumed' | 'in doubt' | 'adopted'
type Type = keyof typeof TYPES

/** What has no cells, and why. */
export const NOT_HERE = {
  'container.taken': 'Only with a pool, which the agents here do not have: e2e/test/run-agent.test.ts.',
  'container.delivered': 'Only with a pool, which the agents here do not have: e2e/test/run-agent.test.ts.',
  'files.before-commit': 'Only uploads and artifacts come there: e2e/test/files.test.ts kills the server there.',
  'files.after-commit': 'Only uploads and artifacts come there: e2e/test/files.test.ts kills the server there.',
} as const

type Restart = 'at once' | 'after the lease' | 'never' | 'late'

/** How the command ends: its status, or the code of its failure. */
export type Ending = 'COMPLETED' | 'CANCELLED' | 'INTERRUPTED' | 'LOST'

/** `effects` counts attempts whose effect began, least and most. */
type Expected = { ending: Ending; effects: readonly [number, number] }

/** One more than the cells need: on a busy machine a lease this short may end once more. */
export const RETRIES = 3

type Place = { table: string; row: string; type: Type; column: string }

export type Cell = Place & {
  name: string
  /** Who works: an agent of this repository, or a client that knows `next` and `result` only. */
  client: 'agent' | 'simple'
  /** A new one, because its start is part of the cell, or it is a simple client, which leaves nothing that could stay. */
  fresh: boolean
  cause:
    | { kind: 'crash'; in: 'agent' | 'server'; point: `${string}:${number}`; both: boolean; restart: Restart }
    | { kind: 'proxy'; misbehaviour: Misbehaviour }
  /** `RETRIES` attempts and `takeover: auto`, instead of one attempt and `manual`. */
  retries: boolean
  /** Another agent is there, and goes on when the cause has happened. */
  other: boolean
  /**
   * `waiting`: submitted before the agent starts. `idle`: submitted while it waits. `later`: with a `notBefore`.
   * `submitting`: the crash is in the submission. `crowded`: the same among others that submit. `running`: crash or fault not before it runs. `cancelled`: cancelled
   * while it runs. `agent dead`: the agent is killed while it runs.
   */
  situation: 'waiting' | 'idle' | 'later' | 'submitting' | 'crowded' | 'running' | 'cancelled' | 'agent dead'
  effectMs: number
  expected: Expected
}

export type Skipped = Place & { skipped: string }

const EFFECT_MS = 200
/** So long that leases end and heartbeats are sent meanwhile. */
const LONG_EFFECT_MS = 2000
/** So long that it is not over before its agent is killed; longer, and a busy machine may lose a lease twice. */
const KILLED_EFFECT_MS = 1000
const ENDLESS_MS = 60_000

/** How far an attempt has come, as a journal and a server that survive would tell. */
type Reached = 'waiting' | 'offered' | 'granted' | 'started' | 'begun' | 'done' | 'finished' | 'acknowledged'

const AGENT_ROWS: Readonly<Record<Exclude<(typeof AGENT_POINTS)[number], keyof typeof NOT_HERE>, Reached>> = {
  'register.before-send': 'waiting',
  'register.after-answer': 'waiting',
  'sync.before-send': 'waiting',
  'sync.after-answer': 'offered',
  'accept.before-commit': 'offered',
  'accept.after-commit': 'offered',
  'grant.received': 'granted',
  'start.before-commit': 'granted',
  'start.after-commit': 'started',
  'effect.begun': 'started',
  'container.created': 'started',
  'container.before-commit': 'started',
  'container.after-commit': 'started',
  'container.started': 'begun',
  'container.exited': 'done',
  'artifacts.half-stored': 'done',
  'artifacts.stored': 'done',
  'effect.done': 'done',
  'finish.before-commit': 'done',
  'finish.after-commit': 'finished',
  'ack.before-commit': 'acknowledged',
  'ack.after-commit': 'acknowledged',
}

/** By hit: a command takes a sync that offers, one that grants, one that reports, and one that finds nothing left. */
const SERVER_ROWS: Readonly<
  Record<Exclude<(typeof SERVER_POINTS)[number], keyof typeof NOT_HERE>, readonly Reached[]>
> = {
  'submit.before-commit': ['waiting'],
  'submit.after-commit': ['waiting'],
  'register.before-commit': ['waiting'],
  'register.after-commit': ['waiting'],
  'sync.before-commit': ['waiting', 'offered', 'finished', 'acknowledged'],
  'sync.after-commit': ['offered', 'granted', 'acknowledged', 'acknowledged'],
  'heartbeat.before-commit': ['started'],
  'heartbeat.after-commit': ['started'],
  'next.before-commit': ['waiting'],
  'next.after-commit': ['granted'],
  'result.before-commit': ['done'],
  'result.after-commit': ['acknowledged'],
  'cancel.before-commit': ['started'],
  'cancel.after-commit': ['started'],
  'sweep.before-commit': ['started'],
  'sweep.after-commit': ['started'],
  'batch.half-written': ['waiting'],
}

/** What each of these syncs tells of the command: its phase in `held`, or nothing. */
export const SYNC_TELLS: readonly (string | null)[] = [null, 'accepted', 'finished', null]

type Column = { restart: Restart; retries: boolean }

const once = (restart: Restart): Column => ({ restart, retries: false })
const retried = (restart: Restart): Column => ({ restart, retries: true })
const columnName = ({ restart, retries }: Column): string => (retries ? `${restart}, retries` : restart)

const CRASH_COLUMNS = {
  agent: [once('at once'), once('after the lease'), once('never'), once('late'), retried('never'), retried('late')],
  server: [once('at once'), once('after the lease'), retried('after the lease'), once('never'), once('late')],
  // `late` begins as `never` would: another agent takes over, then the dead one is back.
  both: [once('at once'), once('after the lease'), retried('late')],
} as const

/** How a command may end whose agent was lost. */
function afterLoss(reached: Reached, afterCrash: AfterCrash | 'forgotten', column: Column): Expected {
  const { restart, retries } = column
  const ends = (ending: Ending, least: number, most: number): Expected => ({ ending, effects: [least, most] })
  const comesBack = restart !== 'never' && afterCrash !== 'forgotten'
  switch (reached) {
    case 'waiting':
    case 'offered':
    case 'acknowledged':
      return ends('COMPLETED', 1, 1)
    case 'granted':
      return retries || comesBack ? ends('COMPLETED', 1, 1) : ends('LOST', 0, 0)
    case 'started':
    case 'begun':
    case 'done':
    case 'finished': {
      const begun = reached === 'started' ? 0 : 1
      // A known outcome that comes back before the next grant saves the second run.
      if (retries) return ends('COMPLETED', reached === 'finished' && comesBack ? 1 : begun + 1, RETRIES)
      if (!comesBack) return ends('LOST', begun, 1)
      return reached === 'finished' || afterCrash !== 'in doubt'
        ? ends('COMPLETED', 1, 1)
        : ends('INTERRUPTED', begun, 1)
    }
  }
}

/** A command that is cancelled while it runs does not end by itself: it is stopped, or its agent is never heard of again. */
const afterCancel = (agentLost: boolean, { restart, retries }: Column): Expected => ({
  ending: agentLost && restart === 'never' && !retries ? 'LOST' : 'CANCELLED',
  effects: [0, 1],
})

const named = <Rest extends Place>(cell: Rest): Rest & { name: string } => ({
  ...cell,
  name: [cell.table, cell.row, cell.type, cell.column].join(' / '),
})

function agentCrash(point: keyof typeof AGENT_ROWS, both: boolean, type: Type, column: Column): Cell | Skipped {
  const place = {
    table: both ? 'both die, at a point of the agent' : 'the agent dies',
    row: point,
    type,
    column: columnName(column),
  }
  if (/^(container|artifacts)/.test(point) && type !== 'RUN_AGENT') return { ...place, skipped: 'It has no container.' }
  if (type === 'RUN_AGENT' && column.retries)
    return {
      ...place,
      skipped: 'A container goes on while its agent is dead: it is not taken over, and takeover is manual.',
    }
  return named({
    ...place,
    client: 'agent',
    fresh: point.startsWith('register'),
    cause: { kind: 'crash', in: 'agent', point: `${point}:1`, both, restart: column.restart },
    retries: column.retries,
    other: column.restart === 'never' || column.restart === 'late',
    situation: 'waiting',
    effectMs: EFFECT_MS,
    expected: afterLoss(AGENT_ROWS[point], TYPES[type].afterCrash, column),
  })
}

/** For a type that takes longer to run through than others. */
const SAME_FOR_THE_SERVER = 'To the server, and to the messages, it is the same as DELAY.'

function serverCrash(
  point: keyof typeof SERVER_ROWS,
  hit: number,
  reached: Reached,
  both: boolean,
  type: Type,
  column: Column,
): Cell | Skipped {
  const [operation] = point.split('.') as [string]
  const place = {
    table: both ? 'both die, at a point of the server' : 'the server dies',
    row: hit === 1 && !point.startsWith('sync') ? point : `${point}:${hit}`,
    type,
    column: columnName(column),
  }
  const other = column.restart === 'never' || column.restart === 'late'
  if (type === 'RUN_AGENT') return { ...place, skipped: SAME_FOR_THE_SERVER }
  if (!both && other) return { ...place, skipped: 'The agent goes on: there is none to start again.' }
  if (both && (operation === 'submit' || operation === 'batch'))
    return { ...place, skipped: 'Nothing is handed out yet: for the agent it is the crash of the server alone.' }

  const simple = operation === 'next' || operation === 'result'
  const situations: Readonly<Record<string, Cell['situation']>> = {
    submit: 'submitting',
    batch: 'crowded',
    heartbeat: 'running',
    cancel: 'cancelled',
    sweep: both ? 'agent dead' : 'later',
  }
  const situation = situations[operation] ?? 'waiting'
  const effectsMs: Readonly<Partial<Record<Cell['situation'], number>>> = {
    running: LONG_EFFECT_MS,
    cancelled: ENDLESS_MS,
    'agent dead': KILLED_EFFECT_MS,
  }
  const expected = (): Expected => {
    if (operation === 'cancel') return afterCancel(both, column)
    if (both) return afterLoss(reached, simple ? 'forgotten' : TYPES[type].afterCrash, column)
    // The answer to `next` is gone: only the client could say that it never saw it, and has no words for it.
    if (point === 'next.after-commit') return afterLoss(reached, 'forgotten', column)
    // The server was away for longer than the lease: what may be taken over was stopped, and is tried again.
    return { ending: 'COMPLETED', effects: [1, column.retries ? RETRIES : 1] }
  }
  return named({
    ...place,
    client: simple ? 'simple' : 'agent',
    fresh: simple || operation === 'register',
    cause: { kind: 'crash', in: 'server', point: `${point}:${hit}`, both, restart: column.restart },
    retries: column.retries,
    other,
    situation,
    effectMs: effectsMs[situation] ?? EFFECT_MS,
    expected: expected(),
  })
}

type ProxyRow = { row: string; message: Message; has?: string } & Partial<
  Pick<Cell, 'client' | 'situation' | 'effectMs'>
>

const PROXY_ROWS: readonly ProxyRow[] = [
  { row: 'register', message: 'register' },
  { row: 'sync that asks for work', message: 'sync', has: '"held":[]' },
  { row: 'sync that accepts', message: 'sync', has: '"phase":"accepted"' },
  { row: 'sync that renews', message: 'sync', has: '"phase":"running"', effectMs: LONG_EFFECT_MS },
  { row: 'sync that reports', message: 'sync', has: '"phase":"finished"' },
  { row: 'wait', message: 'wait', situation: 'idle' },
  { row: 'heartbeat', message: 'heartbeat', situation: 'running', effectMs: LONG_EFFECT_MS },
  { row: 'next', message: 'next', client: 'simple' },
  { row: 'result', message: 'result', client: 'simple' },
]

/** The server has acted on it, and the client was not told. */
const UNTOLD: readonly Fault[] = ['response lost', 'response cut', 'status 500']

function afterFault(row: string, fault: Fault, retries: boolean): Expected {
  if (row === 'next' && UNTOLD.includes(fault))
    return afterLoss('granted', 'forgotten', { restart: 'at once', retries })
  // Held past the lease. What had begun was stopped, or its outcome comes too late; what had not begun does not begin.
  const begun = row === 'sync that renews' || row === 'heartbeat'
  const tooLate = fault === 'request delayed' && (row === 'sync that reports' || row === 'result')
  return { ending: 'COMPLETED', effects: [1, retries && (begun || tooLate) ? RETRIES : 1] }
}

function proxyFault(
  { row, message, has, client = 'agent', ...more }: ProxyRow,
  fault: Fault,
  type: Type,
  retries: boolean,
): Cell | Skipped {
  const place = { table: 'a message goes wrong', row, type, column: retries ? `${fault}, retries` : fault }
  if (type === 'RUN_AGENT') return { ...place, skipped: SAME_FOR_THE_SERVER }
  return named({
    ...place,
    client,
    fresh: client === 'simple' || message === 'register',
    cause: {
      kind: 'proxy',
      misbehaviour: {
        ...{ fault, message, holdMs: LEASE_OVER_MS },
        ...(has === undefined ? {} : { when: (body: string) => body.includes(has) }),
        // Of these two the next one may be long in coming.
        ...(message === 'wait' || message === 'heartbeat' ? { newer: 'sync' } : {}),
      },
    },
    retries,
    other: retries,
    situation: 'waiting',
    effectMs: EFFECT_MS,
    expected: afterFault(row, fault, retries),
    ...more,
  })
}

const keys = <Key extends string>(table: Readonly<Record<Key, unknown>>) => Object.keys(table) as Key[]

/** Every cell, and every combination that is none. */
export const CELLS: readonly (Cell | Skipped)[] = keys(TYPES).flatMap((type) => [
  ...keys(AGENT_ROWS).flatMap((point) => [
    ...CRASH_COLUMNS.agent.map((column) => agentCrash(point, false, type, column)),
    ...CRASH_COLUMNS.both.map((column) => agentCrash(point, true, type, column)),
  ]),
  ...keys(SERVER_ROWS).flatMap((point) =>
    SERVER_ROWS[point].flatMap((reached, index) => [
      ...CRASH_COLUMNS.server.map((column) => serverCrash(point, index + 1, reached, false, type, column)),
      ...CRASH_COLUMNS.both.map((column) => serverCrash(point, index + 1, reached, true, type, column)),
    ]),
  ),
  ...PROXY_ROWS.flatMap((row) =>
    keys(FAULTS).flatMap((fault) =>
      // Only what outlasts the lease lets anybody take over.
      (fault.endsWith('delayed') ? [false, true] : [false]).map((retries) => proxyFault(row, fault, type, retries)),
    ),
  ),
])

/** The slice that `npm test` runs: each kind of crash and of fault, at the points where most is at stake. */
export const QUICK: readonly string[] = [
  'the agent dies / accept.after-commit / DELAY / late',
  'the agent dies / grant.received / HTTP_GET_JSON / at once',
  'the agent dies / start.after-commit / DELAY / at once',
  'the agent dies / effect.begun / HTTP_GET_JSON / at once',
  'the agent dies / effect.done / HTTP_GET_JSON / never, retries',
  'the agent dies / finish.after-commit / HTTP_GET_JSON / after the lease',
  'the agent dies / ack.before-commit / HTTP_GET_JSON / at once',
  'the agent dies / container.after-commit / RUN_AGENT / after the lease',
  'the agent dies / container.started / RUN_AGENT / late',
  'the agent dies / container.exited / RUN_AGENT / never',
  'the server dies / sync.after-commit:2 / HTTP_GET_JSON / at once',
  'the server dies / sync.after-commit:3 / HTTP_GET_JSON / at once',
  'the server dies / sweep.before-commit / DELAY / at once',
  'the server dies / batch.half-written / DELAY / at once',
  'the server dies / result.after-commit / HTTP_GET_JSON / at once',
  'both die, at a point of the agent / effect.done / DELAY / at once',
  'both die, at a point of the server / sync.after-commit:2 / HTTP_GET_JSON / at once',
  'a message goes wrong / register / HTTP_GET_JSON / reordered',
  'a message goes wrong / sync that asks for work / HTTP_GET_JSON / response lost',
  'a message goes wrong / sync that accepts / HTTP_GET_JSON / duplicated',
  'a message goes wrong / sync that accepts / HTTP_GET_JSON / reordered',
  'a message goes wrong / sync that accepts / HTTP_GET_JSON / response delayed, retries',
  'a message goes wrong / sync that reports / HTTP_GET_JSON / request lost',
  'a message goes wrong / sync that reports / HTTP_GET_JSON / response cut',
  'a message goes wrong / sync that reports / HTTP_GET_JSON / status 500',
  'a message goes wrong / sync that reports / DELAY / HTML page',
  'a message goes wrong / wait / HTTP_GET_JSON / request cut',
  'a message goes wrong / next / HTTP_GET_JSON / duplicated',
  'a message goes wrong / result / HTTP_GET_JSON / response lost',
]
