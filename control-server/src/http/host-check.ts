/**
 * Whom a request is meant for. Without keys the server trusts whoever can reach it, and a page in a browser on the same
 * machine can: by a name of its own that resolves to 127.0.0.1. Such a request carries that name in `Host`, and is
 * refused.
 */
import { isIP } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { ApiError } from './errors.ts'

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/**
 * `allowed` are the names besides those of loopback; null = any, for a server that listens elsewhere: the names it goes
 * by are the operator's business.
 */
export function installHostCheck(app: FastifyInstance, allowed: readonly string[] | null): void {
  const names = allowed?.map((each) => hostName(each) ?? each.toLowerCase())
  app.addHook('onRequest', ({ raw }, _reply, done) => {
    // `http://name/path` is how one asks a proxy; its name would have to be checked in place of Host.
    if (!raw.url?.startsWith('/')) throw new ApiError('MALFORMED_REQUEST', 'The request target must be a path.')
    // Node would answer without a body where Host is missing, and use the first where there are two.
    const hosts = raw.rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host')
    const isOld = raw.httpVersion === '1.0'
    if (hosts.length > 1 || (hosts.length === 0 && !isOld))
      throw new ApiError('MALFORMED_REQUEST', 'The request must have one Host header.')
    if (names !== undefined && raw.headers.host !== undefined) {
      const name = hostName(raw.headers.host)
      if (name === null || !(isLoopback(name) || names.includes(name))) throw new ApiError('MISDIRECTED_HOST')
    }
    done()
  })
}

const hostName = (header: string): string | null =>
  /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/.exec(header)?.slice(1).find(Boolean)?.toLowerCase() ??
  null
