/**
 * Mixed load on a server, two agents and a simple client while all of them are killed and suspended at random; then the
 * faults stop, and everything has to come to its end. What was promised is checked all the way, from outside.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { closeSqliteFile, openSqliteFile } from '@agent-executor/runtime'
import { type CommandView, createApi } from '../api.ts'
import { freePort, type Process, start, startAgent } from '../processes.ts'
import { createRandom } from '../random.ts'
import { startTarget, type Target } from '../target.ts'
import { AGENT_LABEL, mayEndSo, type Submitted, submitting, TOTAL_TIMEOUT_MS, takingSimply } from './load.ts'
import { highest, residentMb, type Series, sizeKb, slopeAMinute } from './measure.ts'
import { supervise } from './supervisor.ts'

export type Figures = {
  seed: number
  seconds: number
  commands: number
  ends: Record<string, number>
  kills: number
  suspensions: number
  checks: number
  effects: number
  duplicates: number
  lost: number
  unnamed: number
  late: number
  rssMaxMb: number
  growthAMinute: Record<string, string>
  violations: string[]
}

const LEASE_MS = 2000
const AGENTS = ['a', 'b']
const JOURNAL_ROWS_MAX = 1000
const CHECK_MS = 10_000
/** A command that is not final so long after all its deadlines stays so. */
const LATE_MS = 60_000
const SETTLE_MS = 120_000
/** A slope through fewer is that of the start. */
const SLOPE_SAMPLES_MIN = 10

export async function soak(options: {
  seed: number
  /** The load goes on for so long, and until so many commands were acknowledged. */
  durationMs: number
  commandsMin?: number
  dir: string
  /** Between two submissions of one of the clients, on average. */
  pauseMs?: number
  tell?: (line: string) => void
}): Promise<Figures> {
  const { seed, dir, tell = () => {}, pauseMs = 300 } = options
  const random = createRandom(seed)
  const beganMs = Date.now()
  const port = await freePort()
  const api = createApi(port)
  const target = await startTarget()
  const serverFlags = ['--data-dir', `${dir}/server`, '--port', String(port), '--lease-ms', String(LEASE_MS)]
  const agentFlags = ['--labels', AGENT_LABEL, '--journal-rows-max', String(JOURNAL_ROWS_MAX)]
  const launchAgent = (name: string): Process => startAgent(`${dir}/${name}`, port, ['--agent-id', name, ...agentFlags])
  const server = supervise('server', createRandom(random.between(1, 1e9)), () =>
    start('control-server/dist/src/server.js', [...serverFlags, '--sweep-ms', '100', '--log-level', 'warn']),
  )
  const agents = AGENTS.map((name) => supervise(name, createRandom(random.between(1, 1e9)), () => launchAgent(name)))
  const all = [server, ...agents]

  const acknowledged: Submitted[] = []
  const handedOut = new Map<string, number>()
  const finals = new Map<string, string>()
  const series = new Map<string, Series>()
  const violations: string[] = []
  const violated = (what: string): void => {
    if (!violations.includes(what)) violations.push(what)
    tell(`VIOLATION ${what}`)
  }
  let checks = 0
  let late = 0

  const measured = (name: string, unit: Series['unit'], bound: number, value: number | undefined): void => {
    if (value === undefined) return
    const known = series.get(name) ?? { name, unit, bound, samples: [] }
    series.set(name, known)
    known.samples.push({ atMs: Date.now(), value })
    if (value > bound) violated(`${name} is ${value} ${unit}, more than ${bound}`)
  }
  const measure = (): void => {
    for (const { name, current } of all) measured(`rss ${name}`, 'MB', 400, residentMb(current().pid))
    const databases = { server: 'commands.db', ...Object.fromEntries(AGENTS.map((name) => [name, 'idempotency.db'])) }
    for (const [name, file] of Object.entries(databases)) {
      // Some kilobytes a command; the journals forget.
      const rows = name === 'server' ? acknowledged.length : Math.min(acknowledged.length, 20 * JOURNAL_ROWS_MAX)
      measured(`file ${name}`, 'KB', 1024 + 16 * rows, sizeKb(`${dir}/${name}/${file}`))
      measured(`wal ${name}`, 'KB', 32 * 1024, sizeKb(`${dir}/${name}/${file}-wal`))
    }
  }

  const list = (query: string): Promise<CommandView[]> =>
    api.patiently('list', async () => {
      const { status, body } = await api.call('GET', `/commands?limit=1000&${query}`)
      if (status !== 200) throw new Error(`list answered ${status}`)
      return (Array.isArray(body) ? body : body.items) as CommandView[]
    })

  const check = async (): Promise<void> => {
    checks += 1
    measure()
    const live = await list('status=PENDING,RUNNING&fields=commandId,status,createdAt')
    const tooOldMs = Date.now() - TOTAL_TIMEOUT_MS - LATE_MS
    for (const { commandId, status, createdAt } of live) {
      if (finals.has(commandId)) violated(`${commandId} was ${finals.get(commandId)} and is ${status}`)
      if (Date.parse(String(createdAt)) > tooOldMs) continue
      late += 1
      violated(`${commandId} is ${status} ${LATE_MS} ms after its deadlines`)
    }
    for (const { commandId, status } of await list('status=COMPLETED,FAILED,CANCELLED&fields=commandId,status')) {
      if ((finals.get(commandId) ?? status) !== status)
        violated(`${commandId} was ${finals.get(commandId)}, is ${status}`)
      finals.set(commandId, status)
    }
    for (const { commandId, maxAttempts } of acknowledged.slice(-2000))
      if (target.hits(commandId) > maxAttempts) violated(`${commandId}: ${target.hits(commandId)} effects`)
    const seconds = Math.round((Date.now() - beganMs) / 1000)
    const rss = all
      .map(({ name }) => `${name} ${series.get(`rss ${name}`)?.samples.at(-1)?.value ?? '-'} MB`)
      .join(', ')
    const kills = all.reduce((sum, { counts }) => sum + counts.kills, 0)
    tell(`${seconds} s: ${acknowledged.length} commands, ${live.length} live, ${kills} kills, ${rss}`)
  }

  const loadOver = new AbortController()
  const simpleOver = new AbortController()
  try {
    const clients = ['w', 'x', 'y', 'z'].map((name) =>
      submitting({
        ...{ api, name, pauseMs, acknowledged, targetUrl: target.url, stopped: loadOver.signal },
        random: createRandom(random.between(1, 1e9)),
      }).catch((error: unknown) => violated(`client ${name}: ${error}`)),
    )
    const simple = takingSimply({
      ...{ api, handedOut, stopped: simpleOver.signal },
      random: createRandom(random.between(1, 1e9)),
    }).catch((error: unknown) => violated(`the simple client: ${error}`))
    const leftMs = () => beganMs + options.durationMs - Date.now()
    while (leftMs() > 0 || acknowledged.length < (options.commandsMin ?? 0)) {
      await sleep(leftMs() > 0 ? Math.min(CHECK_MS, leftMs()) : 1000)
      await check()
    }
    loadOver.abort()
    await Promise.all(clients)
    await Promise.all(all.map((each) => each.leave()))
    tell('the faults stop')
    await api
      .eventually(
        'the end of every command',
        async () => (await list('status=PENDING,RUNNING')).length === 0,
        SETTLE_MS,
      )
      .catch(() => violated(`not every command is final ${SETTLE_MS} ms after the last fault`))
    simpleOver.abort()
    await simple
    await check()

    const verdict = await judged(api.get, acknowledged, target, handedOut, finals)
    verdict.violations.forEach(violated)
    for (const { counts } of all) counts.deaths.forEach(violated)
    await Promise.all(agents.map((each) => each.kill()))
    await pruned(AGENTS, launchAgent)
    await server.kill()
    for (const name of AGENTS) {
      const rows = journalRows(`${dir}/${name}/idempotency.db`)
      if (rows.acked > JOURNAL_ROWS_MAX) violated(`journal ${name} remembers ${rows.acked} acknowledged attempts`)
      if (rows.open > 0) violated(`journal ${name} has ${rows.open} entries that were never acknowledged`)
    }
    const growth = [...series.values()]
      .filter(({ samples }) => samples.length >= SLOPE_SAMPLES_MIN)
      .map((each) => [each.name, `${slopeAMinute(each)} ${each.unit}`])
    return {
      seed,
      seconds: Math.round((Date.now() - beganMs) / 1000),
      commands: acknowledged.length,
      ...verdict.figures,
      kills: all.reduce((sum, { counts }) => sum + counts.kills, 0),
      suspensions: all.reduce((sum, { counts }) => sum + counts.suspensions, 0),
      checks,
      late,
      rssMaxMb: Math.max(...[...series.values()].filter(({ unit }) => unit === 'MB').map(highest)),
      growthAMinute: Object.fromEntries(growth),
      violations,
    }
  } finally {
    loadOver.abort()
    simpleOver.abort()
    await Promise.all(all.map((each) => each.kill()))
    await target.close()
  }
}

/** Every acknowledged command against what happened outside. */
async function judged(
  get: (commandId: string) => Promise<CommandView>,
  acknowledged: readonly Submitted[],
  target: Target,
  handedOut: ReadonlyMap<string, number>,
  finals: ReadonlyMap<string, string>,
) {
  const figures = { ends: {} as Record<string, number>, effects: 0, duplicates: 0, lost: 0, unnamed: 0 }
  const violations: string[] = []
  const violated = (figure: 'duplicates' | 'lost' | 'unnamed', what: string): void => {
    figures[figure] += 1
    violations.push(what)
  }
  for (const { kind, commandId, maxAttempts } of acknowledged) {
    const command = await get(commandId).catch(() => undefined)
    if (command === undefined) {
      violated('lost', `${commandId} was acknowledged and is not there`)
      continue
    }
    const end = command.error === null ? command.status : command.error.code
    figures.ends[end] = (figures.ends[end] ?? 0) + 1
    const told = JSON.stringify({ kind, ...command })
    if (!mayEndSo(kind, command)) violated('unnamed', `may not end so: ${told}`)
    if ((finals.get(commandId) ?? command.status) !== command.status) violated('lost', `its end has changed: ${told}`)

    const visits = [...target.visits(commandId)].sort((a, b) => a.fromMs - b.fromMs)
    const effects = visits.length + (handedOut.get(commandId) ?? 0)
    const granted = command.attempts.filter((attempt) => attempt.grantedAt !== null)
    figures.effects += effects
    if (effects > Math.min(granted.length, maxAttempts)) violated('duplicates', `${effects} effects: ${told}`)
    if (new Set(visits.map(({ attempt }) => attempt)).size < visits.length)
      violated('duplicates', `an attempt had two effects: ${told}`)
    if (visits.some(({ fromMs }, index) => fromMs < (visits[index - 1]?.toMs ?? 0)))
      violated('duplicates', `two attempts at the same time: ${told}`)
    if (command.status === 'COMPLETED' && command.type === 'HTTP_GET_JSON' && visits.length === 0)
      violated('lost', `a result without a request: ${told}`)
  }
  return { figures, violations }
}

/** The journals are pruned at the start: one more life of each agent, up to its registration. */
async function pruned(names: readonly string[], launch: (name: string) => Process): Promise<void> {
  for (const name of names) {
    const agent = launch(name)
    await agent.logged(({ msg }) => msg === 'registered')
    agent.signal('SIGTERM')
    await agent.ended
  }
}

const MIGRATIONS = fileURLToPath(new URL('../../../../agent/sql/sqlite/migrations', import.meta.url))

function journalRows(file: string): { acked: number; open: number } {
  const db = openSqliteFile({ file, migrations: MIGRATIONS, nowMs: Date.now() })
  const count = (where: string) => db.prepare(`SELECT count(*) FROM entries WHERE ${where}`).pluck().get() as number
  const rows = { acked: count("phase = 'ACKED'"), open: count("phase <> 'ACKED'") }
  closeSqliteFile(db)
  return rows
}
