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

const hasDecided = ({ outcomeState, verdict }: Entry): boolean =>
  outcomeState === 'SUCCEEDED' && (verdict === 'accepted' || verdict === 'duplicate')

/** Finished attempts named at most. The protocol takes 100,000 items, and reopened tombstones may be more. */
const FINISHED_MAX = 50_000

/**
 * Every entry that may still run is named, and the newest of the finished ones; outcomes go along as far as `bytesMax`
 * reaches, at least one, and the rest with the next sync.
 *
 * `recovery`, for a server that was restored from a backup, adds the offers: those of finished attempts as far as twice
 * `bytesMax` reaches, the newest first, which a backup misses. And only what has decided a command before may decide it
 * again: of two attempts another journal may hold the one that counted, so all other outcomes wait until recovery is over.
 */
export function inventory(
  open: readonly Entry[],
  outcomeOf: (attemptId: string) => Outcome | undefined,
  { bytesMax, recovery }: { bytesMax: number; recovery: boolean },
): { held: HeldAttempt[]; complete: boolean } {
  const live = open.filter(({ phase }) => phase !== 'FINISHED')
  // Command ids grow with time.
  const finished = open.filter(({ phase }) => phase === 'FINISHED').reverse()
  let complete = finished.length <= FINISHED_MAX
  let outcomeBytes = 0
  let offerBytes = 0

  const named = (entry: Entry): HeldAttempt => ({ attemptId: entry.attemptId, phase: phaseOf(entry) })
  const withOffer = (entry: Entry): HeldAttempt => {
    if (!recovery) return named(entry)
    if (entry.phase === 'FINISHED') offerBytes += JSON.stringify(entry.offer).length
    return offerBytes > 2 * bytesMax && entry.phase === 'FINISHED'
      ? named(entry)
      : Object.assign(named(entry), { offer: entry.offer })
  }
  const withOutcome = (entry: Entry): HeldAttempt => {
    const item = withOffer(entry)
    if (recovery && !hasDecided(entry)) return item
    if (outcomeBytes > 0 && outcomeBytes + entry.outcomeBytes > bytesMax) {
      complete = false
      return item
    }
    const outcome = outcomeOf(entry.attemptId)
    if (outcome === undefined || entry.outcomeSha256 === null) return item
    outcomeBytes += entry.outcomeBytes
    return Object.assign(item, { outcome, outcomeSha256: entry.outcomeSha256 })
  }
  return { held: [...live.map(withOffer), ...finished.slice(0, FINISHED_MAX).map(withOutcome)], complete }
}

/** Finished and not reported: beyond this nothing new is taken, so that a long outage cannot fill the disk. */
const OUTBOX_MAX = 10_000

/** Free slots by type; none of a type whose attempts could not begin now. */
export function wanted(
  slots: Readonly<Record<string, number>>,
  open: readonly Entry[],
  mode: SyncRequest['mode'],
  ready: (type: string) => boolean,
): Record<string, number> {
  if (mode !== 'ready' || open.filter(({ phase }) => phase === 'FINISHED').length >= OUTBOX_MAX) return {}
  const taken = (type: string) =>
    open.filter((entry) => entry.offer.type === type && (entry.phase === 'ACCEPTED' || entry.phase === 'STARTED'))
      .length
  const free = (type: string, count: number) => (ready(type) ? Math.max(0, count - taken(type)) : 0)
  return Object.fromEntries(Object.entries(slots).map(([type, count]) => [type, free(type, count)]))
}
