/** What a server keeps of a reported outcome. Never refused for its size: the work is done. */
import type { Outcome } from '@agent-executor/protocol'
import { storableJson } from '@agent-executor/runtime'

/** More than any result or error is allowed to nest; the JSON reader has turned the rest into text. */
const DEPTH_MAX = 120
const MESSAGE_CHARACTERS_MAX = 65_536

/** The outcome with its result, and the details of its error, within `bytesMax`; a result that was cut is flagged. */
export function keptOutcome(outcome: Outcome, bytesMax: number): Outcome {
  const cut = (value: unknown) => storableJson(value, { bytesMax, depthMax: DEPTH_MAX })
  const kept = { ...outcome }
  if (outcome.result !== undefined) {
    const { value, truncated } = cut(outcome.result)
    kept.result = value
    if (truncated) kept.resultTruncated = true
  }
  if (outcome.error !== undefined) {
    const { message, details } = outcome.error
    kept.error = { ...outcome.error, message: message.slice(0, MESSAGE_CHARACTERS_MAX) }
    if (details !== undefined) kept.error.details = cut(details).value
  }
  return kept
}
