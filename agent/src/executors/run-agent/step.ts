/**
 * What comes next for an attempt, from what the journal knows and what Docker shows. Pure. The rule behind it: a container
 * is started only when its id is in the journal, so that one that is gone with its id in the journal may have run, and
 * one that nobody has logged has not. One of the pool is an attempt's by the name that it was given; it runs before it is
 * logged, and gets its prompt only then.
 */
import { containerName, LABELS } from '../../docker/create-options.ts'
import type { Seen } from '../../docker/docker.ts'
import { HOST_DIED } from './classify.ts'

export type Step =
  | 'create'
  /** It has never run. */
  | 'start'
  /** Of the pool, dead before it got anything. */
  | 'discard'
  /** It runs. */
  | 'follow'
  /** It has run. One of the pool may have ended before its prompt began. */
  | 'collect'
  /** It is gone, and may have run. */
  | 'gone'
  /** Somebody else's container has the name. */
  | 'stranger'

type Named = Pick<Seen, 'status' | 'labels' | 'name'>

export const isOfPool = ({ labels }: Pick<Seen, 'labels'>): boolean => labels[LABELS.pool] !== undefined

/** `seen` is the container with the logged id, or where none is logged, the one with the attempt's name; null is none. */
export function nextStep(
  seen: Named | null,
  loggedId: string | null,
  owner: { agentId: string; attemptId: string },
): Step {
  if (seen === null) return loggedId === null ? 'create' : 'gone'
  if (!isOwn(seen, owner)) return 'stranger'
  const ofPool = isOfPool(seen)
  const hasEnded = ['created', 'exited', 'dead', 'removing'].includes(seen.status)
  if (ofPool && loggedId === null && hasEnded) return 'discard'
  switch (seen.status) {
    case 'created':
      // It had been started, and the machine has lost its power since.
      return ofPool ? 'collect' : 'start'
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

const isOwn = (seen: Named, { agentId, attemptId }: { agentId: string; attemptId: string }): boolean =>
  seen.labels[LABELS.agent] === agentId &&
  (isOfPool(seen) ? seen.name === containerName(attemptId) : seen.labels[LABELS.attempt] === attemptId)

/**
 * Whether one of the pool has certainly not begun, now that it has ended. Where the machine has died its volume does not
 * prove that: what was written last may not have reached the disk. Nor does it where Docker shows as `created` what had been started.
 */
export const mayStartAnew = ({ status, exitCode }: Pick<Seen, 'status' | 'exitCode'>, hasBegun: boolean): boolean =>
  !hasBegun && status === 'exited' && exitCode !== HOST_DIED
