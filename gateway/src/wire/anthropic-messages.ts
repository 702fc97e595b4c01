/** Anthropic's Messages. Its counts of input leave out what the cache has, and those of a stream replace one another. */
import { refuseElsewhere, refuseGiven, without, withTools } from './enclosed.ts'
import {
  countIn,
  countOf,
  hasCounts,
  IMAGE_TOKENS_MAX,
  INPUT_TOKENS_MAX,
  type JsonObject,
  limitOf,
  modelOf,
  NO_USAGE,
  OUTPUT_TOKENS_LEAST,
  objectOf,
  type Refusal,
  type RefusalCause,
  type Usage,
  type UsageReader,
  type Wire,
} from './wire.ts'

const REFUSALS: Readonly<Record<RefusalCause, { status: number; type: string }>> = {
  spent: { status: 402, type: 'billing_error' },
  refused: { status: 400, type: 'invalid_request_error' },
  unavailable: { status: 529, type: 'overloaded_error' },
}

export const anthropicMessages: Wire = {
  provider: 'anthropic',
  operation: (path) => (path === '/v1/messages' ? 'generate' : path === '/v1/messages/count_tokens' ? 'count' : null),
  asked: (_path, body) => ({
    model: modelOf(body.model),
    isStream: body.stream === true,
    outputTokensMax: limitOf('/max_tokens', body.max_tokens),
    outputTokensLeast: Math.max(OUTPUT_TOKENS_LEAST, countOf(objectOf(body.thinking).budget_tokens) + 1),
  }),
  enclosed(body) {
    refuseElsewhere('/messages', body.messages, isElsewhere)
    refuseElsewhere('/system', body.system, isElsewhere)
    refuseGiven(body, 'container')
    // Faster, or somewhere else, is dearer.
    const own = without(body, 'mcp_servers', 'service_tier', 'speed', 'inference_geo')
    return withTools(own, (tool) => (OWN_TOOLS.test(String(tool.type ?? 'custom')) ? tool : null))
  },
  mediaTokens: (json) =>
    countIn(json, /"type":"image"/g) * IMAGE_TOKENS_MAX + countIn(json, /"type":"document"/g) * INPUT_TOKENS_MAX,
  // In the text of a value the quotes have backslashes.
  cached: (text) => (!text.includes('"cache_control":') ? 'none' : text.includes('"ttl":"1h"') ? '1h' : '5m'),
  renamed: (path, body, model) => ({ path, body: { ...body, model } }),
  limited: (body, outputTokensMax) => (outputTokensMax === null ? body : { ...body, max_tokens: outputTokensMax }),
  reader: createReader,
  refusal(cause, message): Refusal {
    const { status, type } = REFUSALS[cause]
    return {
      status,
      // Without it the client tries for minutes.
      headers: cause === 'unavailable' ? {} : { 'x-should-retry': 'false' },
      body: { type: 'error', error: { type, message } },
    }
  },
}

/** Those that the client runs; a search among tools stays within the request. */
const OWN_TOOLS = /^(custom|bash_.*|text_editor_.*|computer_.*|memory_.*|tool_search_tool_.*)$/

/** The source of an image or a document. */
const isElsewhere = ({ source }: JsonObject): boolean => ['url', 'file'].includes(String(objectOf(source).type))

function createReader(): UsageReader {
  let told: JsonObject | null = null
  let complete = false
  return {
    take(value) {
      const event = objectOf(value)
      const usage = event.type === 'message_start' ? objectOf(event.message).usage : event.usage
      // Each has the newest of what it names, not what came since the one before.
      if (typeof usage === 'object' && usage !== null) told = { ...told, ...usage }
      if (event.type === 'message_stop' || event.type === 'message') complete = true
    },
    usage: () => (told === null || !hasCounts(told, 'input_tokens', 'output_tokens') ? null : usageOf(told)),
    isComplete: () => complete,
  }
}

function usageOf(told: JsonObject): Usage {
  const cacheReadTokens = countOf(told.cache_read_input_tokens)
  const cacheWriteTokens = countOf(told.cache_creation_input_tokens)
  return {
    ...NO_USAGE,
    inputTokens: countOf(told.input_tokens) + cacheReadTokens + cacheWriteTokens,
    cacheReadTokens,
    cacheWriteTokens,
    cacheWrite1hTokens: Math.min(cacheWriteTokens, countOf(objectOf(told.cache_creation).ephemeral_1h_input_tokens)),
    outputTokens: countOf(told.output_tokens),
    webSearches: countOf(objectOf(told.server_tool_use).web_search_requests),
  }
}
