/**
 * Who may add to the log of an attempt, and what of an upload is new. Pure. A log only grows at its end: bytes that are
 * there already are passed over, bytes beyond its end are refused with the place to go on from. It is evidence of its
 * attempt: whether that is current makes no difference, and it decides nothing.
 */
import type { ApiErrorCode, LogEnd, LogStreamName, LogUploader } from '@agent-executor/protocol'
import type { Agent } from './agent.ts'
import type { Attempt } from './command.ts'

export type LogPlace = { commandId: string; attempt: number; stream: LogStreamName }

export type StoredStream = { bytes: number; end: LogEnd | null; changedAtMs: number }

/** Who uploads, and for what; all read in one transaction. */
export type UploadFacts = {
  epoch: string
  agent: Agent | null
  hasCommand: boolean
  attempt: Attempt | null
}

/** What the store shows for one upload of a log. */
export type LogFacts = UploadFacts & {
  /** Null where nothing of it was stored. */
  stream: StoredStream | null
  /** Of all streams of the attempt. */
  attemptBytes: number
}

export type LogRefusal = { ok: false; code: ApiErrorCode; message: string }
export type LogAnswer = { ok: true; fits: boolean; committed: number } | LogRefusal

/** `append` is added at the end of what is stored; `end` closes the stream. */
export type LogDecision = { answer: LogAnswer; append?: Uint8Array; end?: LogEnd }

const refused = (code: ApiErrorCode, message: string): LogRefusal => ({ ok: false, code, message })

/** Why this uploader is none, or null. */
export function uploadRefusal(facts: UploadFacts, { agentId, incarnation, epoch }: LogUploader): LogRefusal | null {
  const { agent, attempt } = facts
  if (agent === null || agent.kind !== 'sync' || incarnation > agent.incarnation)
    return refused('NOT_REGISTERED', `Agent ${agentId} is not registered.`)
  if (epoch !== facts.epoch || agent.epoch !== facts.epoch)
    return refused('EPOCH_CHANGED', 'The server was restored from a backup: register again.')
  if (incarnation < agent.incarnation)
    return refused('INCARNATION_SUPERSEDED', `Incarnation ${agent.incarnation} of agent ${agentId} has taken over.`)
  if (!facts.hasCommand) return refused('COMMAND_NOT_FOUND', 'There is no such command.')
  if (attempt === null) return refused('ATTEMPT_NOT_FOUND', 'There is no such attempt.')
  if (attempt.agentId !== agentId || attempt.grantedAtMs === null)
    return refused('NOT_YOUR_ATTEMPT', `The attempt was never granted to agent ${agentId}.`)
  return null
}

export function takeChunk(
  facts: LogFacts,
  uploader: LogUploader,
  { firstByte, content }: { firstByte: number; content: Uint8Array },
  bytesMax: number,
): LogDecision {
  const refusal = uploadRefusal(facts, uploader)
  if (refusal !== null) return { answer: refusal }
  const committed = facts.stream?.bytes ?? 0
  if (firstByte > committed) return { answer: { ok: true, fits: false, committed } }
  const append = content.subarray(Math.min(content.length, committed - firstByte))
  if (append.length === 0) return { answer: { ok: true, fits: true, committed } }
  if (facts.stream?.end != null)
    return { answer: refused('LOG_ENDED', `The stream has ended with ${committed} bytes.`) }
  if (facts.attemptBytes + append.length > bytesMax)
    return { answer: refused('LOG_FULL', `The server keeps ${bytesMax} bytes of an attempt; ${committed} are stored.`) }
  return { answer: { ok: true, fits: true, committed: committed + append.length }, append }
}

/** `storedSha256` is of the first `bytes` bytes that are stored. */
export function takeEnd(
  facts: LogFacts,
  uploader: LogUploader,
  { bytes, sha256, complete, storedSha256 }: LogEnd & { bytes: number; storedSha256: string },
): LogDecision {
  const refusal = uploadRefusal(facts, uploader)
  if (refusal !== null) return { answer: refusal }
  const committed = facts.stream?.bytes ?? 0
  if (facts.stream?.end != null) return { answer: { ok: true, fits: true, committed } }
  if (bytes > committed) return { answer: { ok: true, fits: false, committed } }
  // Of an agent whose spool is not what it uploaded once: what is stored stays, and is not called whole.
  const isWhole = complete && bytes === committed && sha256 === storedSha256
  return { answer: { ok: true, fits: true, committed }, end: { sha256: storedSha256, complete: isWhole } }
}

/** How long after the end of an attempt, or the last news of its log, its end is still waited for: an agent may be away. */
export function settlesAtMs(attempt: Attempt, streams: readonly (StoredStream | null)[], settleMs: number): number {
  if (attempt.finishedAtMs === null) return Number.POSITIVE_INFINITY
  return Math.max(attempt.finishedAtMs, ...streams.map((stream) => stream?.changedAtMs ?? 0)) + settleMs
}
