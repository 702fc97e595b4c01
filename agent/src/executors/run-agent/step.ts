/**
 * What comes next for an attempt, from what the journal knows and what Docker shows. Pure. The rule behind it: a container
 * is started only when its id is in the journal, so that one that is gone with its id in the journal may have run, and
 * one that nobody has logged has not.
 */
import { LABELS } from '../../docker/create-options.ts'
import type { Seen } from '../../docker/docker.ts'

export type Step =
  | 'create'
  /** It has never run. */
  | 'start'
  /** It runs. */
  | 'follow'
  /** It has run. */
  | 'collect'
  /** It is gone, and may have run. */
  | 'gone'
  /** Somebody else's container has the name. */
  | 'stranger'

/** `seen` is the container with the logged id, or where none is logged, the one with the attempt's name; null is none. */
export function nextStep(
  seen: Pick<Seen, 'status' | 'labels'> | null,
  loggedId: string | null,
  owner: { agentId: string; attemptId: string },
): Step {
  if (seen === null) return loggedId === null ? 'create' : 'gone'
  const { labels } = seen
  if (labels[LABELS.agent] !== owner.agentId || labels[LABELS.attempt] !== owner.attemptId) return 'stranger'
  switch (seen.status) {
    case 'created':
      return 'start'
    case 'exited':
      return 'collect'
    // Half removed: whatever it has left cannot be had any more.
    case 'dead':
    case 'removing':
      return loggedId === null ? 'stranger' : 'gone'
    default:
      return 'follow'
  }
}
