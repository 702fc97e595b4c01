/** OpenAI's Chat Completions, which many others speak. Usage is in the last chunk of a stream, if it was asked for. */
import { isAddress, refuseElsewhere, without, withTools } from './enclosed.ts'
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

export const openaiChat: Wire = {
  provider: 'openai',
  operation: (path) => (path === '/v1/chat/completions' ? 'generate' : null),
  asked(_path, body) {
    // Each is an answer of its own, of which the limit is that of one.
    if (body.n !== undefined && body.n !== null && body.n !== 1) throw new WireError('/n', 'must be 1')
    return {
      model: modelOf(body.model),
      isStream: body.stream === true,
      outputTokensMax:
        limitOf('/max_completion_tokens', body.max_completion_tokens) ?? limitOf('/max_tokens', body.max_tokens),
      outputTokensLeast: OUTPUT_TOKENS_LEAST,
    }
  },
  enclosed(body) {
    refuseElsewhere('/messages', body.messages, isElsewhere)
    const own = without(body, 'web_search_options', 'service_tier')
    return withTools(own, (tool) => (['function', 'custom'].includes(String(tool.type)) ? tool : null))
  },
  mediaTokens: openaiMediaTokens,
  renamed: (path, body, model) => ({ path, body: { ...body, model } }),
  limited(body, outputTokensMax) {
    // A provider that is compatible may know the old name alone.
    const name =
      body.max_tokens !== undefined && body.max_completion_tokens === undefined ? 'max_tokens' : 'max_completion_tokens'
    const told =
      body.stream === true ? { stream_options: { ...objectOf(body.stream_options), include_usage: true } } : {}
    return { ...body, ...told, ...(outputTokensMax !== null && { [name]: outputTokensMax }) }
  },
  reader: createReader,
  refusal: (cause, message) => openaiRefusal(cause, message, 402),
}

const isElsewhere = ({ type, image_url: image, file }: JsonObject): boolean =>
  (type === 'image_url' && isAddress(typeof image === 'string' ? image : objectOf(image).url)) ||
  (type === 'file' && objectOf(file).file_id !== undefined)

function createReader(): UsageReader {
  let usage: Usage | null = null
  let finished = false
  return {
    take(value) {
      const { choices, usage: told } = objectOf(value)
      if (Array.isArray(choices) && choices.some((choice) => typeof objectOf(choice).finish_reason === 'string'))
        finished = true
      if (typeof told === 'object' && told !== null) usage = openaiUsage(objectOf(told), 'prompt', 'completion')
    },
    usage: () => usage,
    isComplete: () => finished && usage !== null,
  }
}
