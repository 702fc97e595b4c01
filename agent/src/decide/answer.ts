/** What the agent does with the answer to a sync. Pure: the journal's entries and what is running come in as facts. */
import type { AckVerdict, Offer, SyncRequest, SyncResponse } from '@agent-executor/protocol'
import type { Phase } from '../journal/journal.ts'

export type Known = {
  phase: Phase
  hasOutcome: boolean
  /** Its executor runs in this process. */
  active: boolean
}

export type Action =
  | { type: 'accept'; offer: Offer }
  /** The outcome is in the journal: report it again. */
  | { type: 'reopen'; attemptId: string }
  | { type: 'start'; attemptId: string }
  | { type: 'resume'; attemptId: string }
  | { type: 'ack'; attemptId: string; verdict: AckVerdict }
  | { type: 'cancel'; attemptId: string; reason: string; graceMs: number; active: boolean }
  | { type: 'drop'; attemptId: string; active: boolean; started: boolean }

export function actionsFor(
  response: SyncResponse,
  known: (attemptId: string) => Known | undefined,
  /** What the request named as running. */
  shownRunning: readonly string[],
  mode: SyncRequest['mode'],
): Action[] {
  const actions: Action[] = []

  for (const { attemptId, verdict } of response.acks)
    if (known(attemptId)?.phase === 'FINISHED') actions.push({ type: 'ack', attemptId, verdict })

  const dropped = new Set(response.drop)
  for (const attemptId of dropped) {
    const entry = known(attemptId)
    if (entry?.phase === 'ACCEPTED' || entry?.phase === 'STARTED')
      actions.push({ type: 'drop', attemptId, active: entry.active, started: entry.phase === 'STARTED' })
  }

  const cancelled = new Set<string>()
  for (const { attemptId, cancel, graceMs } of response.desired) {
    const entry = known(attemptId)
    cancelled.add(attemptId)
    if (entry?.phase === 'ACCEPTED' || entry?.phase === 'STARTED')
      actions.push({ type: 'cancel', attemptId, reason: cancel, graceMs, active: entry.active })
  }

  for (const attemptId of new Set(response.grants)) {
    const entry = known(attemptId)
    if (entry?.phase === 'ACCEPTED' && !entry.active && !dropped.has(attemptId) && !cancelled.has(attemptId))
      actions.push({ type: 'start', attemptId })
  }

  // Shown as running, not dropped, not cancelled: confirmed to this incarnation. Not while the server recovers from a
  // backup: another journal, not heard yet, may hold the attempt that took this one over.
  for (const attemptId of response.recovery ? [] : shownRunning) {
    const entry = known(attemptId)
    if (entry?.phase === 'STARTED' && !entry.active && !dropped.has(attemptId) && !cancelled.has(attemptId))
      actions.push({ type: 'resume', attemptId })
  }

  for (const offer of response.offers) {
    const entry = known(offer.attemptId)
    if (entry === undefined || (entry.phase === 'ACKED' && !entry.hasOutcome)) {
      if (mode === 'ready') actions.push({ type: 'accept', offer })
    } else if (entry.phase === 'ACKED') actions.push({ type: 'reopen', attemptId: offer.attemptId })
  }
  return actions
}
