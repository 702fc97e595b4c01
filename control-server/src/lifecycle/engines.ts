/** Which agents can run an engine now, and why not the others: from what they have told. */
import {
  ENGINE_DEFINITIONS,
  type EngineAvailabilities,
  type EngineAvailability,
  type EngineRecord,
} from '@agent-executor/protocol'
import { type Agent, isOnline } from './agent.ts'

/** As it is kept: a newer agent may tell more than this server knows. */
export const keptEngines = (told: EngineAvailabilities): EngineAvailabilities =>
  Object.fromEntries(Object.entries(told).map(([name, { available, reason }]) => [name, { available, reason }]))

export function engineRecords(agents: readonly Agent[], nowMs: number): EngineRecord[] {
  // A client of the simple API tells nothing of itself.
  const online = agents.filter((agent) => agent.kind === 'sync' && isOnline(agent, nowMs))
  return ENGINE_DEFINITIONS.map(({ name, description, providers, image, can }) => {
    const asked = online.map((agent) => ({ agentId: agent.agentId, ...availabilityOf(agent, name) }))
    return {
      ...{ name, description, providers: [...providers], image, can: { ...can } },
      available: asked.some(({ available }) => available),
      agents: asked,
    }
  })
}

function availabilityOf({ engines, mode }: Agent, name: string): EngineAvailability {
  const told = Object.hasOwn(engines, name) ? engines[name] : undefined
  if (told === undefined) return { available: false, reason: 'The agent does not say that it has this engine.' }
  if (mode !== 'ready') return { available: false, reason: `The agent is ${mode}: it takes nothing new.` }
  return told
}
