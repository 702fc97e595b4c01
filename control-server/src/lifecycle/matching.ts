/**
 * Which agent may take which command. Commands with the same needs share a lane, so that a hand-over looks at a few
 * lanes instead of every waiting command.
 */
import type { Command } from './command.ts'

export type Lane = { type: string; labels: string[]; pinnedTo: string | null }

/** The lane as one string that sorts and compares; equal needs give equal text. */
export const laneOf = (command: Pick<Command, 'type' | 'spec'>): string =>
  JSON.stringify([command.type, [...command.spec.labels].sort(), command.spec.pinnedTo])

export const parseLane = (text: string): Lane => {
  const [type, labels, pinnedTo] = JSON.parse(text) as [string, string[], string | null]
  return { type, labels, pinnedTo }
}

export type Taker = { agentId: string; types: readonly string[]; labels: readonly string[] }

export const mayTake = (agent: Taker, lane: Lane): boolean =>
  agent.types.includes(lane.type) &&
  (lane.pinnedTo === null || lane.pinnedTo === agent.agentId) &&
  lane.labels.every((label) => agent.labels.includes(label))
