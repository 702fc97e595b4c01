/** OpenAI's Responses. Usage comes with the event that ends the stream. */
import { openaiRefusal, openaiUsage } from './openai.ts'
import {
  type JsonObject,
  limitOf,
  modelOf,
  OUTPUT_TOKENS_LEAST,
  objectOf,
  type Usage,
  type UsageReader,
  type Wire,
  WireError,
} from './wire.ts'

const ENDS = ['response.completed', 'response.incomplete', 'response.failed']

export const openaiResponses: Wire = {
  provider: 'openai',
  operation: (path) => (path === '/v1/responses' ? 'generate' : null),
  asked(_path, body) {
    // It would go on after this answer, where nobody meters it.
    if (body.background === true) throw new WireError('/background', 'must not be true')
    return {
      model: modelOf(body.model),
      isStream: body.stream === true,
      outputTokensMax: limitOf('/max_output_tokens', body.max_output_tokens),
      outputTokensLeast: OUTPUT_TOKENS_LEAST,
    }
  },
  limited: (body, outputTokensMax) => ({ ...body, max_output_tokens: outputTokensMax }),
  reader: createReader,
  // Its client repeats a 402, and ends at once with this.
  refusal: (cause, message) => openaiRefusal(cause, message, 429),
}

function createReader(): UsageReader {
  let usage: Usage | null = null
  let complete = false
  return {
    take(value) {
      const event = objectOf(value)
      const isEnd = ENDS.includes(String(event.type))
      const response: JsonObject = isEnd ? objectOf(event.response) : event.object === 'response' ? event : {}
      if (isEnd || event.object === 'response') complete = true
      if (typeof response.usage === 'object' && response.usage !== null)
        usage = openaiUsage(objectOf(response.usage), 'input', 'output')
    },
    usage: () => usage,
    isComplete: () => complete,
  }
}
