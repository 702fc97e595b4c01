/**
 * Which agent may take which command. Commands with the same needs share a lane, so that a hand-over looks at a few
 * lanes instead of every waiting command.
 */
import type { EngineAvailabilities, EngineDefinition, JsonValue } from '@agent-executor/protocol'
import type { Command } from './command.ts'

/**
 * `engine` is one that an agent has to say it has; null where every agent of the type will do. `now`: and that it can run
 * it now, in an image that is the engine's own, or with a model. Where it is the agent's image, that is in what it wants.
 */
export type Lane = {
  type: string
  labels: string[]
  pinnedTo: string | null
  engine: { name: string; now: boolean } | null
}

/** The lane as one string that sorts and compares; equal needs give equal text. */
export const laneOf = ({ type, spec }: Pick<Command, 'type' | 'spec'>): string => {
  const engine = type === 'RUN_AGENT' ? engineOf(spec.payload) : null
  const needs = [type, [...spec.labels].sort(), spec.pinnedTo]
  return JSON.stringify(engine === null ? needs : [...needs, engine.name, engine.now])
}

/**
 * Who tells of its engines knows profiles and dry runs as well. Another agent would run the prompt without its hooks, or
 * where nothing should run, and clients of the simple API would need secrets that no answer has.
 */
const engineOf = (payload: JsonValue): Lane['engine'] => {
  // Of a journal, after a restore, it may be anything.
  const { engine, engineDefinition, resolvedFrom, dryRun } = (payload ?? {}) as {
    engine?: unknown
    engineDefinition?: Partial<EngineDefinition> | null
    resolvedFrom?: unknown
    dryRun?: unknown
  }
  if (typeof engine !== 'string') return null
  const { adapter = engine, image = null } = engineDefinition ?? {}
  const now = adapter !== 'shell' || image !== null
  return now || resolvedFrom !== undefined || dryRun === true ? { name: engine, now } : null
}

export const parseLane = (text: string): Lane => {
  const [type, labels, pinnedTo, name, now = false] = JSON.parse(text) as [
    ...[string, string[], string | null],
    ...[string?, boolean?],
  ]
  return { type, labels, pinnedTo, engine: name === undefined ? null : { name, now } }
}

export type Taker = {
  agentId: string
  types: readonly string[]
  labels: readonly string[]
  engines: EngineAvailabilities
}

export const mayTake = (agent: Taker, lane: Lane): boolean =>
  agent.types.includes(lane.type) &&
  (lane.pinnedTo === null || lane.pinnedTo === agent.agentId) &&
  lane.labels.every((label) => agent.labels.includes(label)) &&
  (lane.engine === null || hasEngine(agent, lane.engine))

const hasEngine = ({ engines }: Taker, { name, now }: NonNullable<Lane['engine']>): boolean =>
  Object.hasOwn(engines, name) && (!now || engines[name]?.available === true)
