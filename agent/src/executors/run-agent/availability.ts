/** Whether this agent can run an engine now, and why not. Pure. */
import type { EngineAvailability, ProviderName } from '@agent-executor/protocol'
import type { Gateway } from './gateway-session.ts'

type Machine = {
  slots: number
  docker: { up: boolean; reason: string }
  image: string
  runtime: string
  /** null: Docker was not asked yet. */
  hasImage: boolean | null
  hasRuntime: boolean | null
  /** Of which one will do; none: the engine needs no language model. */
  providers: readonly ProviderName[]
  /** null: this agent has none, and was given no key. */
  gateway: Pick<Gateway, 'up' | 'reason' | 'has'> | null
}

export function availability(machine: Machine): EngineAvailability {
  const { slots, docker, runtime, hasRuntime } = machine
  const reason =
    slots === 0
      ? 'MAX_CONCURRENT_AGENTS is 0.'
      : !docker.up
        ? `Docker does not answer: ${docker.reason}`
        : hasRuntime === false
          ? `Docker does not have the runtime ${runtime}.`
          : (noWayOut(machine) ?? noImage(machine))
  return { available: reason === null, reason: reason?.slice(0, REASON_CHARACTERS_MAX) ?? null }
}

const REASON_CHARACTERS_MAX = 500

function noWayOut({ providers, gateway }: Machine): string | null {
  if (providers.length === 0) return null
  if (gateway === null) return 'This agent has no gateway: it was given no key of a provider, and no GATEWAY_SOCKET.'
  if (!gateway.up()) return `The gateway does not answer: ${gateway.reason()}`
  return providers.some(gateway.has) ? null : `The gateway has no key for ${providers.join(' or ')}.`
}

function noImage({ image, hasImage }: Machine): string | null {
  if (hasImage === null) return 'Docker was not asked for the image yet.'
  return hasImage ? null : `Docker does not have the image ${image}, and agents do not pull.`
}
