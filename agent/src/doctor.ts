/**
 * `agent doctor`: whether this machine has what an agent needs, looked at as its start would, and nothing is registered or
 * run. What is `missing` an agent can do without, and takes less work for it; what has `failed` it cannot.
 */
import { constants } from 'node:fs'
import { access, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type EngineSummary, PROTOCOL } from '@agent-executor/protocol'
import type { Docker } from './docker/docker.ts'

export type Finding = { what: string; state: 'ok' | 'missing' | 'failed'; says: string }

export type Examined = {
  dataDir: string
  serverUrl: string
  /** Of RUN_AGENT; 0: Docker is not looked for. */
  slots: number
  dockerSocket: string
  images: readonly string[]
  runtime: string
  /** Whether there is a key to start a gateway with, or the socket of one. */
  hasGateway: boolean
}

export type Probes = {
  docker: Pick<Docker, 'version' | 'imageId' | 'hasRuntime'>
  /** The JSON of `GET /health`; rejects where there is none. */
  health: () => Promise<unknown>
  /** The JSON of `GET /engines`; rejects where there is none. */
  engines: () => Promise<unknown>
  /** Rejects where nobody answers at GATEWAY_SOCKET; absent where there is none. */
  gateway?: () => Promise<void>
  /** Throws where the journal cannot be opened; closes it again. */
  openJournal: () => { agentId: string }
}

/** With less the first outcome that is stored may be the last. */
const FREE_BYTES_LEAST = 256 * 2 ** 20

export async function examine(examined: Examined, probes: Probes): Promise<Finding[]> {
  return [
    await folder(examined.dataDir),
    journal(probes),
    await server(examined.serverUrl, probes),
    ...(examined.slots === 0
      ? [{ what: 'docker', state: 'missing', says: 'MAX_CONCURRENT_AGENTS is 0: it is not looked for' } as const]
      : [...(await docker(examined, probes)), await gateway(examined, probes), ...(await engines(examined, probes))]),
  ]
}

/** The exit code: 0 where an agent can work. */
export const isFit = (findings: readonly Finding[]): boolean => findings.every(({ state }) => state !== 'failed')

export const findingText = (findings: readonly Finding[]): string =>
  findings.map(({ what, state, says }) => `${state.padEnd(8)} ${what.padEnd(16)} ${says}\n`).join('')

const because = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  // `fetch` says why in another error.
  return error.message === 'fetch failed' && error.cause instanceof Error ? error.cause.message : error.message
}

async function folder(dataDir: string): Promise<Finding> {
  const what = 'data folder'
  // Made at the first start: then it is what it is made in that counts.
  for (let path = dataDir; ; path = dirname(path))
    try {
      await access(path, constants.W_OK)
      const { bavail, bsize } = await statfs(path)
      const mib = Math.floor((bavail * bsize) / 2 ** 20)
      const where = path === dataDir ? dataDir : `${dataDir} is made at the first start`
      if (bavail * bsize < FREE_BYTES_LEAST)
        return { what, state: 'failed', says: `${where}: only ${mib} MiB are free` }
      return { what, state: 'ok', says: `${where}: ${mib} MiB are free` }
    } catch (error) {
      const isMissing = (error as { code?: string }).code === 'ENOENT'
      if (!isMissing || dirname(path) === path) return { what, state: 'failed', says: because(error) }
    }
}

function journal({ openJournal }: Probes): Finding {
  const what = 'journal'
  try {
    return { what, state: 'ok', says: `of agent ${openJournal().agentId}` }
  } catch (error) {
    const says = because(error)
    // Of an agent that works here; a journal has one process.
    return { what, state: says.includes('in use by another process') ? 'missing' : 'failed', says }
  }
}

async function server(url: string, { health }: Probes): Promise<Finding> {
  const what = 'control server'
  try {
    const { version, protocol } = (await health()) as { version?: unknown; protocol?: { min: number; max: number } }
    if (protocol === undefined) return { what, state: 'failed', says: `what answers at ${url} is no control server` }
    const speaks = protocol.min <= PROTOCOL.max && PROTOCOL.min <= protocol.max
    const says = `${url} has version ${version}, protocol ${protocol.min} to ${protocol.max}`
    return speaks
      ? { what, state: 'ok', says }
      : { what, state: 'failed', says: `${says}; this agent speaks ${PROTOCOL.min} to ${PROTOCOL.max}` }
  } catch (error) {
    return { what, state: 'failed', says: `${url}: ${because(error)}` }
  }
}

async function docker({ dockerSocket, images, runtime }: Examined, { docker }: Probes): Promise<Finding[]> {
  try {
    const { engine, api } = await docker.version()
    const findings: Finding[] = [{ what: 'docker', state: 'ok', says: `${engine}, API ${api}, at ${dockerSocket}` }]
    for (const image of images)
      findings.push(
        (await docker.imageId(image)) === null
          ? { what: 'image', state: 'missing', says: `${image} is not there, and agents do not pull` }
          : {
              what: 'image',
              state: 'ok',
              says: `${image}${isPinned(image) ? '' : ': its tag may come to mean another'}`,
            },
      )
    if (runtime !== '')
      findings.push(
        (await docker.hasRuntime(runtime))
          ? { what: 'runtime', state: 'ok', says: runtime }
          : { what: 'runtime', state: 'missing', says: `Docker does not have ${runtime}: RUN_AGENT is not offered` },
      )
    return findings
  } catch (error) {
    return [{ what: 'docker', state: 'missing', says: `${because(error)}: RUN_AGENT is not offered` }]
  }
}

async function gateway({ hasGateway }: Examined, { gateway }: Probes): Promise<Finding> {
  const what = 'gateway'
  if (!hasGateway)
    return { what, state: 'missing', says: 'no key of a provider, and no GATEWAY_SOCKET: no engine with a model' }
  if (gateway === undefined) return { what, state: 'ok', says: 'a key of a provider is there, the agent starts one' }
  try {
    await gateway()
    return { what, state: 'ok', says: 'one answers at GATEWAY_SOCKET' }
  } catch (error) {
    return { what, state: 'missing', says: `${because(error)}: no engine with a model` }
  }
}

/** Of those that the server has, as far as they have an image of their own. A server that is away is told of above. */
async function engines({ hasGateway }: Examined, { engines, docker }: Probes): Promise<Finding[]> {
  try {
    const findings: Finding[] = []
    for (const { name, image, providers } of (await engines()) as EngineSummary[])
      if (image !== null && (hasGateway || providers.length === 0))
        findings.push(
          (await docker.imageId(image)) === null
            ? { what: 'engine', state: 'missing', says: `${name}: ${image} is not there; npm run images builds ours` }
            : { what: 'engine', state: 'ok', says: `${name}, in ${image}` },
        )
    return findings
  } catch {
    return []
  }
}

/** By content, or by a tag that somebody chose. */
const isPinned = (image: string): boolean => image.includes('@sha256:') || !/(^|\/)[^/:]+(:latest)?$/.test(image)
