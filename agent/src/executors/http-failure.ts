/**
 * What undici, node:net, node:tls and node:dns throw, as a code and a sentence for the submitter. Their own messages
 * hold addresses of the agent's network and are not passed on.
 */
import type { FailureCode } from '@agent-executor/protocol'
import { errors } from 'undici'
import { Failure } from './failure.ts'

const CLOSED: [FailureCode, string] = ['NETWORK_ERROR', 'connection closed before the answer was complete']
const UNRESOLVED: [FailureCode, string] = ['NETWORK_ERROR', 'the host name does not resolve']
const UNREACHABLE: [FailureCode, string] = ['NETWORK_ERROR', 'host or network unreachable']

const KNOWN = new Map<string, [FailureCode, string]>([
  ['UND_ERR_CONNECT_TIMEOUT', ['TIMED_OUT', 'connect timeout']],
  ['ETIMEDOUT', ['TIMED_OUT', 'connection timed out']],
  ['UND_ERR_HEADERS_TIMEOUT', ['TIMED_OUT', 'headers timeout']],
  ['UND_ERR_BODY_TIMEOUT', ['TIMED_OUT', 'body idle timeout']],
  ['ENOTFOUND', UNRESOLVED],
  ['ENODATA', UNRESOLVED],
  ['EAI_AGAIN', UNRESOLVED],
  ['EAI_FAIL', UNRESOLVED],
  ['EAI_NODATA', UNRESOLVED],
  ['ECONNREFUSED', ['NETWORK_ERROR', 'connection refused']],
  ['ECONNRESET', CLOSED],
  ['EPIPE', CLOSED],
  ['UND_ERR_SOCKET', CLOSED],
  ['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', CLOSED],
  ['EHOSTUNREACH', UNREACHABLE],
  ['ENETUNREACH', UNREACHABLE],
  ['EADDRNOTAVAIL', UNREACHABLE],
  ['UND_ERR_HEADERS_OVERFLOW', ['HTTP_ERROR', 'the response headers are too large']],
  ['UND_ERR_RES_EXCEEDED_MAX_SIZE', ['HTTP_ERROR', 'the encoded body is too large']],
  ['UND_ERR_INVALID_ARG', ['HTTP_ERROR', 'the request cannot be sent']],
  ['UND_ERR_NOT_SUPPORTED', ['HTTP_ERROR', 'the request cannot be sent']],
])

const TLS = /^(ERR_TLS|ERR_SSL|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|INVALID_CA|HOSTNAME_|EPROTO)/

const malformed = (detail: string) => new Failure('HTTP_ERROR', `the answer is not well-formed HTTP: ${detail}`)

export const failureOf = (error: unknown): Failure => {
  if (error instanceof Failure) return error
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof errors.HTTPParserError) {
    // Its code is undefined in undici 7; its message is a fixed sentence of the parser.
    return message.includes('EOF') ? new Failure(...CLOSED) : malformed(message)
  }
  // An interim answer that nobody asked for (100, 101) has the code of a closed socket.
  if (code === 'UND_ERR_SOCKET' && message.startsWith('bad ')) return malformed(message)
  if (typeof code !== 'string') return new Failure('INTERNAL_ERROR', `a fault in the executor: ${message}`)
  const known = KNOWN.get(code)
  if (known) return new Failure(...known)
  return new Failure('NETWORK_ERROR', TLS.test(code) ? `TLS failed (${code})` : `connection failed (${code})`)
}
