/**
 * What the cells that run one after another share: a server and its data, which see every crash of all of them, and the
 * other agent. The data are read once more at the end, after a last crash: what was final must still be as it was.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Api, type CommandView, createApi } from '../api.ts'
import { type FaultyProxy, startFaultyProxy } from '../faulty-proxy.ts'
import { freePort, type Process, startServer } from '../processes.ts'
import { type Actor, createAgentActor, createSimpleActor } from './actors.ts'
import { LEASE_MS } from './cells.ts'

const OFFER_MS = 1500

export type Lane = {
  dir: string
  port: number
  api: Api
  /** The server, started anew where it is dead or has another crash point. */
  serve: (crashAt?: string) => Promise<void>
  /** Resolves with the time when the server has killed itself at its crash point; rejects where it ended otherwise. */
  crashed: () => Promise<number>
  killServer: () => Promise<void>
  serverLines: () => string[]
  /** The other one, paused; agents go through the proxy. */
  other: (client: 'agent' | 'simple') => Promise<Actor & { proxy: FaultyProxy }>
  /** To be read once more at the end. */
  remember: (command: CommandView) => void
  /** Ends everything; answers the ids of remembered commands that are not as they were. */
  close: () => Promise<string[]>
}

export async function openLane(dir: string): Promise<Lane> {
  const port = await freePort()
  const api = createApi(port)
  const flags = ['--lease-ms', String(LEASE_MS), '--offer-ms', String(OFFER_MS), '--lost-grace-ms', '0']
  const finals = new Map<string, CommandView>()
  const others = new Map<string, Actor & { proxy: FaultyProxy }>()
  let server: { process: Process; crashAt: string | undefined; dead: boolean } | null = null

  const lane: Lane = {
    dir,
    port,
    api,
    async serve(crashAt) {
      if (server !== null && !server.dead && server.crashAt === crashAt) return
      await lane.killServer()
      const process = await startServer(`${dir}/server`, port, [...flags, ...(crashAt ? ['--crash-at', crashAt] : [])])
      const started = { process, crashAt, dead: false }
      server = started
      void process.ended.then(() => {
        started.dead = true
      })
    },
    async crashed() {
      const { process, crashAt } = server ?? {}
      await process?.ended
      const line = process?.lines.find((each) => each['crashPoint'] !== undefined)
      if (`${line?.['crashPoint']}:${line?.['hit']}` !== crashAt)
        throw new Error(`the server did not die at ${crashAt}: ${process?.errors()}`)
      return Date.now()
    },
    killServer: async () => server?.process.kill(),
    serverLines: () => server?.process.lines.map((line) => JSON.stringify(line)) ?? [],
    async other(client) {
      const known = others.get(client)
      if (known !== undefined) return known
      await lane.serve()
      const proxy = await startFaultyProxy(port)
      const actor =
        client === 'agent' ? createAgentActor(`${dir}/other`, 'other', proxy.port) : createSimpleActor('other-simple', proxy.port)
      const other = { ...actor, proxy }
      others.set(client, other)
      if (client === 'agent') {
        actor.start()
        await proxy.until((log) => log.some(({ message, status }) => message === 'sync' && status === 200))
        await actor.pause()
      }
      return other
    },
    remember: (command) => void finals.set(command.commandId, command),
    async close() {
      for (const other of others.values()) {
        await other.kill()
        await other.proxy.close()
      }
      await lane.killServer()
      await lane.serve()
      const changed: string[] = []
      for (const [commandId, before] of finals)
        if (!isDeepStrictEqual(await api.get(commandId), before)) changed.push(commandId)
      await lane.killServer()
      return changed
    },
  }
  return lane
}
