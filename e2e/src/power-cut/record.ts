/** Records what a real server and a real agent write while they do some sixty commands. */
import { readFileSync } from 'node:fs'
import { createApi } from '../api.ts'
import { freePort, type Process, startAgent, startServer } from '../processes.ts'
import { startTarget } from '../target.ts'
import type { SideName } from './facts.ts'
import { type Step, stepsOf, underStrace } from './trace.ts'

const COMMANDS = 60
const CLIENTS = 4

export type Recording = Record<SideName, { folder: string; steps: Step[] }>

export async function record(dir: string, { synced }: { synced: boolean }): Promise<Recording> {
  const port = await freePort()
  const api = createApi(port)
  const target = await startTarget()
  const options = synced ? [] : [`NODE_OPTIONS=--import=${new URL('./unsynced.js', import.meta.url)}`]
  const folders: Record<SideName, string> = { server: `${dir}/server`, agent: `${dir}/agent` }
  const traceOf = (side: SideName) => `${dir}/${side}.trace`
  const under = (side: SideName) => [...options, ...underStrace(traceOf(side))]
  const processes: Process[] = []
  try {
    // Without seeds no process is started for templates: its files would be taken for those of the server.
    const flags = ['--log-level', 'info', '--profiles-dir', `${dir}/no-seeds`]
    processes.push(await startServer(folders.server, port, flags, under('server')))
    processes.push(startAgent(folders.agent, port, [], under('agent')))
    const client = async (number: number): Promise<void> => {
      for (let index = number; index < COMMANDS; index += CLIENTS) {
        const work =
          index % 2 === 0
            ? { type: 'DELAY', payload: { ms: index } }
            : { type: 'HTTP_GET_JSON', payload: { url: `${target.url}/visit/${index % 20}` } }
        const { commandId } = await api.submit(work, `command-${index}`)
        await api.final(commandId)
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)))
  } finally {
    await Promise.all(processes.map((process) => process.kill()))
    await target.close()
  }
  const recorded = async (side: SideName) => {
    await api.eventually('the end of the trace', () =>
      /\+\+\+ killed by SIGKILL \+\+\+\n$/.test(readFileSync(traceOf(side), 'latin1')),
    )
    return { folder: folders[side], steps: stepsOf(traceOf(side), folders[side]) }
  }
  return { server: await recorded('server'), agent: await recorded('agent') }
}
