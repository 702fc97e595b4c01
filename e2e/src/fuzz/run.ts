/**
 * The fuzz: rounds of every attack on every route of a server process. After each batch the server has to be as well as
 * before. The same seed makes the same choices; what the server has answered meanwhile is part of what is sent.
 */
import { readFileSync } from 'node:fs'
import { freePort, startServer } from '../processes.ts'
import { createRandom } from '../random.ts'
import { routes as registered } from '../routes.ts'
import { ATTACKS, PEACE } from './attacks.ts'
import { faultOf } from './judge.ts'
import { AGENT_IDS, createMemory, type Json } from './samples.ts'
import { createTour } from './tour.ts'
import { type Answer, exchange } from './wire.ts'

export type Fault = { shot: number; attack: string; what: string; sent: string }
type Figures = {
  rounds: number
  requests: number
  answers: number
  statuses: Record<string, number>
  /** How often each route did what was asked. */
  served: Record<string, number>
  commands: number
  rssMbMax: number
}
type Report = { faults: Fault[]; figures: Figures }

const BATCH = 60
const AT_A_TIME = 20
/** Requests of an attack that is none. */
const PEACEFUL = 8
/** A server that keeps what it was sent dies of the first, whatever else is on the machine; buffers count for the second. */
const HEAP_MB_MAX = 192
const RSS_MB_MAX = 512
const FLOOD_BODY_MB = 16
const FAULTS_MAX = 10
const SENT_CHARACTERS_MAX = 3000

type Options = { seed: number; rounds?: number; seconds?: number; only?: number }

/** So many rounds, or as many as begin in so many seconds; with `only`, that shot over and over. */
export async function fuzz(
  dataDir: string,
  { seed, rounds = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY, only }: Options,
): Promise<Report> {
  const port = await freePort()
  const routes = registered()
  const withBody = routes.filter(({ schema }) => schema.body !== undefined)
  const names = Object.keys(ATTACKS)
  const perRound = routes.length * names.length
  // A short lease lets other agents have their turn.
  const flags = ['--log-level', 'info', '--lease-ms', '1000', '--offer-ms', '300']
  const server = await startServer(dataDir, port, flags, [`NODE_OPTIONS=--max-old-space-size=${HEAP_MB_MAX}`])
  const memory = createMemory()
  const tour = createTour(port, (answer) => memory.remember(answer, ''))
  const faults: Fault[] = []
  const statuses: Record<string, number> = {}
  const served: Record<string, number> = Object.fromEntries(routes.map(({ name }) => [name, 0]))
  const figures: Figures = { rounds: 0, requests: 0, answers: 0, statuses, served, commands: 0, rssMbMax: 0 }
  const created = new Set<string>()
  const fault = (what: string, at: Omit<Fault, 'what'> = { shot: 0, attack: '-', sent: '' }): void => {
    if (faults.length < FAULTS_MAX) faults.push({ ...at, what })
  }

  /** Whether it did what was asked. */
  const hear = (answer: Answer, agentId: string, at: Omit<Fault, 'what'>): boolean => {
    figures.answers += 1
    statuses[answer.status] = (statuses[answer.status] ?? 0) + 1
    const wrong = faultOf(answer)
    if (wrong !== null) fault(wrong, at)
    if (answer.status < 200 || answer.status >= 300) return false
    // Events, logs as text and files are no JSON.
    if (answer.body === '' || /\r\ncontent-type: (text|application\/octet-stream)/i.test(answer.head)) return true
    const body = parsed(answer.body)
    if (body === undefined) fault(`${answer.status} is not JSON: ${answer.body.slice(0, 200)}`, at)
    else memory.remember(body, agentId)
    const { commandId } = (body ?? {}) as { commandId?: string }
    if (answer.status === 201 && commandId !== undefined) created.add(commandId)
    return true
  }

  const attack = async (shot: number): Promise<void> => {
    const random = createRandom(seed * 1_000_003 + shot)
    const name = names[Math.floor(shot / routes.length) % names.length] as string
    let route = routes[shot % routes.length] as (typeof routes)[number]
    const agentId = random.pick(AGENT_IDS)
    // What comes after a right answer can do more harm than what comes out of nowhere.
    for (let left = name === PEACE ? PEACEFUL : 1; left > 0; left -= 1) {
      const arms = { random, memory, routes, route, agentId }
      const { parts, ...manner } = (ATTACKS[name] as (typeof ATTACKS)[string])(arms)
      const bytes = Buffer.concat(parts.map((part) => Buffer.from(part)))
      const at = { shot, attack: name, sent: bytes.toString('latin1', 0, SENT_CHARACTERS_MAX) }
      const answers = await exchange(port, parts, manner)
      figures.requests += 1
      if (answers === null) fault('the connection hung', at)
      const heard = (answers ?? []).map((answer) => hear(answer, agentId, at))
      if (heard.includes(true)) served[route.name] = (served[route.name] ?? 0) + 1
      route = random.pick(random.chance(0.5) ? routes : withBody)
    }
  }

  const look = async (): Promise<void> => {
    const { faults: found, visited } = await tour()
    for (const what of found) fault(what)
    const unknown = routes.filter(({ name }) => !visited.includes(name)).map(({ name }) => name)
    if (unknown.length > 0) fault(`no right request is known for ${unknown}`)
    const rssMb = rssMbOf(server.pid)
    figures.rssMbMax = Math.max(figures.rssMbMax, rssMb)
    if (rssMb > RSS_MB_MAX) fault(`the server holds ${rssMb} MB`)
  }

  /** More than it may hold, one body after the other: it cannot keep them. */
  const flood = async (): Promise<void> => {
    const body = JSON.stringify({ text: 'x'.repeat(FLOOD_BODY_MB * 2 ** 20) })
    for (let sentMb = 0; sentMb <= RSS_MB_MAX; sentMb += FLOOD_BODY_MB)
      await (
        await fetch(`http://127.0.0.1:${port}/agents/${AGENT_IDS[0]}/sync`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body,
        })
      ).arrayBuffer()
  }

  try {
    const untilMs = performance.now() + seconds * 1000
    while (figures.rounds < rounds && performance.now() < untilMs && faults.length === 0) {
      const first = figures.rounds * perRound
      const left = Array.from({ length: perRound }, (_, index) => only ?? first + index)
      while (left.length > 0 && faults.length < FAULTS_MAX) {
        await look()
        await inTurns(left.splice(0, BATCH), AT_A_TIME, attack)
      }
      figures.rounds += 1
    }
    await flood()
    await look()
    for (const commandId of created)
      if ((await fetch(`http://127.0.0.1:${port}/commands/${commandId}`)).status !== 200)
        fault(`${commandId} was answered with 201 and is gone`)
    figures.commands = created.size
  } catch (error) {
    const why = error instanceof Error ? `${error.message} ${error.cause ?? ''}` : String(error)
    fault(`the fuzz ended: ${why}; ${server.running() ? 'the server runs' : server.errors().slice(0, 1000)}`)
  } finally {
    await server.kill()
  }
  for (const line of server.lines.filter(({ level }) => level >= 50).slice(0, 3))
    fault(`the server logged: ${JSON.stringify(line).slice(0, 800)}`)
  return { faults, figures }
}

const parsed = (text: string): Json | undefined => {
  try {
    return JSON.parse(text) as Json
  } catch {
    return undefined
  }
}

const rssMbOf = (pid: number): number =>
  Math.round(Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024)

async function inTurns<Value>(
  values: readonly Value[],
  atATime: number,
  run: (value: Value) => Promise<void>,
): Promise<void> {
  const left = [...values]
  const worker = async (): Promise<void> => {
    for (let value = left.shift(); value !== undefined; value = left.shift()) await run(value)
  }
  await Promise.all(Array.from({ length: atATime }, worker))
}

export const faultText = (seed: number, { shot, attack, what, sent }: Fault): string =>
  `${what}\n  --seed ${seed} --shot ${shot} (${attack})\n  ${JSON.stringify(sent)}`
