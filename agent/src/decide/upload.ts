/** What an upload of a log sends next, from what the spool and the server have. Pure. */
import type { AttemptState } from '../executors/executor.ts'

/** Of one stream. */
export type Upload = {
  /** What the server has, as far as is known. */
  committed: number
  /** Everything is there, its end too; or the server will never take it. */
  done: boolean
  /** The server keeps no more of it. */
  full: boolean
}

export const NEW_UPLOAD: Upload = { committed: 0, done: false, full: false }

/** Of one batch: a second of a slow line, and little for the server to hold. */
export const BATCH_BYTES_MAX = 262_144

export type Step =
  | { type: 'chunk'; offset: number }
  | { type: 'end'; bytes: number; complete: boolean }
  | { type: 'nothing' }

export function nextStep(upload: Upload, spooled: { bytes: number; ended: 'complete' | 'cut' | null }): Step {
  if (upload.done) return { type: 'nothing' }
  if (upload.full) return { type: 'end', bytes: upload.committed, complete: false }
  if (upload.committed < spooled.bytes) return { type: 'chunk', offset: upload.committed }
  if (spooled.ended === null) return { type: 'nothing' }
  // The server has more where the spool was lost; then only what is here can be vouched for.
  return { type: 'end', bytes: spooled.bytes, complete: spooled.ended === 'complete' }
}

export type UploadAnswer = { type: 'taken' | 'rewind'; committed: number } | { type: 'refused'; code: string }

/** `step` is what was answered. */
export function afterAnswer(upload: Upload, step: Step, answer: UploadAnswer, state: AttemptState): Upload {
  if (answer.type !== 'refused') {
    const { committed } = answer
    // An end that does not fit: the server was set back, and everything it lacks goes there again.
    return answer.type === 'taken'
      ? { ...upload, committed, done: step.type === 'end' }
      : { ...upload, committed, full: false }
  }
  switch (answer.code) {
    case 'LOG_FULL':
      return { ...upload, full: true }
    case 'LOG_ENDED':
      return { ...upload, done: true }
    // A server that was set back may learn of it yet, from the journal.
    case 'NOT_YOUR_ATTEMPT':
    case 'ATTEMPT_NOT_FOUND':
    case 'COMMAND_NOT_FOUND':
      return state === 'open' ? upload : { ...upload, done: true }
    default:
      return upload
  }
}
