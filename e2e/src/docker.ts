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
