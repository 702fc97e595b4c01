/** The Docker of this machine, as tests look at it from outside. */
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import Dockerode from 'dockerode'
import { needs } from './processes.ts'
import type { Visit } from './target.ts'

export const IMAGE = 'debian:bookworm-slim'
export const DOCKER_SOCKET = '/var/run/docker.sock'
const LABEL = 'agent-executor.agent'
const ATTEMPT_LABEL = 'agent-executor.attempt'
const PROBE_LABEL = 'agent-executor.probe'

export const dockerode = new Dockerode({ socketPath: DOCKER_SOCKET })

export const hasImage = await dockerode
  .getImage(IMAGE)
  .inspect()
  .then(
    () => true,
    () => false,
  )

/** Options of a test with containers. */
export const needsDocker = needs(`Docker with the image ${IMAGE}`, hasImage)

export const containersOf = (agentId: string) =>
  dockerode.listContainers({ all: true, filters: { label: [`${LABEL}=${agentId}`] } })

export const removeContainersOf = async (agentId: string): Promise<void> => {
  for (const { Id } of await containersOf(agentId))
    await dockerode
      .getContainer(Id)
      .remove({ force: true, v: true })
      .catch(() => {})
}

/**
 * Counts how often containers of an agent are started, whoever asks for it, until `stop`. One that only asks an image what
 * it is does not count.
 */
export async function countStarts(agentId: string): Promise<{ starts: () => number; stop: () => void }> {
  let starts = 0
  const filters = JSON.stringify({ label: [`${LABEL}=${agentId}`], type: ['container'], event: ['start'] })
  const events = (await dockerode.getEvents({ filters })) as Readable
  createInterface({ input: events }).on('line', (line) => {
    if ((JSON.parse(line) as Event).Actor.Attributes[PROBE_LABEL] === undefined) starts += 1
  })
  events.on('error', () => {})
  return { starts: () => starts, stop: () => events.destroy() }
}

export type Containers = Awaited<ReturnType<typeof watchContainers>>

/** From now on, all containers of attempts: when each ran, by command. */
export async function watchContainers() {
  const filters = JSON.stringify({ label: [ATTEMPT_LABEL], type: ['container'], event: ['start', 'die'] })
  const events = (await dockerode.getEvents({ filters })) as Readable
  const byCommand = new Map<string, Visit[]>()
  const asked = new Set<string>()
  createInterface({ input: events }).on('line', (line) => {
    const { Action, Actor, timeNano } = JSON.parse(line) as Event
    const [commandId = '', attempt] = (Actor.Attributes[ATTEMPT_LABEL] ?? '').split('.')
    const visits = byCommand.get(commandId) ?? []
    byCommand.set(commandId, visits)
    const atMs = timeNano / 1e6
    if (Action === 'start') visits.push({ attempt: Number(attempt), fromMs: atMs, toMs: Number.POSITIVE_INFINITY })
    else for (const visit of visits) visit.toMs = Math.min(visit.toMs, atMs)
  })
  events.on('error', () => {})
  return {
    visits(commandId: string): readonly Visit[] {
      asked.add(commandId)
      return byCommand.get(commandId) ?? []
    },
    /** Those of the commands that were asked for, which nobody may be left to remove. */
    async removeAll(): Promise<void> {
      events.destroy()
      const filters = { label: [ATTEMPT_LABEL] }
      for (const { Id, Labels } of await dockerode.listContainers({ all: true, filters }))
        if (asked.has((Labels[ATTEMPT_LABEL] ?? '').split('.')[0] ?? ''))
          await dockerode
            .getContainer(Id)
            .remove({ force: true, v: true })
            .catch(() => {})
    },
  }
}

type Event = { Action: string; Actor: { Attributes: Record<string, string | undefined> }; timeNano: number }

/**
 * Counts how often a word was written by containers of an agent, of which some are started ahead of what they run. All
 * that were ever started are read, until `stop`.
 */
export async function countSaid(agentId: string, word: string): Promise<{ said: () => number; stop: () => void }> {
  /** By container: its whole log, which is read again from the beginning when it is started again. */
  const logs = new Map<string, string>()
  const open = new Set<Readable>()
  const read = async (id: string): Promise<void> => {
    const stream = (await dockerode.getContainer(id).logs({ follow: true, stdout: true, stderr: true })) as Readable
    open.add(stream)
    let text = ''
    stream.on('error', () => {})
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      logs.set(id, text)
    })
  }
  const filters = JSON.stringify({ label: [`${LABEL}=${agentId}`], type: ['container'], event: ['start'] })
  const events = (await dockerode.getEvents({ filters })) as Readable
  open.add(events)
  events.on('error', () => {})
  events.on('data', (chunk: Buffer) => {
    for (const line of chunk.toString().split('\n').filter(Boolean))
      void read((JSON.parse(line) as { id: string }).id).catch(() => {})
  })
  return {
    said: () => [...logs.values()].reduce((sum, text) => sum + text.split(word).length - 1, 0),
    stop: () => {
      for (const stream of open) stream.destroy()
    },
  }
}
