/**
 * Which agent may take which command. Commands with the same needs share a lane, so that a hand-over looks at a few
 * lanes instead of every waiting command.
 */
import { type EngineAvailabilities, engineNamed, type JsonValue } from '@agent-executor/protocol'
import type { Command } from './command.ts'

/** `engine` is one that an agent has to say it has; null where every agent of the type will do. */
export type Lane = { type: string; labels: string[]; pinnedTo: string | null; engine: string | null }

/** The lane as one string that sorts and compares; equal needs give equal text. */
export const laneOf = ({ type, spec }: Pick<Command, 'type' | 'spec'>): string => {
  const engine = type === 'RUN_AGENT' ? engineOf(spec.payload) : null
  const needs = [type, [...spec.labels].sort(), spec.pinnedTo]
  return JSON.stringify(engine === null ? needs : [...needs, engine])
}

/**
 * Who tells of its engines knows profiles and dry runs as well. Another agent would run the prompt without its hooks, or
 * where nothing should run, and clients of the simple API would need secrets that no answer has.
 */
const engineOf = (payload: JsonValue): string | null => {
  // Of a journal, after a restore, it may be anything.
  const { engine, resolvedFrom, dryRun } = (payload ?? {}) as {
    engine?: unknown
    resolvedFrom?: unknown
    dryRun?: unknown
  }
  if (typeof engine !== 'string') return null
  return engine !== 'shell' || resolvedFrom !== undefined || dryRun === true ? engine : null
}

export const parseLane = (text: string): Lane => {
  const [type, labels, pinnedTo, engine = null] = JSON.parse(text) as [string, string[], string | null, string?]
  return { type, labels, pinnedTo, engine }
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

/**
 * Of one without a language model, whether it could run now is in what the agent wants. One with a model may be all that
 * an agent cannot run, for want of a key: then the command waits for another agent, or for the key.
 */
const hasEngine = ({ engines }: Taker, engine: string): boolean =>
  Object.hasOwn(engines, engine) && (engineNamed(engine)?.providers.length === 0 || engines[engine]?.available === true)
