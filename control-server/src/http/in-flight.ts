/**
 * Submissions under way, from their headers to their answer, in bytes: in a flood they wait for their commits faster than
 * the disk takes them, and nothing else limits their memory. Only submissions are refused, so that agents can report
 * and take work meanwhile.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ApiError, RETRY_LATER } from './errors.ts'

/** What a request costs besides its body. */
const REQUEST_BYTES = 4096

/** The hooks of a route; `bodyBytesMax` is its limit, and what a body without a length is taken for. */
export function createInFlight(bytesMax: number, bodyBytesMax: number) {
  const charged = new WeakMap<FastifyRequest, number>()
  let bytes = 0
  return {
    onRequest: (request: FastifyRequest, _reply: FastifyReply, done: () => void): void => {
      const length = Number(request.headers['content-length'] ?? bodyBytesMax)
      const own = REQUEST_BYTES + Math.min(length, bodyBytesMax)
      // A lone one is let in, however small the limit is.
      if (bytes > 0 && bytes + own > bytesMax) throw new ApiError('OVERLOADED', undefined, { headers: RETRY_LATER })
      charged.set(request, own)
      bytes += own
      done()
    },
    // Not when the response is over: Node never says so of pipelined requests whose connection is gone.
    onSend: (request: FastifyRequest, _reply: FastifyReply, _payload: unknown, done: () => void): void => {
      bytes -= charged.get(request) ?? 0
      charged.delete(request)
      done()
    },
  }
}
