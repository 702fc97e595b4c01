/**
 * Reads along with an answer, whatever way its bytes are cut, and never stands in its way: an answer that cannot be read
 * passes all the same, and its usage is estimated.
 */
import { createParser } from 'eventsource-parser'
import { NO_USAGE, type Usage, type UsageReader } from './wire/wire.ts'

/** Of an answer that nobody has counted: a token of a text is seldom shorter, whatever the language. */
const BYTES_PER_TOKEN = 3
/** Of one event, and of an answer that is no stream. */
const TEXT_BYTES_MAX = 16 * 2 ** 20

export type Metered = { usage: Usage; isEstimated: boolean }

export function createMeter(
  reader: UsageReader,
  /** Of what was reserved, which is the most that an answer can come to. */
  { isStream, inputTokens, outputTokensMax }: { isStream: boolean; inputTokens: number; outputTokensMax: number },
) {
  const decoder = new TextDecoder()
  let bytes = 0
  let text = ''
  let isBroken = false
  const take = (json: string): void => {
    // What ends a stream of OpenAI.
    if (json === '[DONE]') return
    try {
      const value: unknown = JSON.parse(json)
      // A stream of Gemini that is none of events is a list.
      for (const each of Array.isArray(value) ? value : [value]) reader.take(each)
    } catch {
      isBroken = true
    }
  }
  const parser = createParser({ onEvent: ({ data }) => take(data), maxBufferSize: TEXT_BYTES_MAX })
  return {
    push(chunk: Uint8Array): void {
      bytes += chunk.length
      if (isBroken) return
      const piece = decoder.decode(chunk, { stream: true })
      try {
        if (isStream) parser.feed(piece)
        else if (text.length + piece.length > TEXT_BYTES_MAX) isBroken = true
        else text += piece
      } catch {
        isBroken = true
      }
    },
    /** What comes cannot be read; its usage is estimated. */
    giveUp(): void {
      isBroken = true
    },
    /** `whole`: the connection ended as an answer ends. */
    end(whole: boolean): Metered {
      if (isStream) {
        if (!isBroken) parser.feed('\n\n')
      } else if (whole && !isBroken) take(text)
      const told = reader.usage()
      if (told !== null && reader.isComplete()) return { usage: told, isEstimated: false }
      const outputTokens = Math.max(
        told?.outputTokens ?? 0,
        Math.min(Math.ceil(bytes / BYTES_PER_TOKEN), outputTokensMax),
      )
      return { usage: { ...(told ?? { ...NO_USAGE, inputTokens }), outputTokens }, isEstimated: true }
    },
  }
}
