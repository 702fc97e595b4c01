/** Gemini's generateContent. Each chunk tells the usage so far; what was thought is counted beside the answer. */
import { refuseElsewhere, refuseGiven, without, withTools } from './enclosed.ts'
import {
  countIn,
  countOf,
  hasCounts,
  IMAGE_TOKENS_MAX,
  INPUT_TOKENS_MAX,
  limitOf,
  modelOf,
  NO_USAGE,
  OUTPUT_TOKENS_LEAST,
  objectOf,
  type RefusalCause,
  type Usage,
  type UsageReader,
  type Wire,
  WireError,
} from './wire.ts'

const PATH = /^\/v1(?:beta|alpha)?\/models\/([^/:]+):(generateContent|streamGenerateContent|countTokens)$/

const INLINE = /"inline_?data":\{/gi
const INLINE_IMAGE = /"inline_?data":\{(?:"data":"[^"]*",)?"mime_?type":"image\//gi

const REFUSALS: Readonly<Record<RefusalCause, { code: number; status: string }>> = {
  spent: { code: 403, status: 'PERMISSION_DENIED' },
  refused: { code: 400, status: 'INVALID_ARGUMENT' },
  unavailable: { code: 503, status: 'UNAVAILABLE' },
}

export const gemini: Wire = {
  provider: 'gemini',
  operation(path) {
    const method = PATH.exec(path)?.[2]
    return method === undefined ? null : method === 'countTokens' ? 'count' : 'generate'
  },
  asked(path, body) {
    const [, model, method] = PATH.exec(path) ?? []
    const config = objectOf(body.generationConfig)
    if (config.candidateCount !== undefined && config.candidateCount !== 1)
      throw new WireError('/generationConfig/candidateCount', 'must be 1')
    return {
      model: modelOf(model),
      isStream: method === 'streamGenerateContent',
      outputTokensMax: limitOf('/generationConfig/maxOutputTokens', config.maxOutputTokens),
      outputTokensLeast: OUTPUT_TOKENS_LEAST + countOf(objectOf(config.thinkingConfig).thinkingBudget),
    }
  },
  enclosed(body) {
    refuseGiven(body, 'cachedContent')
    for (const [name, value] of Object.entries(body))
      if (name !== 'tools')
        refuseElsewhere(`/${name}`, value, ({ fileData, file_data }) => (fileData ?? file_data) != null)
    return withTools(without(body, 'serviceTier'), (tool) => {
      const declared = tool.functionDeclarations ?? tool.function_declarations
      return declared === undefined ? null : { functionDeclarations: declared }
    })
  },
  mediaTokens: (json) =>
    countIn(json, INLINE_IMAGE) * IMAGE_TOKENS_MAX +
    (countIn(json, INLINE) - countIn(json, INLINE_IMAGE)) * INPUT_TOKENS_MAX,
  // countTokens may have a whole request inside, which names the model once more.
  renamed: (path, body, model) => ({
    path: path.replace(/\/models\/[^/:]+:/, `/models/${model}:`),
    body: 'model' in body ? { ...body, model: `models/${model}` } : body,
  }),
  limited: (body, outputTokensMax) =>
    outputTokensMax === null
      ? body
      : { ...body, generationConfig: { ...objectOf(body.generationConfig), maxOutputTokens: outputTokensMax } },
  reader: createReader,
  refusal(cause, message) {
    const { code, status } = REFUSALS[cause]
    return { status: code, headers: {}, body: { error: { code, message, status } } }
  },
}

function createReader(): UsageReader {
  let usage: Usage | null = null
  let complete = false
  return {
    take(value) {
      const { usageMetadata, candidates } = objectOf(value)
      if (hasCounts(objectOf(usageMetadata), 'promptTokenCount')) {
        const told = objectOf(usageMetadata)
        const inputTokens = countOf(told.promptTokenCount) + countOf(told.toolUsePromptTokenCount)
        usage = {
          ...NO_USAGE,
          inputTokens,
          cacheReadTokens: Math.min(inputTokens, countOf(told.cachedContentTokenCount)),
          outputTokens: countOf(told.candidatesTokenCount) + countOf(told.thoughtsTokenCount),
        }
      }
      if (Array.isArray(candidates) && candidates.some((each) => typeof objectOf(each).finishReason === 'string'))
        complete = true
    },
    usage: () => usage,
    isComplete: () => complete,
  }
}
