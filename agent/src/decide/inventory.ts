/** What a sync says: the complete inventory of what the server has not acknowledged, and what can be taken. */
import type { HeldAttempt, Outcome, SyncRequest } from '@agent-executor/protocol'
import type { Entry } from '../journal/journal.ts'

const phaseOf = (entry: Entry): HeldAttempt['phase'] => {
  switch (entry.phase) {
    case 'ACCEPTED':
      return 'accepted'
    case 'STARTED':
      return 'running'
    default:
      return entry.outcomeState === 'INTERRUPTED' ? 'interrupted' : 'finished'
  }
}

/**
 * Every open entry is named; outcomes go along as far as `bytesMax` reaches, at least one, and the rest with the next
 * sync. `full` adds the offers, for a server that was restored from a backup.
 */
export function inventory(
  open: readonly Entry[],
  outcomeOf: (attemptId: string) => Outcome | undefined,
  { bytesMax, full }: { bytesMax: number; full: boolean },
): { held: HeldAttempt[]; complete: boolean } {
  let bytes = 0
  let complete = true
  const held = open.map((entry): HeldAttempt => {
    const item: HeldAttempt = {
      attemptId: entry.attemptId,
      phase: phaseOf(entry),
      ...(full ? { offer: entry.offer } : {}),
    }
    if (entry.outcomeSha256 === null) return item
    if (bytes > 0 && bytes + entry.outcomeBytes > bytesMax) {
      complete = false
      return item
    }
    const outcome = outcomeOf(entry.attemptId)
    if (outcome === undefined) return item
    bytes += entry.outcomeBytes
    return { ...item, outcome, outcomeSha256: entry.outcomeSha256 }
  })
  return { held, complete }
}

/** Finished and not reported: beyond this nothing new is taken, so that a long outage cannot fill the disk. */
const OUTBOX_MAX = 10_000

/** Free slots by type. */
export function wanted(
  slots: Readonly<Record<string, number>>,
  open: readonly Entry[],
  mode: SyncRequest['mode'],
): Record<string, number> {
  if (mode !== 'ready' || open.filter(({ phase }) => phase === 'FINISHED').length >= OUTBOX_MAX) return {}
  const taken = (type: string) =>
    open.filter((entry) => entry.offer.type === type && (entry.phase === 'ACCEPTED' || entry.phase === 'STARTED')).length
  return Object.fromEntries(Object.entries(slots).map(([type, count]) => [type, Math.max(0, count - taken(type))]))
}
