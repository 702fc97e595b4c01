/** From what was read of a container to the result of its attempt. Pure. */
import type { EngineOutcome } from '@agent-executor/engines'
import type { RunAgentPayload, RunAgentReason, RunAgentResult } from '@agent-executor/protocol'
import type { Left } from '../../files/spools.ts'
import type { SessionUsage } from '../../gateway/client.ts'
import { createCapture } from './capture.ts'
import type { EngineReader } from './engine-reader.ts'
import { SESSION_OUTPUT } from './input.ts'
import type { Read } from './outputs.ts'

const nothing = createCapture(2)
export const NOTHING_LEFT: Left = { artifacts: [], skipped: { count: 0, files: [] }, missing: null }

export const lastWordsOf = ({ output }: Read): string => (output?.stderr ?? nothing).text().text

type Ended = { exitCode: number | null; oomKilled: boolean; tookMs: number | null; reason: RunAgentReason }

export const resultOf = (
  { payload, image }: { payload: RunAgentPayload; image: string },
  { exitCode, reason, oomKilled, tookMs }: Ended,
  { output, from }: Read,
  { artifacts, skipped, missing, changes }: Left,
): RunAgentResult => ({
  ...{ engine: payload.engine, image, exitCode, reason, oomKilled },
  stdout: (output?.stdout ?? nothing).text(),
  stderr: (output?.stderr ?? nothing).text(),
  ...{ outputFrom: from, tookMs },
  artifacts: artifacts.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
  ...(skipped.count === 0 ? {} : { artifactsSkipped: skipped }),
  ...(changes == null ? {} : { changes }),
  ...(missing === null ? {} : { artifactsMissing: missing }),
  ...(payload.hooks === undefined ? {} : { hooks: null }),
})

/** What there is to say of an engine with a language model. Without `used`, nobody knows what it has cost. */
export const engineResult = (
  outcome: EngineOutcome | null,
  reader: EngineReader | null,
  used: SessionUsage | null | undefined,
): Pick<RunAgentResult, 'answer' | 'sessionId' | 'turns' | 'usage' | 'costMicroUsd' | 'events'> => ({
  answer: outcome?.answer ?? null,
  sessionId: outcome?.sessionId ?? null,
  ...(used === undefined ? {} : used === null ? { costMicroUsd: null } : spentOf(used)),
  events: reader?.events() ?? { count: 0, items: [] },
})

const spentOf = ({ total, costMicroUsd }: SessionUsage) => ({
  turns: total.calls,
  usage: {
    ...{ inputTokens: total.inputTokens, cacheReadTokens: total.cacheReadTokens },
    ...{ cacheWriteTokens: total.cacheWriteTokens, cacheWrite1hTokens: total.cacheWrite1hTokens },
    ...{ outputTokens: total.outputTokens, webSearches: total.webSearches },
    ...{ calls: total.calls, isEstimated: total.isEstimated },
  },
  costMicroUsd,
})

/** Whether it has left neither words nor files. */
export const isEmpty = ({ answer, artifacts, changes, artifactsSkipped, artifactsMissing }: RunAgentResult): boolean =>
  (answer ?? '').trim() === '' &&
  artifacts.every(({ name }) => `/${name}` === SESSION_OUTPUT) &&
  (changes?.count ?? 0) === 0 &&
  artifactsSkipped === undefined &&
  artifactsMissing === undefined
