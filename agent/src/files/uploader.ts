/** Brings the files that attempts have left to the server: first the list, then what the server wants of it, in parts. */
import type { Artifact } from '@agent-executor/protocol'
import {
  afterBringAnswer,
  type BringAnswer,
  type Bringing,
  type BringStep,
  NEW_BRINGING,
  nextBringStep,
} from '../decide/bring.ts'
import type { AttemptState } from '../executors/executor.ts'
import { startUploadLoop } from '../upload-loop.ts'
import type { ArtifactSpool } from './spools.ts'

type Registration = { agentId: string; incarnation: number; epoch: string }

export type ArtifactClient = {
  /** Both reject where nothing is known. */
  listArtifacts: (
    attemptId: string,
    uploader: Registration,
    artifacts: (Artifact & { lost: boolean })[],
    signal: AbortSignal,
  ) => Promise<BringAnswer>
  uploadPart: (
    attemptId: string,
    uploader: Registration,
    part: { sha256: string; bytes: number; offset: number; content: Buffer },
    signal: AbortSignal,
  ) => Promise<BringAnswer>
}

/** A second of a slow line. */
const PART_BYTES_MAX = 1_048_576

export function createArtifactUploader(options: {
  spools: { all: () => ArtifactSpool[]; remove: (attemptId: string) => Promise<void> }
  client: ArtifactClient
  /** Null while there is none. */
  registration: () => Registration | null
  stateOf: (attemptId: string) => AttemptState
  /** Rung when files were spooled. */
  news: { heard: (ms: number) => Promise<void>; ring: () => void }
  random: () => number
  warn: (facts: object, message: string) => void
}) {
  const { spools, client, stateOf } = options
  const bringings = new Map<string, Bringing>()
  const stopping = new AbortController()
  let failing: string | null = null

  const send = async (spool: ArtifactSpool, step: BringStep, uploader: Registration): Promise<BringAnswer> => {
    const { attemptId } = spool
    const { artifacts } = spool.left()
    if (step.type === 'part') {
      const { sha256, bytes, offset } = step
      const content = await spool.read(sha256, offset, PART_BYTES_MAX).catch(() => Buffer.alloc(0))
      if (content.length > 0 || bytes === 0)
        return client.uploadPart(attemptId, uploader, { sha256, bytes, offset, content }, stopping.signal)
      return { type: 'refused', code: 'CONTENT_MISMATCH' }
    }
    return client.listArtifacts(attemptId, uploader, artifacts, stopping.signal)
  }

  /** True where something was sent. */
  const turn = async (spool: ArtifactSpool, uploader: Registration): Promise<boolean> => {
    const { attemptId } = spool
    const before = bringings.get(attemptId) ?? NEW_BRINGING
    const step = nextBringStep(before, spool.left().artifacts)
    const answer = await send(spool, step, uploader)
    const after = afterBringAnswer(before, step, answer, stateOf(attemptId))
    bringings.set(attemptId, after)
    // Damaged or gone here: the server should not wait for it.
    if (step.type === 'part' && answer.type === 'refused' && answer.code === 'CONTENT_MISMATCH') {
      options.warn({ attemptId, sha256: step.sha256 }, 'a file of an attempt cannot be read back, it is lost')
      await spool.lose(step.sha256)
      bringings.set(attemptId, NEW_BRINGING)
    }
    if (after.done) {
      bringings.delete(attemptId)
      await spools.remove(attemptId)
    }
    // Refused for now: with the next look.
    return answer.type !== 'refused' || after.done
  }

  const round = async (): Promise<boolean> => {
    const uploader = options.registration()
    if (uploader === null) return false
    let sent = false
    // Whoever failed last comes last: one that cannot be read must not keep the others waiting.
    for (const spool of spools
      .all()
      .sort((a, b) => Number(a.attemptId === failing) - Number(b.attemptId === failing))) {
      if (stopping.signal.aborted) return false
      failing = spool.attemptId
      sent = (await turn(spool, uploader)) || sent
    }
    failing = null
    return sent
  }

  return startUploadLoop({ ...options, what: 'files are not taken, they wait', round, stopping })
}
