/** Brings what calls have used from the gateway's books to the server, until the gateway knows that the server has it. */
import { type LlmCall, USAGE_CALLS_MAX, type UsageReport } from '@agent-executor/protocol'
import { startUploadLoop } from '../upload-loop.ts'
import type { Unreported } from './client.ts'

type Registration = { agentId: string; incarnation: number; epoch: string }

export type UsageServer = {
  /** Rejects where nothing is known. */
  uploadUsage: (
    attemptId: string,
    uploader: Registration,
    report: UsageReport,
    signal: AbortSignal,
  ) => Promise<{ type: 'stored' } | { type: 'refused'; code: string }>
}

export type UsageBooks = {
  unreported: (agentId: string, limit: number) => Promise<Unreported>
  reported: (callIds: readonly number[]) => Promise<void>
}

export function createUsageUploader(options: {
  agentId: string
  books: UsageBooks
  server: UsageServer
  /** Null while there is none. */
  registration: () => Registration | null
  /** Whether the gateway is there. */
  up: () => boolean
  /** Whether the journal still has the attempt before its acknowledgement. */
  isOpen: (attemptId: string) => boolean
  /** Rung when calls may have ended. */
  news: { heard: (ms: number) => Promise<void>; ring: () => void }
  random: () => number
  warn: (facts: object, message: string) => void
}) {
  const { agentId, books, server } = options
  const stopping = new AbortController()

  /** True where the gateway need not tell of them any more. */
  const brought = async (
    { attemptId, calls }: { attemptId: string; calls: LlmCall[] },
    gatewayId: string,
    uploader: Registration,
  ): Promise<boolean> => {
    const answer = await server.uploadUsage(attemptId, uploader, { gatewayId, calls }, stopping.signal)
    if (answer.type === 'stored') return true
    // A server that was set back may learn of the attempt yet, from the journal.
    if (options.isOpen(attemptId)) return false
    options.warn(
      { attemptId, code: answer.code },
      'the server does not take the usage of an attempt; the gateway keeps it',
    )
    return true
  }

  const round = async (): Promise<boolean> => {
    const uploader = options.registration()
    if (uploader === null || !options.up()) return false
    const { gatewayId, attempts } = await books.unreported(agentId, USAGE_CALLS_MAX)
    let count = 0
    for (const attempt of attempts) {
      if (stopping.signal.aborted) return false
      if (!(await brought(attempt, gatewayId, uploader))) continue
      await books.reported(attempt.calls.map(({ callId }) => callId))
      count += attempt.calls.length
    }
    return count > 0
  }

  return startUploadLoop({ ...options, what: 'usage is not taken, it waits', round, stopping })
}
