/** What the control API answers where it cannot serve: the one shape of errors that all our APIs have. */
import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyInstance } from 'fastify'

const ERRORS = {
  MALFORMED_REQUEST: [400, 'The bytes received are not a well-formed HTTP request.'],
  MALFORMED_JSON: [400, 'The body is not acceptable JSON.'],
  INVALID_REQUEST: [400, 'A field is missing, unknown, of the wrong type or out of range; `details` names each.'],
  NOT_FOUND: [404, 'There is no such route.'],
  SESSION_NOT_FOUND: [404, 'No session was ever opened for this attempt.'],
  BODY_TOO_LARGE: [413, 'The body is larger than this route accepts.'],
  UNSUPPORTED_MEDIA_TYPE: [415, 'A body must be application/json.'],
  INTERNAL: [500, 'The gateway failed; its log has the reason.'],
  SHUTTING_DOWN: [503, 'The gateway is stopping.'],
} as const
type ErrorCode = keyof typeof ERRORS

export class ControlError extends Error {
  override name = 'ControlError'
  readonly code: ErrorCode

  constructor(code: ErrorCode) {
    super(ERRORS[code][1])
    this.code = code
  }
}

const FRAMEWORK_CODES: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: 'MALFORMED_JSON',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'MALFORMED_JSON',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
}

type Detail = { path: string; message: string }
const DETAILS_MAX = 20

function detailsOf(error: FastifyError): Detail[] | undefined {
  if (error.validation === undefined) return undefined
  const where = error.validationContext === 'body' ? '' : `/${error.validationContext}`
  return error.validation.slice(0, DETAILS_MAX).map(({ instancePath, message, params, keyword }) => ({
    path: `${where}${instancePath}`,
    message: keyword === 'additionalProperties' ? `has the unknown ${params.additionalProperty}` : (message ?? ''),
  }))
}

function codeOf(error: FastifyError): ErrorCode {
  if (error instanceof ControlError) return error.code
  if (error.validation !== undefined) return 'INVALID_REQUEST'
  const known = FRAMEWORK_CODES[error.code]
  if (known !== undefined) return known
  if (error instanceof SyntaxError) return 'MALFORMED_JSON'
  return error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500
    ? 'MALFORMED_REQUEST'
    : 'INTERNAL'
}

const bodyOf = (code: ErrorCode, requestId: string, details?: Detail[]) => {
  const [statusCode, meaning] = ERRORS[code]
  const [first] = details ?? []
  const message = first === undefined ? meaning : `${first.path} ${first.message}`.trim()
  return { statusCode, error: STATUS_CODES[statusCode], code, message, ...(details && { details }), requestId }
}

export function installErrors(app: FastifyInstance, log: (facts: object, message: string) => void): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const code = codeOf(error)
    if (code === 'INTERNAL') log({ err: error, requestId: request.id }, 'a request of the control API failed')
    const body = bodyOf(code, request.id, detailsOf(error))
    return reply.status(body.statusCode).send(body)
  })
  app.setNotFoundHandler((request, reply) => reply.status(404).send(bodyOf('NOT_FOUND', request.id)))
}
