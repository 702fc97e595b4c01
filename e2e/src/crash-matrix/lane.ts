/**
 * What the cells that run one after another share, because to start a process is what costs most: a server, whose data
 * see every crash of all of them, and two agents. The data are read once more at the end, after a last crash: what was
 * final must still be as it was.
 */
import { basename } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type Api, type CommandView, createApi } from '../api.ts'
import { type FaultyProxy, startFaultyProxy } from '../faulty-proxy.ts'
import { freePort, type Process, startServer } from '../processes.ts'
import { type Actor, createAgentActor, createSimpleActor, hasNothingLeft } from './actors.ts'
import { type Cell, LEASE_MS } from './cells.ts'
import { createCrashFile } from './crash-file.ts'

const OFFER_MS = 2500
/** Often enough; every look costs the server what the cells need. */
const LOOK_MS = 100

/** Somebody who works, and the way to the server, which can be made to go wrong. */
export type Worker = { actor: Actor; proxy: FaultyProxy }

type Kind = Pick<Cell, 'client' | 'type'>

export type Lane = {
  api: Api
  /** Starts the server where it is dead, with no crash point. */
  serve: () => Promise<void>
  /** Where the server is to kill itself. */
  crashAt: (point: string) => void
  /** Resolves with the time when it has. */
  crashed: () => Promise<number>
  killServer: () => Promise<void>
  /** A new one for one cell, not started. */
  fresh: (cell: Kind, name: string) => Promise<Worker>
  /** One that stays, paused and without connections: `worker`, or `other` for the one that takes over. */
  resident: (cell: Kind, name: 'worker' | 'other') => Promise<Worker>
  /** To be read once more at the end. */
  remember: (command: CommandView) => void
  /** What the server said last, for people. */
  lines: () => string[]
  /** Ends everything; answers the ids of remembered commands that are not as they were. */
  close: () => Promise<string[]>
}

export async function openLane(dir: string): Promise<Lane> {
  const port = await freePort()
  const api = createApi(port, LOOK_MS)
  const crashFile = createCrashFile(`${dir}/server-crash-at`)
  const limits = ['--lease-ms', String(LEASE_MS), '--offer-ms', String(OFFER_MS), '--lost-grace-ms', '0']
  const finals = new Map<string, CommandView>()
  const residents = new Map<string, Worker>()
  let server: Process | undefined
  let starting: Promise<Process> | undefined

  const lane: Lane = {
    api,
    async serve() {
      // One at a time: a cell that came to no end may still be at it.
      await starting?.catch(() => {})
      if (server?.running()) return
      crashFile.forget()
      starting = startServer(`${dir}/server`, port, [...limits, ...crashFile.flags])
      server = await starting
    },
    crashAt: crashFile.tell,
    crashed: () => crashFile.died(server),
    killServer: async () => server?.kill(),
    async fresh({ client, type }, name) {
      const proxy = await startFaultyProxy(port)
      const agent = () => createAgentActor(`${dir}/${name}`, name, proxy, type === 'RUN_AGENT')
      return { proxy, actor: client === 'agent' ? agent() : createSimpleActor(name, proxy) }
    },
    async resident(kind, name) {
      const { client } = kind
      const takes = kind.type === 'RUN_AGENT' ? 'containers' : client
      // Containers are found by the agent's id: it is one of this lane alone.
      const id = `${name}-${takes}-${basename(dir)}`
      const resident = residents.get(id) ?? (await lane.fresh(kind, id))
      residents.set(id, resident)
      if (client === 'agent' && !resident.actor.alive()) {
        await lane.serve()
        resident.actor.start()
        await hasNothingLeft(resident.proxy, client, Date.now())
        await resident.actor.pause()
      }
      return resident
    },
    remember: (command) => void finals.set(command.commandId, command),
    lines: () => server?.lines.map((line) => JSON.stringify(line)) ?? [],
    async close() {
      for (const { actor, proxy } of residents.values()) {
        await actor.kill()
        await proxy.close()
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
