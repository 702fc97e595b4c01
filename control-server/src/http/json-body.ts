/**
 * Reading JSON bodies. Stricter than `JSON.parse`: a body of 10 KB that nests 5,000 arrays parses, passes the open parts
 * of a schema, and then overflows `JSON.stringify`; a lone surrogate cannot be stored, so it would come back as
 * something else. Of equal keys in one object the last wins, as JSON.parse has it.
 */
import { checkJson } from '@agent-executor/runtime'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import secureJson from 'secure-json-parse'
import { ApiError } from './errors.ts'

/** Deep enough for every route; `routeOptions.config.depthMax` allows more where results travel. */
const DEPTH_MAX = 32
const KEYS_MAX = 100_000

declare module 'fastify' {
  interface FastifyContextConfig {
    /** How deep the JSON body may nest. */
    depthMax?: number
  }
}

export function installJsonBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, bytes: Buffer) => {
    const contentType = request.headers['content-type'] ?? ''
    const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(contentType)?.[1]
    if (charset !== undefined && !/^utf-?8$/i.test(charset)) throw new ApiError('UNSUPPORTED_MEDIA_TYPE')
    if ((request.headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity')
      throw new ApiError('UNSUPPORTED_MEDIA_TYPE', 'A content encoding is not accepted.')
    if (bytes.length === 0) return undefined
    const value = parse(bytes)
    const fault = checkJson(value, { depthMax: request.routeOptions.config.depthMax ?? DEPTH_MAX, keysMax: KEYS_MAX })
    if (fault !== null)
      throw new ApiError('MALFORMED_JSON', `${fault.path || '/'} ${fault.message}`, { details: [fault] })
    return value
  })
}

const parse = (bytes: Buffer): unknown => {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ApiError('MALFORMED_JSON', 'The body is not valid UTF-8.')
  }
  try {
    return secureJson.parse(text, { protoAction: 'error', constructorAction: 'error' })
  } catch (error) {
    const message = error instanceof Error ? error.message.slice(0, 200) : 'bad syntax'
    throw new ApiError('MALFORMED_JSON', `The body is not JSON: ${message}`)
  }
}
