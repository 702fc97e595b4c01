/** What the container of a command would be made with, and what this agent refuses. Pure. */
import { isDeepStrictEqual } from 'node:util'
import { attemptId, type Resources, type RunAgentPayload } from '@agent-executor/protocol'
import { createOptions } from '../../docker/create-options.ts'
import { loosenings } from '../../docker/policy.ts'
import type { Work } from '../executor.ts'
import type { Failed } from './classify.ts'
import { engineOf } from './engine-call.ts'
import { entrypoint, type Input } from './input.ts'
import { inputBytes, PROGRAM_INPUT_BYTES_MAX } from './program.ts'

export type Terms = {
  agentId: string
  /** Used where neither command nor engine name one, and what else a command may name. */
  image: string
  images: readonly string[]
  defaults: Resources
  maxima: Resources
  runtime: string
  /** From `timeoutMs`, when the agent ends it, to when a container whose agent is dead ends itself. */
  deadlineMarginMs?: number
}

const DEADLINE_MARGIN_MS = 60_000

export const endsAfterMs = ({ deadlineMarginMs = DEADLINE_MARGIN_MS }: Terms, { timeoutMs }: Work): number =>
  timeoutMs + deadlineMarginMs

/** The payload, and what its script has to know besides. */
export const scripted = (terms: Terms, work: Work<RunAgentPayload>) => ({
  ...work.payload,
  endsAfterMs: endsAfterMs(terms, work),
})

export type Prepared = { made: ReturnType<typeof createOptions>; image: string }

export const imageOf = (terms: Pick<Terms, 'image'>, payload: RunAgentPayload): string =>
  payload.image ?? engineOf(payload).image ?? terms.image

/** Images of this name are built on this machine, by whoever owns it: agents do not pull. */
const OWN_IMAGES = 'agent-executor/'

/** Whether an engine may bring this image, which is no choice of a command. */
export const isEngineImage = ({ image, images }: Pick<Terms, 'image' | 'images'>, ofEngine: string): boolean =>
  ofEngine.startsWith(OWN_IMAGES) || ofEngine === image || images.includes(ofEngine)

/** `gatewayFolder` is the one with the socket of the attempt, on this machine; null for an engine that has no way out. */
export function prepare(terms: Terms, work: Work<RunAgentPayload>, gatewayFolder: string | null): Prepared | Failed {
  const { commandId, attempt, payload } = work
  const image = imageOf(terms, payload)
  const refusal = refusalOf(terms, payload, image)
  if (refusal !== null) return refusal
  const made = createOptions({
    agentId: terms.agentId,
    attemptId: attemptId(commandId, attempt),
    ...{ image, runtime: terms.runtime, entrypoint: entrypoint(scripted(terms, work)), gatewayFolder },
    resources: resourcesOf(terms, payload),
  })
  const loose = loosenings(made, terms.maxima, { for: 'attempt', gatewayFolder })
  if (loose.length > 0) return { code: 'INTERNAL_ERROR', message: `The sandbox would be loose: ${loose}.` }
  return { made, image }
}

/** Whether it asks for what the containers of the pool were made with, and brings no more than they can be given. */
export const fitsPool = (terms: Terms, payload: RunAgentPayload, input: Input): boolean =>
  imageOf(terms, payload) === terms.image &&
  input.engine === null &&
  (payload.files ?? []).every(({ upload }) => upload === undefined) &&
  isDeepStrictEqual(resourcesOf(terms, payload), terms.defaults) &&
  inputBytes(input) <= PROGRAM_INPUT_BYTES_MAX

export const resourcesOf = ({ defaults }: Pick<Terms, 'defaults'>, { resources = {} }: RunAgentPayload): Resources => ({
  memoryBytes: resources.memoryBytes ?? defaults.memoryBytes,
  cpus: resources.cpus ?? defaults.cpus,
  pidsMax: resources.pidsMax ?? defaults.pidsMax,
  workspaceBytes: resources.workspaceBytes ?? defaults.workspaceBytes,
})

/** What this agent does not give, or null. */
function refusalOf(terms: Terms, payload: RunAgentPayload, image: string): Failed | null {
  const isOfEngine = image === engineOf(payload).image && isEngineImage(terms, image)
  if (!isOfEngine && ![terms.image, ...terms.images].includes(image))
    return { code: 'IMAGE_REFUSED', message: `This agent does not allow the image ${image}.` }
  const asked = resourcesOf(terms, payload)
  const names = Object.keys(asked) as (keyof Resources)[]
  const beyond = names.filter((name) => asked[name] > terms.maxima[name])
  if (beyond.length === 0) return null
  const most = beyond.map((name) => `${name} ${terms.maxima[name]}`).join(', ')
  return { code: 'RESOURCES_REFUSED', message: `This agent gives at most ${most}.` }
}
