/**
 * Reading JSON bodies. Stricter than `JSON.parse`: a body of 10 KB that nests 5,000 arrays parses, passes the open parts
 * of a schema, and then overflows `JSON.stringify`; a lone surrogate cannot be stored, so it would come back as
 * something else. Of equal keys in one object the last wins, as JSON.parse has it; a byte order mark is passed over.
 *
 * Reports of finished work are cleaned where submissions are refused: the work is done, and the agent that reports it
 * only passes on what a stranger's server answered. A refusal would come again with every repetition.
 */
import type { IncomingMessage } from 'node:http'
import { checkJson, storableJson } from '@agent-executor/runtime'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import secureJson from 'secure-json-parse'
import { ApiError } from './errors.ts'

/** Deep enough for every submission. */
const DEPTH_MAX = 32
const KEYS_MAX = 100_000
/** What a report holds below this depth becomes text. */
const REPORT_DEPTH_MAX = 120

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body brings results: what cannot be stored is cleaned out of it, not refused. */
    report?: boolean
    /** The body may be bytes of any kind, of a known length; with `stream` the route reads them. */
    bytes?: true | 'stream'
    /** The body may be TOML; the route sees it as `{toml}`. */
    toml?: boolean
  }
}

export function installJsonBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    async (request: FastifyRequest, bytes: Buffer) => {
      refuseEncodings(request)
      if (bytes.length === 0) return undefined
      const isReport = request.routeOptions.config.report ?? false
      const value = parse(bytes, isReport)
      if (isReport) return storableJson(value, { bytesMax: Number.POSITIVE_INFINITY, depthMax: REPORT_DEPTH_MAX }).value
      const fault = checkJson(value, { depthMax: DEPTH_MAX, keysMax: KEYS_MAX })
      if (fault !== null)
        throw new ApiError('MALFORMED_JSON', `${fault.path || '/'} ${fault.message}`, { details: [fault] })
      return value
    },
  )
  app.addContentTypeParser('application/octet-stream', async (request: FastifyRequest, content: IncomingMessage) => {
    const { config, bodyLimit } = request.routeOptions
    if (config.bytes === undefined) throw new ApiError('UNSUPPORTED_MEDIA_TYPE')
    refuseEncodings(request)
    return config.bytes === 'stream' ? content : collected(content, bodyLimit)
  })
  app.addContentTypeParser(
    'application/toml',
    { parseAs: 'buffer' },
    async (request: FastifyRequest, bytes: Buffer) => {
      if (request.routeOptions.config.toml !== true) throw new ApiError('UNSUPPORTED_MEDIA_TYPE')
      refuseEncodings(request)
      try {
        return { toml: new TextDecoder('utf-8', { fatal: true }).decode(bytes) }
      } catch {
        throw new ApiError('MALFORMED_TOML', 'The body is not valid UTF-8.')
      }
    },
  )
}

const collected = async (content: IncomingMessage, bytesMax: number): Promise<Buffer> => {
  // More would come where the client is not told to stop.
  const tooLarge = () => new ApiError('BODY_TOO_LARGE', undefined, { headers: { connection: 'close' } })
  if (Number(content.headers['content-length'] ?? 0) > bytesMax) throw tooLarge()
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of content as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const refuseEncodings = ({ headers }: FastifyRequest): void => {
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headers['content-type'] ?? '')?.[1]
  if (charset !== undefined && !/^utf-?8$/i.test(charset)) throw new ApiError('UNSUPPORTED_MEDIA_TYPE')
  if ((headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity')
    throw new ApiError('UNSUPPORTED_MEDIA_TYPE', 'A content encoding is not accepted.')
}

/** JSON in a parameter of the query; an empty object where there is none. */
export function queryJson(name: string, text: string | undefined): unknown {
  if (text === undefined) return {}
  const refuse = (message: string) =>
    new ApiError('INVALID_REQUEST', `query/${name} ${message}`, { details: [{ path: `query/${name}`, message }] })
  let value: unknown
  try {
    value = secureJson.parse(text)
  } catch {
    throw refuse('is not JSON')
  }
  const fault = checkJson(value, { depthMax: DEPTH_MAX, keysMax: KEYS_MAX })
  if (fault !== null) throw refuse(`${fault.path || '/'} ${fault.message}`)
  return value
}

const parse = (bytes: Buffer, isReport: boolean): unknown => {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: !isReport }).decode(bytes)
  } catch {
    throw new ApiError('MALFORMED_JSON', 'The body is not valid UTF-8.')
  }
  try {
    // A result may have such keys: they are kept as data, and nothing here merges a report into an object.
    const action = isReport ? 'ignore' : 'error'
    return secureJson.parse(text, { protoAction: action, constructorAction: action })
  } catch (error) {
    const message = error instanceof Error ? error.message.slice(0, 200) : 'bad syntax'
    throw new ApiError('MALFORMED_JSON', `The body is not JSON: ${message}`)
  }
}
