/**
 * The engines that the server has, as this agent can run them: whether their images are here, and what the program in
 * one says of itself. An image is asked once, in a container like that of an attempt, before its engine is offered.
 */
import { randomBytes } from 'node:crypto'
import { adapterOf } from '@agent-executor/engines'
import type { EngineAvailabilities, EngineDefinition } from '@agent-executor/protocol'
import { probeOptions } from '../../docker/create-options.ts'
import { createDemultiplexer } from '../../docker/demultiplexer.ts'
import { type Docker, DockerRefused, DockerUnavailable } from '../../docker/docker.ts'
import { loosenings, strayMounts } from '../../docker/policy.ts'
import { availability, type Probed } from './availability.ts'
import type { Gateway } from './gateway-session.ts'
import { isEngineImage, type Terms } from './prepare.ts'

export type EnginesOptions = Terms & {
  docker: Docker
  gateway: Gateway | null
  slots?: number
  /** False: what an image says of itself is not asked for. */
  probes?: boolean
  changed?: () => void
  warn: (facts: object, message: string) => void
}

type Probe = NonNullable<EngineDefinition['probe']>

const PROBE_MS = 60_000
const SAYS_BYTES_MAX = 65_536
const PROBE_NAME = 'agent-executor-probe-'

export function createEngines(options: EnginesOptions) {
  const { docker, agentId, runtime, gateway, slots = 1, warn, changed = () => {} } = options
  let engines: readonly EngineDefinition[] = []
  /** By image: its id, null where Docker has none; absent where it was not asked yet. */
  let images: ReadonlyMap<string, string | null> = new Map()
  let hasRuntime: boolean | null = null
  /** By image id and question. */
  const probed = new Map<string, Probed>()
  /** The names of containers that are being asked. */
  const asking = new Set<string>()
  let isProbing = false

  const imageFor = ({ image }: EngineDefinition): string => image ?? options.image

  /** Without a key the images of the others are of no use. */
  const isUsable = ({ providers }: EngineDefinition): boolean =>
    providers.length === 0 || (gateway !== null && (!gateway.up() || providers.some(gateway.has)))

  const probedOf = (engine: EngineDefinition): Probed | null => {
    if (engine.probe === undefined || options.probes === false) return { ok: true }
    const imageId = images.get(imageFor(engine)) ?? null
    return imageId === null ? null : (probed.get(keyOf(imageId, engine.probe)) ?? null)
  }

  const look = async (): Promise<void> => {
    const names = [...new Set(engines.filter(isUsable).map(imageFor))]
    const found = await Promise.all(names.map((name) => docker.imageId(name)))
    const there = new Map(names.map((name, index) => [name, found[index] ?? null]))
    const runtimeBefore = hasRuntime
    hasRuntime = await docker.hasRuntime(runtime)
    if (hasRuntime === false && runtimeBefore !== false)
      warn({ runtime }, 'Docker does not have RUN_AGENT_RUNTIME, RUN_AGENT is not offered')
    const isChanged = names.some((name) => images.get(name) !== there.get(name)) || runtimeBefore !== hasRuntime
    images = there
    if (isChanged) changed()
    probe()
  }

  const probe = (): void => {
    if (isProbing) return
    isProbing = true
    const of = engines
    void probeAll().finally(() => {
      isProbing = false
      if (engines !== of && docker.up()) void look().catch(() => {})
    })
  }

  /** One after the other: what runs here meanwhile comes first. */
  const probeAll = async (): Promise<void> => {
    if (options.probes === false || slots === 0 || hasRuntime === false) return
    try {
      for (const { name, id } of await docker.list(agentId))
        if (name.startsWith(PROBE_NAME) && !asking.has(name)) await docker.remove(id)
      for (const engine of engines.filter(isUsable)) {
        const imageId = images.get(imageFor(engine)) ?? null
        if (engine.probe === undefined || imageId === null || probedOf(engine) !== null) continue
        if (!isEngineImage(options, imageFor(engine))) continue
        const answer = await ask(imageFor(engine), engine.probe)
        probed.set(keyOf(imageId, engine.probe), answer)
        if (!answer.ok)
          warn({ engine: engine.name, image: imageFor(engine), reason: answer.reason }, 'engine is not fit')
        changed()
      }
    } catch (error) {
      // Docker is away: it is looked at again.
      if (!(error instanceof DockerUnavailable)) warn({ err: error }, 'an engine could not be asked')
    }
  }

  const ask = async (image: string, { argv, prints }: Probe): Promise<Probed> => {
    const name = PROBE_NAME + randomBytes(8).toString('hex')
    const made = probeOptions({ name, agentId, image, runtime, resources: options.defaults, entrypoint: argv })
    const loose = loosenings(made, options.maxima, { for: 'probe' })
    if (loose.length > 0) return { ok: false, reason: `The sandbox would be loose: ${loose}.` }
    asking.add(name)
    try {
      await docker.create(made)
      const stray = strayMounts((await docker.inspect(name))?.mounts ?? [])
      if (stray.length > 0)
        return { ok: false, reason: `The image declares volumes, whose size nothing bounds: ${stray}.` }
      await docker.start(name)
      await docker.wait(name, PROBE_MS, null)
      const seen = await docker.inspect(name)
      const said = await printed(name)
      if (seen?.status !== 'exited') return { ok: false, reason: `${argv[0]} did not end within ${PROBE_MS} ms.` }
      if (seen.exitCode !== 0)
        return { ok: false, reason: `${argv[0]} ended with ${seen.exitCode}: ${firstLine(said)}` }
      if (prints !== undefined && !said.includes(prints))
        return { ok: false, reason: `${argv.join(' ')} says ${firstLine(said)}, and not ${prints}.` }
      return { ok: true }
    } catch (error) {
      if (!(error instanceof DockerRefused)) throw error
      return { ok: false, reason: error.message }
    } finally {
      await docker.remove(name).catch(() => {})
      asking.delete(name)
    }
  }

  const printed = async (name: string): Promise<string> => {
    const pieces: Buffer[] = []
    let bytes = 0
    const demultiplexer = createDemultiplexer((_, piece) => {
      if (bytes < SAYS_BYTES_MAX) pieces.push(Buffer.from(piece))
      bytes += piece.length
    })
    for await (const chunk of await docker.logs(name)) demultiplexer.push(chunk as Buffer)
    return Buffer.concat(pieces).toString('utf8')
  }

  return {
    /** Under another runtime than the one that was asked for, nothing runs. */
    ready: (): boolean => docker.up() && (runtime === '' || hasRuntime === true),

    /** What Docker has by now. Rejects where it does not answer. */
    look,

    define(defined: readonly EngineDefinition[]): void {
      engines = defined
      changed()
      if (docker.up()) void look().catch(() => {})
    },

    availabilities: (): EngineAvailabilities =>
      Object.fromEntries(
        engines.map((engine) => {
          const image = imageFor(engine)
          return [
            engine.name,
            availability({
              ...{ slots, image, runtime, hasRuntime, gateway, providers: engine.providers },
              hasAdapter: adapterOf(engine) !== undefined,
              adapter: engine.adapter,
              isAllowed: engine.image === null || isEngineImage(options, image),
              hasImage: images.has(image) ? images.get(image) !== null : null,
              probed: probedOf(engine),
              docker: { up: docker.up(), reason: docker.reason() },
            }),
          ]
        }),
      ),
  }
}

const keyOf = (imageId: string, probe: Probe): string => `${imageId} ${JSON.stringify(probe)}`

const firstLine = (text: string): string => text.trim().split('\n')[0]?.slice(0, 200) || 'nothing'
