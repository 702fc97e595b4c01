/** Whether this agent can run an engine now, and why not. Pure. */
import type { EngineAvailability, ProviderName } from '@agent-executor/protocol'
import type { Gateway } from './gateway-session.ts'

export type Probed = { ok: true } | { ok: false; reason: string }

type Machine = {
  slots: number
  docker: { up: boolean; reason: string }
  /** Whether this version of the agent has it. */
  hasAdapter: boolean
  adapter: string
  image: string
  /** Whether the engine may bring its image. */
  isAllowed: boolean
  runtime: string
  /** null: Docker was not asked yet. */
  hasImage: boolean | null
  hasRuntime: boolean | null
  /** What the program in the image says of itself; null where it was not asked yet. */
  probed: Probed | null
  /** Of which one will do; none: the engine needs no language model. */
  providers: readonly ProviderName[]
  /** null: this agent has none, and was given no key. */
  gateway: Pick<Gateway, 'up' | 'reason' | 'has'> | null
}

export function availability(machine: Machine): EngineAvailability {
  const { slots, docker, runtime, hasRuntime, hasAdapter, adapter } = machine
  const reason =
    slots === 0
      ? 'MAX_CONCURRENT_AGENTS is 0.'
      : !docker.up
        ? `Docker does not answer: ${docker.reason}`
        : hasRuntime === false
          ? `Docker does not have the runtime ${runtime}.`
          : !hasAdapter
            ? `This agent has no adapter ${adapter}.`
            : (noWayOut(machine) ?? noImage(machine) ?? notFit(machine))
  return { available: reason === null, reason: reason?.slice(0, REASON_CHARACTERS_MAX) ?? null }
}

const REASON_CHARACTERS_MAX = 500

function noWayOut({ providers, gateway }: Machine): string | null {
  if (providers.length === 0) return null
  if (gateway === null) return 'This agent has no gateway: it was given no key of a provider, and no GATEWAY_SOCKET.'
  if (!gateway.up()) return `The gateway does not answer: ${gateway.reason()}`
  return providers.some(gateway.has) ? null : `The gateway has no key for ${providers.join(' or ')}.`
}

function noImage({ image, isAllowed, hasImage }: Machine): string | null {
  if (!isAllowed) return `This agent does not allow the image ${image}: RUN_AGENT_IMAGES does not name it.`
  if (hasImage === null) return 'Docker was not asked for the image yet.'
  return hasImage ? null : `Docker does not have the image ${image}, and agents do not pull.`
}

function notFit({ image, probed }: Machine): string | null {
  if (probed === null) return `What is in the image ${image} is being asked.`
  return probed.ok ? null : `The image ${image} is not fit: ${probed.reason}`
}
