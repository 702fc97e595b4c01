/** Errors that Node finds before a request reaches Fastify, in the same shape as all the others. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { API_ERRORS, type ApiErrorCode } from '@agent-executor/protocol'
import { errorBody } from './errors.ts'

const NODE_CODES: Readonly<Record<string, ApiErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'BODY_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
}

/** How long a client may take to read the answer and to close; destroyed at once, it might never see the answer. */
const LINGER_MS = 1000

/** Passed to Fastify as `clientErrorHandler`: answers and closes, since the stream cannot be read any further. */
export function answerClientError(error: Error & { code?: string }, socket: Socket, requestId: string): void {
  if (error.code === 'ECONNRESET' || !socket.writable || socket.destroyed) {
    socket.destroy()
    return
  }
  answerAndClose(socket, NODE_CODES[error.code ?? ''] ?? 'MALFORMED_REQUEST', requestId)
}

function answerAndClose(socket: Socket, code: ApiErrorCode, requestId: string, headers: readonly string[] = []): void {
  const body = JSON.stringify(errorBody(code, API_ERRORS[code][1], requestId))
  const [statusCode] = API_ERRORS[code]
  const head = [
    `HTTP/1.1 ${statusCode} ${errorBody(code, '', '').error}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    ...headers,
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}

/** What Node would answer by itself: an unknown `Expect` with an empty 417, CONNECT with nothing at all. */
export function installRawAnswers(server: Server, newRequestId: () => string): void {
  server.on('connect', (_request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy())
    answerAndClose(socket, 'METHOD_NOT_ALLOWED', newRequestId(), ['Allow: GET, HEAD, POST, PUT, DELETE'])
  })
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    const body = JSON.stringify(errorBody('EXPECTATION_FAILED', API_ERRORS.EXPECTATION_FAILED[1], newRequestId()))
    response
      .writeHead(417, {
        'content-type': 'application/json; charset=utf-8',
        'content-length': Buffer.byteLength(body),
        connection: 'close',
      })
      .end(body)
  })
}
