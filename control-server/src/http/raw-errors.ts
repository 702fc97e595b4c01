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

/** Passed to Fastify as `clientErrorHandler`: answers and closes, since the stream cannot be read any further. */
export function answerClientError(error: Error & { code?: string }, socket: Socket, requestId: string): void {
  if (error.code === 'ECONNRESET' || !socket.writable || socket.destroyed) {
    socket.destroy()
    return
  }
  const code = NODE_CODES[error.code ?? ''] ?? 'MALFORMED_REQUEST'
  const body = JSON.stringify(errorBody(code, API_ERRORS[code][1], requestId))
  const [statusCode] = API_ERRORS[code]
  const head = [
    `HTTP/1.1 ${statusCode} ${errorBody(code, '', '').error}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}

/** Node answers an unknown `Expect` with an empty 417 by itself. */
export function installExpectation(server: Server, newRequestId: () => string): void {
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    const body = JSON.stringify(errorBody('EXPECTATION_FAILED', API_ERRORS.EXPECTATION_FAILED[1], newRequestId()))
    response.writeHead(417, { 'content-type': 'application/json; charset=utf-8', connection: 'close' }).end(body)
  })
}
