/** Which agents can run an engine now, and why not the others: from what they have told. */
import {
  capabilitiesOf,
  type EngineAvailabilities,
  type EngineAvailability,
  type EngineDefinitions,
  type EngineSummary,
} from '@agent-executor/protocol'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import { type Documents, definitionIn, enginesIn, type LiveEngine } from '../profiles/document.ts'
import { type Agent, isOnline } from './agent.ts'
import { instant } from './record.ts'

/** As it is kept: a newer agent may tell more than this server knows. */
export const keptEngines = (told: EngineAvailabilities): EngineAvailabilities =>
  Object.fromEntries(Object.entries(told).map(([name, { available, reason }]) => [name, { available, reason }]))

export function engineSummary(document: LiveEngine, agents: readonly Agent[], nowMs: number): EngineSummary {
  const { name, version, origin, createdAtMs, content } = document
  const definition = definitionIn(document)
  // A client of the simple API tells nothing of itself.
  const asked = agents
    .filter((agent) => agent.kind === 'sync' && isOnline(agent, nowMs))
    .map((agent) => ({ agentId: agent.agentId, ...availabilityOf(agent, name) }))
  return {
    ...{ name, version, origin, updatedAt: instant(createdAtMs) },
    description: content.engine.description ?? null,
    ...{ adapter: definition.adapter, image: definition.image, providers: definition.providers },
    can: { ...capabilitiesOf(definition) },
    available: asked.some(({ available }) => available),
    agents: asked,
  }
}

/** All that an agent has to know of them. */
export function definitionsOf(documents: Documents): EngineDefinitions {
  const engines = enginesIn(documents).map(definitionIn)
  return { fingerprint: sha256(canonicalJson(engines)), engines }
}

function availabilityOf({ engines, mode }: Agent, name: string): EngineAvailability {
  const told = Object.hasOwn(engines, name) ? engines[name] : undefined
  if (told === undefined) return { available: false, reason: 'The agent does not say that it has this engine.' }
  if (mode !== 'ready') return { available: false, reason: `The agent is ${mode}: it takes nothing new.` }
  return told
}
