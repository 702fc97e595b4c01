/** OpenAI's Responses. Usage comes with the event that ends the stream. */
import { isAddress, refuseElsewhere, refuseGiven, without, withTools } from './enclosed.ts'
import { openaiMediaTokens, openaiRefusal, openaiUsage } from './openai.ts'
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
  enclosed(body) {
    refuseGiven(body, 'previous_response_id', 'conversation', 'prompt')
    refuseElsewhere('/input', body.input, isElsewhere)
    return withTools(without(body, 'service_tier'), (tool) => (isOwn(tool) ? tool : null))
  },
  mediaTokens: openaiMediaTokens,
  renamed: (path, body, model) => ({ path, body: { ...body, model } }),
  limited: (body, outputTokensMax) =>
    outputTokensMax === null ? body : { ...body, max_output_tokens: outputTokensMax },
  reader: createReader,
  // Its client repeats a 402, and ends at once with this.
  refusal: (cause, message) => openaiRefusal(cause, message, 429),
}

/** Those that the client runs; the search is one among tools. */
const OWN_TOOLS = ['function', 'custom', 'namespace', 'local_shell', 'apply_patch', 'tool_search', 'computer']
const isOwn = ({ type, environment }: JsonObject): boolean =>
  OWN_TOOLS.includes(String(type)) || (type === 'shell' && objectOf(environment).type === 'local')

const isElsewhere = ({ type, image_url: image, file_id: fileId, file_url: fileUrl }: JsonObject): boolean => {
  if (type === 'item_reference') return true
  if (type !== 'input_image' && type !== 'input_file') return false
  return (image !== undefined && image !== null && isAddress(image)) || fileId != null || fileUrl != null
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
