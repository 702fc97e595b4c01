/** The lines that an engine prints, on their way to its parser: whole ones, none without end, and a bounded number of events. Pure. */
import type { EngineOutcome, EngineParser } from '@agent-executor/engines'
import { EVENTS_MAX, type RunAgentResult } from '@agent-executor/protocol'

export type EngineReader = {
  push: (bytes: Buffer) => void
  /** What has no end of a line is one as well. */
  end: () => void
  /** What it did until now. */
  events: () => NonNullable<RunAgentResult['events']>
  outcome: (exitCode: number) => EngineOutcome
}

/** An engine that prints what it has read prints long lines. What is longer is passed over. */
export const LINE_BYTES_MAX = 4 * 2 ** 20
/** An answer is text for people. */
export const ANSWER_CHARACTERS_MAX = 65_536

const NEWLINE = 0x0a

export function createEngineReader(parser: EngineParser, lineBytesMax = LINE_BYTES_MAX): EngineReader {
  const items: NonNullable<RunAgentResult['events']>['items'] = []
  let count = 0
  let pieces: Buffer[] = []
  let bytes = 0
  let isTooLong = false

  const add = (piece: Buffer): void => {
    bytes += piece.length
    if (bytes > lineBytesMax) {
      isTooLong = true
      pieces = []
    }
    if (!isTooLong && piece.length > 0) pieces.push(piece)
  }

  const take = (): void => {
    const line = isTooLong ? '' : Buffer.concat(pieces).toString('utf8').trimEnd()
    pieces = []
    bytes = 0
    isTooLong = false
    if (line === '') return
    const events = parser.take(line)
    count += events.length
    items.push(...events.slice(0, Math.max(0, EVENTS_MAX - items.length)))
  }

  return {
    push(chunk) {
      let from = 0
      for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
        add(chunk.subarray(from, at))
        take()
        from = at + 1
      }
      add(chunk.subarray(from))
    },
    end: take,
    events: () => ({ count, items }),
    outcome(exitCode) {
      const outcome = parser.outcome(exitCode)
      return { ...outcome, answer: outcome.answer?.slice(0, ANSWER_CHARACTERS_MAX) ?? null }
    },
  }
}
