/**
 * The way to hosts that are no providers, for attempts whose profile names them: CONNECT on the attempt's own socket. A
 * name is resolved once, every address that it has must be one that may be reached, and what is connected to is one of
 * these. What passes is counted, not looked into: whoever names a host gives the sandbox all that this host can do.
 */
import dns, { type LookupAddress } from 'node:dns'
import { STATUS_CODES } from 'node:http'
import { connect, isIP, type LookupFunction, type Socket } from 'node:net'
import { type Duplex, Transform } from 'node:stream'
import type { AddressPolicy } from '@agent-executor/runtime'
import type { Ledger, Tunnel } from './ledger.ts'

export type EgressHost = { host: string; port: number }

const CONNECT_MS = 10_000
const SILENCE_MS = 600_000
/** Of an attempt. */
const OPEN_MAX = 64
/** Of an attempt, those that were refused as well: each is a row. */
const TUNNELS_MAX = 1000
/** What passes between two notes of it in the ledger, which is what a crash can lose. */
const NOTE_BYTES = 2 ** 20

const AUTHORITY = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})$/

/** One spelling for a name: `API.example.` is `api.example`. */
const nameOf = (host: string): string =>
  host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')

class Refused extends Error {
  readonly status: number

  constructor(message: string, status = 403) {
    super(message)
    this.status = status
  }
}

export type Egress = ReturnType<typeof createEgress>

export function createEgress({
  ledger,
  policy,
  bytesMax,
  nowMs,
  lookup = dns.lookup,
}: {
  ledger: Ledger
  policy: AddressPolicy
  /** Of an attempt, each way. */
  bytesMax: number
  nowMs: () => number
  lookup?: LookupFunction
}) {
  const open = new Map<string, number>()
  const used = new Map<string, { up: number; down: number; count: number }>()

  const usedBy = (attemptId: string) => {
    const known = used.get(attemptId)
    if (known !== undefined) return known
    const tunnels = ledger.tunnels(attemptId)
    const sum = (of: 'bytesUp' | 'bytesDown') => tunnels.reduce((total, tunnel) => total + tunnel[of], 0)
    const found = { up: sum('bytesUp'), down: sum('bytesDown'), count: tunnels.length }
    used.set(attemptId, found)
    return found
  }

  /** The addresses of a host, all of which may be reached. */
  const addressesOf = (host: string, client: Duplex): Promise<LookupAddress[]> =>
    new Promise((resolve, reject) => {
      const refusal = isIP(host) ? policy.refusalOfAddress(host) : policy.refusalOfHost(host)
      if (refusal !== null) return reject(new Refused(`${host} is ${refusal}`))
      if (isIP(host)) return resolve([{ address: host, family: isIP(host) }])
      // The system's resolver cannot be stopped, but nobody has to wait for it.
      const timer = setTimeout(() => reject(new Refused(`${host} does not resolve in time`, 502)), CONNECT_MS)
      client.once('close', () => reject(new Refused('the client is gone', 502)))
      lookup(host, { all: true }, (error, found) => {
        clearTimeout(timer)
        if (error) return reject(new Refused(`${host} does not resolve`, 502))
        const addresses = Array.isArray(found) ? found : [{ address: found, family: isIP(found) }]
        // One that is refused refuses the name: which of them would be taken is the name server's choice.
        for (const { address } of addresses) {
          const reason = policy.refusalOfAddress(address, host)
          if (reason !== null) return reject(new Refused(`${host} is ${reason}`))
        }
        if (addresses.length === 0) return reject(new Refused(`${host} does not resolve`, 502))
        resolve(addresses)
      })
    })

  const connected = (host: string, port: number, addresses: LookupAddress[], client: Duplex): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const isLiteral = isIP(host) !== 0
      const remote = connect({
        ...{ host, port, noDelay: true, allowHalfOpen: true, autoSelectFamily: true },
        // Asked with a name alone, and nobody resolves that a second time.
        ...(isLiteral ? {} : { lookup: (_name, options, answer) => answerOf(addresses, options.all === true, answer) }),
      })
      const gone = () => remote.destroy(new Refused('the client is gone', 502))
      if (client.destroyed) gone()
      client.once('close', gone)
      const timer = setTimeout(() => remote.destroy(new Refused(`${host}:${port} does not answer`, 502)), CONNECT_MS)
      remote.once('error', (error) => {
        clearTimeout(timer)
        reject(error instanceof Refused ? error : new Refused(`${host}:${port} cannot be reached`, 502))
      })
      remote.once('connect', () => {
        clearTimeout(timer)
        client.off('close', gone)
        const refusal = policy.refusalOfAddress(remote.remoteAddress ?? '', host)
        if (refusal === null) return resolve(remote)
        remote.destroy()
        reject(new Refused(`${host} is ${refusal}`))
      })
    })

  const carried = async (attemptId: string, tunnelId: number, remote: Socket, client: Duplex, head: Buffer) => {
    const total = usedBy(attemptId)
    const own = { up: 0, down: 0 }
    let noted = 0
    let refused: string | null = null
    const note = (endedAtMs: number | null): void => {
      noted = own.up + own.down
      ledger.endTunnel(tunnelId, { endedAtMs, bytesUp: own.up, bytesDown: own.down, refused })
    }
    const counter = (way: 'up' | 'down') =>
      new Transform({
        transform(chunk: Buffer, _encoding, done) {
          if (total[way] + chunk.length > bytesMax) {
            refused = `more than ${bytesMax} bytes`
            return done(new Error(refused))
          }
          total[way] += chunk.length
          own[way] += chunk.length
          if (own.up + own.down - noted >= NOTE_BYTES) note(null)
          done(null, chunk)
        },
      })
    const [up, down] = [counter('up'), counter('down')]
    await new Promise<void>((resolve) => {
      const streams = [client, remote, up, down]
      const end = () => {
        for (const stream of streams) stream.destroy()
      }
      for (const stream of streams) stream.on('error', end)
      for (const stream of [client, remote])
        stream.once('close', () => {
          // One that has ended both ways may have bytes under way to the other, which end there by themselves.
          if (!stream.readableEnded || !stream.writableFinished) end()
          if (client.closed && remote.closed) resolve()
        })
      remote.setTimeout(SILENCE_MS, end)
      if (client.destroyed) return end()
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      if (head.length > 0) up.write(head)
      client.pipe(up).pipe(remote)
      remote.pipe(down).pipe(client)
    })
    note(nowMs())
  }

  return {
    /** Resolves when the connection is over and written down; never rejects for what the client or the host did. */
    async connect(
      attemptId: string,
      allowed: readonly EgressHost[],
      { authority, client, head }: { authority: string; client: Duplex; head: Buffer },
    ): Promise<void> {
      client.on('error', () => {})
      const [, given = '', digits = ''] = AUTHORITY.exec(authority) ?? []
      const [host, port] = [nameOf(given), Number(digits)]
      const total = usedBy(attemptId)
      const tunnel = (rest: Pick<Tunnel, 'address' | 'endedAtMs' | 'refused'>): number => {
        total.count += 1
        return ledger.addTunnel(attemptId, { ...{ host, port, startedAtMs: nowMs() }, ...rest })
      }
      let isCounted = false
      try {
        if (host === '' || port < 1 || port > 65_535) return answer(client, 400, 'A host and a port are wanted.')
        if (total.count >= TUNNELS_MAX) return answer(client, 403, `An attempt has at most ${TUNNELS_MAX} connections.`)
        if (!allowed.some((each) => nameOf(each.host) === host && each.port === port))
          throw new Refused(`${host}:${port} is not among the hosts of the profile`)
        if (total.up >= bytesMax || total.down >= bytesMax) throw new Refused(`more than ${bytesMax} bytes`)
        const opened = open.get(attemptId) ?? 0
        if (opened >= OPEN_MAX) throw new Refused(`more than ${OPEN_MAX} connections at a time`)
        open.set(attemptId, opened + 1)
        isCounted = true
        const remote = await connected(host, port, await addressesOf(host, client), client)
        const tunnelId = tunnel({ address: remote.remoteAddress ?? null, endedAtMs: null, refused: null })
        await carried(attemptId, tunnelId, remote, client, head)
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        tunnel({ address: null, endedAtMs: nowMs(), refused: error.message })
        answer(client, error.status, `${error.message}.`)
      } finally {
        if (isCounted) open.set(attemptId, (open.get(attemptId) ?? 1) - 1)
      }
    },
    /** What is remembered of it beside the ledger. */
    forget(attemptId: string): void {
      used.delete(attemptId)
      open.delete(attemptId)
    },
  }
}

function answerOf(
  addresses: LookupAddress[],
  isAll: boolean,
  answer: (error: null, address: string | LookupAddress[], family?: number) => void,
): void {
  const [first] = addresses
  if (isAll || first === undefined) answer(null, addresses)
  else answer(null, first.address, first.family)
}

function answer(client: Duplex, status: number, message: string): void {
  const body = JSON.stringify({ error: { type: 'invalid_request_error', code: 'egress_refused', message } })
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  // Read to its end as well, or a client that is still sending sees a reset in place of the answer.
  client.resume().end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
