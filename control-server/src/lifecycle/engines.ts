/** Which agents can run an engine now, and why not the others: from what they have told. */
import type { EngineAvailabilities, EngineAvailability, EngineSummary } from '@agent-executor/protocol'
import { type Agent, isOnline } from './agent.ts'

/** As it is kept: a newer agent may tell more than this server knows. */
export const keptEngines = (told: EngineAvailabilities): EngineAvailabilities =>
  Object.fromEntries(Object.entries(told).map(([name, { available, reason }]) => [name, { available, reason }]))

/** Of the engine with this name. */
export function engineAgents(
  name: string,
  agents: readonly Agent[],
  nowMs: number,
): Pick<EngineSummary, 'available' | 'agents'> {
  // A client of the simple API tells nothing of itself.
  const asked = agents
    .filter((agent) => agent.kind === 'sync' && isOnline(agent, nowMs))
    .map((agent) => ({ agentId: agent.agentId, ...availabilityOf(agent, name) }))
  return { available: asked.some(({ available }) => available), agents: asked }
}

function availabilityOf({ engines, mode }: Agent, name: string): EngineAvailability {
  const told = Object.hasOwn(engines, name) ? engines[name] : undefined
  if (told === undefined) return { available: false, reason: 'The agent does not say that it has this engine.' }
  if (mode !== 'ready') return { available: false, reason: `The agent is ${mode}: it takes nothing new.` }
  return told
}
