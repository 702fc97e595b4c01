/**
 * Brings spooled logs to the server: one batch at a time, the attempts in turns. Nothing waits for it, least of all an
 * outcome; what is not there yet when the process ends goes with the next life.
 */
import { createHash } from 'node:crypto'
import { LOG_STREAMS, type LogStreamName } from '@agent-executor/protocol'
import {
  afterAnswer,
  BATCH_BYTES_MAX,
  NEW_UPLOAD,
  nextStep,
  type Step,
  type Upload,
  type UploadAnswer,
} from '../decide/upload.ts'
import type { AttemptState } from '../executors/executor.ts'
import { startUploadLoop } from '../upload-loop.ts'
import type { Spool } from './spools.ts'

export type Registration = { agentId: string; incarnation: number; epoch: string }

export type LogClient = {
  /** Rejects where nothing is known. */
  uploadLog: (
    place: { attemptId: string; stream: LogStreamName },
    uploader: Registration,
    part: { offset: number; content: Buffer } | { bytes: number; sha256: string; complete: boolean },
    signal: AbortSignal,
  ) => Promise<UploadAnswer>
}

export function createLogUploader(options: {
  spools: { all: () => Spool[]; remove: (attemptId: string) => Promise<void> }
  client: LogClient
  /** Null while there is none. */
  registration: () => Registration | null
  stateOf: (attemptId: string) => AttemptState
  /** Rung when something was spooled. */
  news: { heard: (ms: number) => Promise<void>; ring: () => void }
  random: () => number
  warn: (facts: object, message: string) => void
}) {
  const { spools, client, stateOf } = options
  const uploads = new Map<Spool, Record<LogStreamName, Upload>>()
  const stopping = new AbortController()
  let failing: Spool | null = null

  const uploadsOf = (spool: Spool): Record<LogStreamName, Upload> => {
    const known = uploads.get(spool) ?? { stdout: NEW_UPLOAD, stderr: NEW_UPLOAD }
    uploads.set(spool, known)
    return known
  }

  const send = async (
    spool: Spool,
    stream: LogStreamName,
    step: Step,
    uploader: Registration,
  ): Promise<UploadAnswer> => {
    const spooled = spool.streams[stream]
    const place = { attemptId: spool.attemptId, stream }
    if (step.type === 'chunk') {
      const content = await spooled.content(step.offset, BATCH_BYTES_MAX)
      return client.uploadLog(place, uploader, { offset: step.offset, content }, stopping.signal)
    }
    const { bytes, complete } = step as Extract<Step, { type: 'end' }>
    const hash = createHash('sha256')
    for (let at = 0; at < bytes; at += BATCH_BYTES_MAX)
      hash.update(await spooled.content(at, Math.min(BATCH_BYTES_MAX, bytes - at)))
    return client.uploadLog(place, uploader, { bytes, complete, sha256: hash.digest('hex') }, stopping.signal)
  }

  /** True where something was sent. */
  const turn = async (spool: Spool, uploader: Registration): Promise<boolean> => {
    // Nobody will end it any more: its attempt ended while the disk was full, or under another journal.
    if (!spool.inUse() && stateOf(spool.attemptId) !== 'open') await spool.end(false)
    const uploadsNow = uploadsOf(spool)
    let sent = false
    for (const stream of LOG_STREAMS) {
      const { bytes, ended } = spool.streams[stream]
      const step = nextStep(uploadsNow[stream], { bytes: bytes(), ended: ended() })
      if (step.type === 'nothing') continue
      const answer = await send(spool, stream, step, uploader)
      const before = uploadsNow[stream]
      uploadsNow[stream] = afterAnswer(before, step, answer, stateOf(spool.attemptId))
      // Refused for now: with the next look.
      sent = sent || answer.type !== 'refused' || uploadsNow[stream] !== before
    }
    if (LOG_STREAMS.every((stream) => uploadsNow[stream].done) && !spool.inUse()) {
      uploads.delete(spool)
      await spools.remove(spool.attemptId)
    }
    return sent
  }

  const round = async (): Promise<boolean> => {
    const uploader = options.registration()
    if (uploader === null) return false
    let sent = false
    // Whoever failed last comes last: one that cannot be read must not keep the others waiting.
    for (const spool of spools.all().sort((a, b) => Number(a === failing) - Number(b === failing))) {
      if (stopping.signal.aborted) return false
      failing = spool
      sent = (await turn(spool, uploader)) || sent
    }
    failing = null
    return sent
  }

  return startUploadLoop({ ...options, what: 'logs are not taken, they wait', round, stopping })
}
