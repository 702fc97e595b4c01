/** The Docker of this machine, as tests look at it from outside. */
import type { Readable } from 'node:stream'
import Dockerode from 'dockerode'
import { needs } from './processes.ts'

const IMAGE = 'debian:bookworm-slim'
export const DOCKER_SOCKET = '/var/run/docker.sock'
const LABEL = 'agent-executor.agent'

export const dockerode = new Dockerode({ socketPath: DOCKER_SOCKET })

/** Options of a test with containers. */
export const needsDocker = needs(
  `Docker with the image ${IMAGE}`,
  await dockerode
    .getImage(IMAGE)
    .inspect()
    .then(
      () => true,
      () => false,
    ),
)

export const containersOf = (agentId: string) =>
  dockerode.listContainers({ all: true, filters: { label: [`${LABEL}=${agentId}`] } })

export const removeContainersOf = async (agentId: string): Promise<void> => {
  for (const { Id } of await containersOf(agentId))
    await dockerode
      .getContainer(Id)
      .remove({ force: true, v: true })
      .catch(() => {})
}

/** Counts how often containers of an agent are started, whoever asks for it, until `stop`. */
export async function countStarts(agentId: string): Promise<{ starts: () => number; stop: () => void }> {
  let starts = 0
  const filters = JSON.stringify({ label: [`${LABEL}=${agentId}`], type: ['container'], event: ['start'] })
  const events = (await dockerode.getEvents({ filters })) as Readable
  // One JSON text for each event, and lines are what they end with.
  events.on('data', (chunk: Buffer) => {
    starts += chunk.toString().split('\n').filter(Boolean).length
  })
  events.on('error', () => {})
  return { starts: () => starts, stop: () => events.destroy() }
}

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
