/** Whether this agent can run an engine now, and why not. Pure. */
import type { EngineAvailability } from '@agent-executor/protocol'

type Machine = {
  slots: number
  docker: { up: boolean; reason: string }
  image: string
  runtime: string
  /** null: Docker was not asked yet. */
  hasImage: boolean | null
  hasRuntime: boolean | null
}

export function availability({ slots, docker, image, runtime, hasImage, hasRuntime }: Machine): EngineAvailability {
  const reason =
    slots === 0
      ? 'MAX_CONCURRENT_AGENTS is 0.'
      : !docker.up
        ? `Docker does not answer: ${docker.reason}`
        : hasRuntime === false
          ? `Docker does not have the runtime ${runtime}.`
          : hasImage === false
            ? `Docker does not have the image ${image}, and agents do not pull.`
            : hasImage === null
              ? 'Docker was not asked for the image yet.'
              : null
  return { available: reason === null, reason: reason?.slice(0, REASON_CHARACTERS_MAX) ?? null }
}

const REASON_CHARACTERS_MAX = 500
