/**
 * Without keys the server trusts whoever can reach it, and a page in a browser on the same machine can: by a name of its
 * own that resolves to 127.0.0.1. Such a request carries that name in `Host`, and is refused.
 */
import { isIP } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { ApiError } from './errors.ts'

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/** Only for a server that listens on loopback; elsewhere the names it goes by are the operator's business. */
export function installHostCheck(app: FastifyInstance, allowed: readonly string[]): void {
  app.addHook('onRequest', async (request) => {
    // HTTP/1.0 has no Host; Node has refused its absence, or two of them, in 1.1 already.
    const header = request.headers.host
    if (header === undefined) return
    const name = hostName(header)
    if (name === null || !(isLoopback(name) || allowed.includes(name))) throw new ApiError('MISDIRECTED_HOST')
  })
}

const hostName = (header: string): string | null =>
  /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/.exec(header)?.slice(1).find(Boolean)?.toLowerCase() ?? null
