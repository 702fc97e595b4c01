/**
 * An HTTP proxy on loopback between agents and the control server that misbehaves on command: it knows a message by
 * method and path, and does one of `FAULTS` to the nth of them. Everything else it passes on, and it remembers all of it.
 */
import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'

export const FAULTS = {
  'request lost': 'the connection ends, the server has seen nothing',
  'response lost': 'the server has answered, the connection ends without the answer',
  duplicated: 'the server gets it twice, the first answer is passed on',
  'request delayed': 'held for `holdMs`, while nothing else gets through',
  'response delayed': 'the server has answered, the answer is held for `holdMs`, while nothing else gets through',
  reordered: 'lost, and delivered after a newer message was answered',
  'request cut': 'half of it reaches the server, then both connections end',
  'response cut': 'half of the answer is passed on, then the connection ends',
  'status 500': 'the server has answered, a 500 takes the place of the answer',
  'HTML page': 'a page with status 200 is the answer, the server has seen nothing',
} as const satisfies Record<string, string>
export type Fault = keyof typeof FAULTS

const MESSAGES = {
  register: /^POST \/agents\/register$/,
  sync: /^POST \/agents\/[^/]+\/sync$/,
  heartbeat: /^POST \/agents\/[^/]+\/heartbeat$/,
  wait: /^GET \/agents\/[^/]+\/wait(\?|$)/,
  next: /^GET \/commands\/next(\?|$)/,
  result: /^PUT \/commands\/[^/]+\/result$/,
} as const satisfies Record<string, RegExp>
export type Message = keyof typeof MESSAGES

export type Misbehaviour = {
  fault: Fault
  message: Message
  /** Which of the messages that satisfy `when`; 1 where absent. */
  nth?: number
  /** Looks at the body; all where absent. */
  when?: (body: string) => boolean
  /** For the delays. */
  holdMs?: number
  /** For `reordered`: what has to be answered before the old message is delivered; the same message where absent. */
  newer?: Message
}

/** One request and what became of it. */
export type Exchange = {
  message: Message | null
  path: string
  request: string
  /** When it was passed on. */
  atMs: number
  /** How long the answer took; null until the server has answered. */
  tookMs: number | null
  /** Null until the server has answered. */
  status: number | null
  response: string
}

type Call = { method: string; path: string; headers: IncomingHttpHeaders; body: string }
type Answer = { status: number; headers: IncomingHttpHeaders; body: string }

/** A second copy is sent so much later, so that the server sees the first one first. */
const COPY_MS = 30
const HTML = '<!doctype html><title>Sign in</title><h1>Sign in to this network</h1>'

const messageOf = ({ method, path }: Call): Message | null =>
  (Object.keys(MESSAGES) as Message[]).find((name) => MESSAGES[name].test(`${method} ${path}`)) ?? null

/** Passes on to `port` on loopback, where nobody needs to listen yet. */
export async function startFaultyProxy(port: number) {
  const log: Exchange[] = []
  const watchers = new Set<() => void>()
  const open = new Set<Socket>()
  const pending = new Set<Exchange>()
  let plan: (Misbehaviour & { left: number; happened: (atMs: number) => void }) | null = null
  let blocked = false
  let late: { call: Call; newer: Message; happened: (atMs: number) => void } | null = null

  const changed = () => {
    for (const look of watchers) look()
  }

  /** One exchange with the server; rejects where there was no whole answer. */
  const ask = async (call: Call, signal?: AbortSignal): Promise<Answer> => {
    const exchange: Exchange = {
      message: messageOf(call),
      path: call.path,
      atMs: Date.now(),
      tookMs: null,
      request: call.body,
      status: null,
      response: '',
    }
    log.push(exchange)
    pending.add(exchange)
    changed()
    const { method, path, headers, body } = call
    const sent = httpRequest({
      host: '127.0.0.1',
      port,
      method,
      path,
      headers,
      agent: false,
      ...(signal ? { signal } : {}),
    })
    try {
      sent.end(body)
      const [received] = (await once(sent, 'response')) as [IncomingMessage]
      const answer = { status: received.statusCode ?? 0, headers: received.headers, body: await text(received) }
      Object.assign(exchange, { status: answer.status, response: answer.body, tookMs: Date.now() - exchange.atMs })
      return answer
    } finally {
      pending.delete(exchange)
      changed()
    }
  }

  /** What the plan says about this call, if it is about it. */
  const planFor = (call: Call) => {
    if (plan === null || plan.message !== messageOf(call) || plan.when?.(call.body) === false) return null
    plan.left -= 1
    if (plan.left > 0) return null
    const due = plan
    plan = null
    return due
  }

  const server = createServer(async (incoming, outgoing) => {
    const { socket } = incoming
    const gone = new AbortController()
    outgoing.once('close', () => gone.abort())
    try {
      const call: Call = {
        method: incoming.method ?? 'GET',
        path: incoming.url ?? '/',
        headers: incoming.headers,
        body: await text(incoming),
      }
      if (blocked) return socket.destroy()
      const pass = (answer: Answer) => outgoing.writeHead(answer.status, answer.headers).end(answer.body)
      const due = planFor(call)
      if (due === null) {
        // A wait ends with its client; what changes something has reached the server.
        pass(await ask(call, messageOf(call) === 'wait' ? gone.signal : undefined))
        await deliverLate(messageOf(call))
        return
      }
      const { fault, happened, holdMs = 0 } = due
      const held = async () => {
        happened(Date.now())
        blocked = true
        await sleep(holdMs)
        blocked = false
      }
      switch (fault) {
        case 'request lost':
          socket.destroy()
          return happened(Date.now())
        case 'response lost':
          await ask(call)
          socket.destroy()
          return happened(Date.now())
        case 'duplicated': {
          const first = ask(call)
          await sleep(COPY_MS)
          const second = ask(call)
          pass(await first)
          await second
          return happened(Date.now())
        }
        case 'request delayed':
          await held()
          return pass(await ask(call))
        case 'response delayed': {
          const answer = await ask(call)
          await held()
          return pass(answer)
        }
        case 'reordered':
          late = { call, newer: due.newer ?? due.message, happened }
          return socket.destroy()
        case 'request cut':
          await cutRequest(call)
          socket.destroy()
          return happened(Date.now())
        case 'response cut': {
          const { status, headers, body } = await ask(call)
          socket.end(half(`HTTP/1.1 ${status} Cut`, headers, body))
          return happened(Date.now())
        }
        case 'status 500':
          await ask(call)
          outgoing.writeHead(500, { 'content-type': 'text/plain' }).end('Internal Server Error')
          return happened(Date.now())
        case 'HTML page':
          outgoing.writeHead(200, { 'content-type': 'text/html' }).end(HTML)
          return happened(Date.now())
      }
    } catch {
      // No answer from the server is none for the client.
      socket.destroy()
    }
  })
  server.on('connection', (socket) => {
    open.add(socket)
    socket.on('error', () => {}).once('close', () => open.delete(socket))
  })

  const deliverLate = async (answered: Message | null): Promise<void> => {
    if (late === null || late.newer !== answered) return
    const { call, happened } = late
    late = null
    await ask(call)
    happened(Date.now())
  }

  const cutRequest = async ({ method, path, headers, body }: Call): Promise<void> => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    await new Promise((resolve) => socket.write(half(`${method} ${path} HTTP/1.1`, headers, body), resolve))
    socket.destroy()
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    /** Every request that was passed on, in the order of their sending. */
    log: log as readonly Exchange[],

    /** Plans one misbehaviour, instead of an earlier one; resolves with the time when it happened. */
    misbehave: (what: Misbehaviour): Promise<number> =>
      new Promise((happened) => {
        plan = { ...what, left: what.nth ?? 1, happened }
      }),

    /** Resolves when the log satisfies; rejects after `deadlineMs`. */
    async until(holds: (log: readonly Exchange[]) => boolean, deadlineMs = 10_000): Promise<void> {
      let look = () => {}
      const timer = new AbortController()
      const satisfied = new Promise<boolean>((resolve) => {
        look = () => holds(log) && resolve(true)
        watchers.add(look)
        look()
      })
      const inTime = sleep(deadlineMs, false, { signal: timer.signal }).catch(() => false)
      const found = await Promise.race([satisfied, inTime])
      watchers.delete(look)
      timer.abort()
      if (!found) throw new Error(`the proxy waited ${deadlineMs} ms in vain`)
    },

    /** Resolves when the server has answered everything that may change something. */
    async quiet(): Promise<void> {
      await this.until(() => [...pending].every(({ message }) => message === 'wait'))
    },

    /** Ends every connection, as when a cable is pulled. */
    disconnect(): void {
      for (const socket of open) socket.destroy()
    },

    async close(): Promise<void> {
      this.disconnect()
      server.close()
      await once(server, 'close')
    },
  }
}

export type FaultyProxy = Awaited<ReturnType<typeof startFaultyProxy>>

/** A message as far as its middle: of its body where it has one, of its headers where it has none. */
const half = (firstLine: string, headers: IncomingHttpHeaders, body: string): string => {
  const head = `${firstLine}\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}`
  return body === '' ? head.slice(0, head.length / 2) : `${head}\r\n${body.slice(0, body.length / 2)}`
}
