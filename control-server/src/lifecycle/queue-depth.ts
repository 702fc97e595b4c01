/**
 * How many commands are PENDING, which is what QUEUE_MAX limits: those that run are limited by the slots of the agents.
 * Counted once when the database is opened, then kept by what is written.
 */
import type { Change } from './agent.ts'
import type { Phase } from './command.ts'

export const depthAfter = (depth: number, changes: readonly Change[]): number =>
  changes.reduce((sum, { entry }) => sum + pending(entry.to) - pending(entry.from), depth)

const pending = (phase: Phase | null): 0 | 1 => (phase === 'WAITING' || phase === 'OFFERED' ? 1 : 0)
