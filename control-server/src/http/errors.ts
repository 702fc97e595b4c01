/** Every error answer of the server is made here: one shape, codes from `protocol/errors.ts`, never a stack or a path. */
import { STATUS_CODES } from 'node:http'
import { API_ERRORS, type ApiErrorBody, type ApiErrorCode } from '@agent-executor/protocol'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { StoreUnavailableError } from '../store/store.ts'
import { type SchemaProblem, schemaProblems } from '../validation/schema-problems.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route only answers that it has no such method, so that no other route takes the request. */
    refused?: boolean
  }
}

export type Detail = SchemaProblem

/** Thrown by a handler; answered with the status that the table gives to its code. */
export class ApiError extends Error {
  override name = 'ApiError'
  readonly code: ApiErrorCode
  readonly details: Detail[] | undefined
  readonly headers: Record<string, string>
  readonly committed: number | undefined
  constructor(
    code: ApiErrorCode,
    message?: string,
    extra: { details?: Detail[]; headers?: Record<string, string>; committed?: number } = {},
  ) {
    super(message ?? API_ERRORS[code][1])
    this.code = code
    this.details = extra.details
    this.headers = extra.headers ?? {}
    this.committed = extra.committed
  }
}

/** What Fastify throws by itself, in our codes. */
const FRAMEWORK_CODES: Readonly<Record<string, ApiErrorCode>> = {
  FST_ERR_BAD_URL: 'MALFORMED_REQUEST',
  FST_ERR_ASYNC_CONSTRAINT: 'MALFORMED_REQUEST',
  FST_ERR_MAX_PARAM_LENGTH: 'URI_TOO_LONG',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'MALFORMED_REQUEST',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'MALFORMED_JSON',
  ECONNRESET: 'MALFORMED_REQUEST',
}

const DETAILS_MAX = 20
/** Messages and paths hold what the caller sent, which may be a key of a megabyte. */
const CHARACTERS_MAX = 500
const shortened = (text: string): string => text.slice(0, CHARACTERS_MAX)
/** A client that finds the server busy should come back after so many seconds. */
export const RETRY_LATER = { 'retry-after': '2' }

export const errorBody = (code: ApiErrorCode, message: string, requestId: string, details?: Detail[]): ApiErrorBody => {
  const [statusCode] = API_ERRORS[code]
  return {
    statusCode,
    error: STATUS_CODES[statusCode] ?? 'Error',
    code,
    message: shortened(message),
    ...(details === undefined ? {} : { details: details.slice(0, DETAILS_MAX).map(shortDetail) }),
    requestId,
  }
}

const shortDetail = ({ path, message }: Detail): Detail => ({ path: shortened(path), message: shortened(message) })

const toApiError = (error: FastifyError | Error): ApiError | null => {
  if (error instanceof ApiError) return error
  if (error instanceof StoreUnavailableError) return new ApiError(error.code, error.message, { headers: RETRY_LATER })
  if ('validation' in error && Array.isArray(error.validation)) {
    const context = error.validationContext ?? 'body'
    const where = context === 'body' ? '' : context === 'querystring' ? 'query' : context
    const details = schemaProblems(error.validation, where)
    const [first] = details
    return new ApiError('INVALID_REQUEST', first === undefined ? undefined : `${first.path} ${first.message}`, {
      details,
    })
  }
  const code = 'code' in error ? FRAMEWORK_CODES[error.code] : undefined
  if (code !== undefined) return new ApiError(code)
  // Whatever else Fastify or Node blames on the caller.
  const blamed =
    'statusCode' in error && error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500
  return blamed ? new ApiError('MALFORMED_REQUEST') : null
}

export function installErrors(app: FastifyInstance): void {
  app.setErrorHandler((error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
    const known = toApiError(error)
    if (known === null) request.log.error({ err: error }, 'request failed')
    else request.log.debug({ code: known.code, details: known.details }, 'request refused')
    const { code, message, details, headers, committed } = known ?? new ApiError('INTERNAL')
    const body = errorBody(code, message, request.id, details)
    return reply
      .status(API_ERRORS[code][0])
      .headers(headers)
      .type('application/json; charset=utf-8')
      .serializer(JSON.stringify)
      .send(committed === undefined ? body : { ...body, committed })
  })

  // Fastify knows routes by method; the methods a path has are remembered to tell 405 from 404.
  const methods = new Map<string, { pattern: RegExp; allowed: Set<string> }>()
  app.addHook('onRoute', ({ url, method, config }) => {
    if (config?.refused) return
    const known = methods.get(url) ?? { pattern: urlPattern(url), allowed: new Set<string>() }
    for (const each of Array.isArray(method) ? method : [method]) known.allowed.add(each)
    methods.set(url, known)
  })
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?', 1)[0] ?? ''
    const exact = methods.get(path)
    const routes = exact ? [exact] : [...methods.values()].filter(({ pattern }) => pattern.test(path))
    if (routes.length === 0) throw new ApiError('NOT_FOUND', `There is no route ${path.slice(0, 200)}.`)
    const allow = [...new Set(routes.flatMap(({ allowed }) => [...allowed]))].sort().join(', ')
    throw new ApiError('METHOD_NOT_ALLOWED', `This route has ${allow}, not ${request.method}.`, { headers: { allow } })
  })
}

const urlPattern = (url: string): RegExp =>
  new RegExp(
    `^${url
      .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      .replace(/:[A-Za-z0-9]+/g, '[^/]+')
      .replace(/\/\\\*$/, '/.+')}$`,
  )
