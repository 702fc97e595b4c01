/** What an upload of the files of an attempt sends next, from what the server has said. Pure. */
import type { Artifact } from '@agent-executor/protocol'
import type { AttemptState } from '../executors/executor.ts'

/** Of one attempt. */
export type Bringing = {
  /** Contents that the server lacks; null where it was not asked, or may have changed its mind. */
  wanted: readonly string[] | null
  /** What it has of the first of them. */
  committed: number
  /** It has all that it wants, or will never take it. */
  done: boolean
}

export const NEW_BRINGING: Bringing = { wanted: null, committed: 0, done: false }

export type BringStep =
  | { type: 'list' }
  | { type: 'part'; sha256: string; bytes: number; offset: number }
  | { type: 'nothing' }

export function nextBringStep(
  { wanted, committed, done }: Bringing,
  kept: readonly (Artifact & { lost: boolean })[],
): BringStep {
  if (done) return { type: 'nothing' }
  const sha256 = wanted?.[0]
  if (sha256 === undefined) return { type: 'list' }
  const artifact = kept.find((each) => each.sha256 === sha256 && !each.lost)
  // Given up since: the list says so.
  if (artifact === undefined) return { type: 'list' }
  return { type: 'part', sha256, bytes: artifact.bytes, offset: Math.min(committed, artifact.bytes) }
}

export type BringAnswer =
  | { type: 'wanted'; wanted: readonly string[] }
  | { type: 'taken' | 'rewind'; committed: number }
  | { type: 'refused'; code: string }

/** `step` is what was answered. */
export function afterBringAnswer(
  bringing: Bringing,
  step: BringStep,
  answer: BringAnswer,
  state: AttemptState,
): Bringing {
  switch (answer.type) {
    case 'wanted':
      return { wanted: answer.wanted, committed: 0, done: answer.wanted.length === 0 }
    case 'rewind':
      return { ...bringing, committed: answer.committed }
    case 'taken': {
      if (step.type !== 'part' || answer.committed < step.bytes) return { ...bringing, committed: answer.committed }
      const left = bringing.wanted?.slice(1) ?? []
      return { wanted: left, committed: 0, done: left.length === 0 }
    }
    case 'refused':
      switch (answer.code) {
        // A server that was set back may learn of it yet, from the journal.
        case 'NOT_YOUR_ATTEMPT':
        case 'ATTEMPT_NOT_FOUND':
        case 'COMMAND_NOT_FOUND':
          return state === 'open' ? bringing : { ...NEW_BRINGING, done: true }
        case 'ARTIFACT_NOT_FOUND':
          return NEW_BRINGING
        default:
          return bringing
      }
  }
}
