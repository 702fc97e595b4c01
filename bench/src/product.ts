/** Our own server and agents as a subject: their processes, told by flags, reached over HTTP. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Bound, closedLoop, type LoopResult } from './closed-loop.ts'
import { PRODUCT } from './figures/variants.ts'
import { Connection, openConnections, requestBytes } from './http-client.ts'
import { freePort, listening, type Started, startProcess } from './processes.ts'
import { monotonicMs, type Part, type PickUp, type Place, type Rig, type Subject } from './rig.ts'

export const repository = join(dirname(fileURLToPath(import.meta.url)), '../../..')

const POLL_MS = 2
/** More than 4 agents with 50 slots can have under way besides the newest. */
const STRAGGLERS_MAX = 500

export type CommandType = 'DELAY' | 'HTTP_GET_JSON'
type Command = { commandId: string; status: string }

export type ProductOptions = {
  type?: CommandType
  serverFlags?: readonly string[]
  /** A folder with a database to begin with; the scratch folder otherwise. */
  dataDir?: string
}

export type Product = Rig & {
  port: number
  server: Started
  /** By order of submission. */
  commandIds: string[]
  /** Another one, with these flags besides; answers its id when the server knows it. */
  startAgent: (flags: readonly string[]) => Promise<string>
  /** Submits, and answers how long it took from the sending until the result was read. */
  runOne: (submission: object) => Promise<number>
}

/** An HTTP server in this process: what HTTP_GET_JSON fetches, and where a pick-up is seen. */
async function startTarget() {
  const arrivals = new Map<string, (atMs: number) => void>()
  const body = Buffer.from('{"ok":true}')
  const head = { 'content-type': 'application/json', 'content-length': body.length }
  const server = createServer((request, response) => {
    arrivals.get(request.url ?? '')?.(monotonicMs())
    response.writeHead(200, head).end(body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrival: (path: string) => new Promise<number>((resolve) => arrivals.set(path, resolve)),
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

export async function bootProduct(place: Place, options: ProductOptions = {}): Promise<Product> {
  const { type = 'DELAY', serverFlags = [], dataDir = join(place.folder, 'server') } = options
  const port = await freePort()
  const serverSyncs = place.syncCounter('server')
  const agentSyncs = place.syncCounter('agent')
  const start = (script: string, flags: readonly string[], env: Record<string, string>) =>
    startProcess(process.execPath, [join(repository, script), '--log-level', 'warn', ...flags], { env })
  const own = ['--port', String(port), '--data-dir', dataDir]
  const server = start('control-server/dist/src/server.js', [...own, ...serverFlags], serverSyncs?.env ?? {})
  await listening(server, port)
  const target = await startTarget()
  const asking = await Connection.open(port)

  const submission = (path: string): Buffer =>
    requestBytes('POST', '/commands', {
      type,
      payload: type === 'DELAY' ? { ms: 0 } : { url: target.url + path },
    })
  const same = submission('/')
  const commandIds: string[] = []
  const submitOn = async (connection: Connection, request: Buffer): Promise<void> => {
    const answer = await connection.send(request)
    if (answer.status !== 201) throw new Error(`a submission was answered ${answer.status}: ${answer.body}`)
    // The first field of the record; to parse all of it would cost more than to send the request.
    const commandId = /"commandId":"([^"]+)"/.exec(answer.body)?.[1]
    if (commandId === undefined) throw new Error(`no command id in ${answer.body}`)
    commandIds.push(commandId)
  }

  const ended = ({ commandId, status }: Command): boolean => {
    if (status !== 'PENDING' && status !== 'RUNNING' && status !== 'COMPLETED')
      throw new Error(`command ${commandId} is ${status}`)
    return status === 'COMPLETED'
  }
  const reached = async (count: number): Promise<void> => {
    const path = `/commands/${commandIds[count - 1]}?fields=commandId,status`
    while (!ended(await asking.json<Command>('GET', path))) await sleep(POLL_MS)
  }
  const newest = async (): Promise<Command[]> => {
    const limit = Math.min(commandIds.length, STRAGGLERS_MAX)
    const path = `/commands?limit=${limit}&fields=commandId,status`
    return (await asking.json<{ items: Command[] }>('GET', path)).items
  }

  const agents: Started[] = []
  const startAgent = async (flags: readonly string[]): Promise<string> => {
    // Not the name of one whose lease an earlier boot on the same database left behind.
    const agentId = `bench-${randomUUID()}`
    const own = ['--server-url', `http://127.0.0.1:${port}`, '--agent-id', agentId]
    const dataDir = ['--data-dir', join(place.folder, agentId)]
    agents.push(start('agent/dist/src/main.js', [...own, ...dataDir, ...flags], agentSyncs?.env ?? {}))
    const isThere = async () =>
      (await asking.json<{ agentId: string }[]>('GET', '/agents')).some((agent) => agent.agentId === agentId)
    while (!(await isThere())) await sleep(POLL_MS)
    return agentId
  }
  return {
    port,
    server,
    commandIds,
    startAgent,
    runOne: async (submission) => {
      const sentMs = monotonicMs()
      await submitOn(asking, requestBytes('POST', '/commands', submission))
      await reached(commandIds.length)
      return monotonicMs() - sentMs
    },
    parts: (): Part[] => [
      { name: 'server', pids: [server.pid], syncs: serverSyncs },
      { name: 'agent', pids: agents.map(({ pid }) => pid), syncs: agentSyncs },
    ],
    submit: async (bound: Bound): Promise<LoopResult> => {
      const connections = await openConnections(port, bound.inFlight)
      const result = await closedLoop(bound, (lane) => submitOn(connections[lane] as Connection, same))
      for (const connection of connections) connection.close()
      return result
    },
    // Its interval plays no part in throughput: news comes through the wait call.
    startWorkers: async (workers, slots) => {
      for (let count = 0; count < workers; count++) await startAgent(['--slots', String(slots)])
    },
    reached,
    allEnded: async () => {
      await reached(commandIds.length)
      while (!(await newest()).every(ended)) await sleep(POLL_MS)
    },
    pickUps: async (pausesMs): Promise<PickUp[]> => {
      const connection = await Connection.open(port)
      const pickUps: PickUp[] = []
      for (const [index, pauseMs] of pausesMs.entries()) {
        await sleep(pauseMs)
        const path = `/${index}`
        const request = submission(path)
        const arrival = target.arrival(path)
        const sentMs = monotonicMs()
        await submitOn(connection, request)
        const answeredMs = monotonicMs()
        pickUps.push({ sentMs, answeredMs, startedMs: await arrival })
        await reached(commandIds.length)
      }
      connection.close()
      return pickUps
    },
    stop: async () => {
      asking.close()
      target.close()
      await Promise.all(agents.map((agent) => agent.stop('SIGKILL')))
      await server.stop()
    },
  }
}

export const product: Subject = {
  name: PRODUCT,
  settings:
    'SQLite in WAL mode with `synchronous=FULL` on the server and in every agent’s journal; the hand-over in two phases over HTTP; logs at `warn`.',
  missing: () => null,
  boot: (place) => bootProduct(place),
}
