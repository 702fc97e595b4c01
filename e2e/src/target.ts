/** The outside world: an HTTP server that counts what reaches it, by command. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One request for a command, from its arrival to the end of its connection or answer. */
export type Visit = { attempt: number; fromMs: number; toMs: number }

export async function startTarget() {
  const hits = new Map<string, number>()
  const visits = new Map<string, Visit[]>()
  const held = new Set<ServerResponse>()
  const server = createServer((request, response) => {
    const commandId = String(request.headers['idempotency-key'])
    const hit = (hits.get(commandId) ?? 0) + 1
    hits.set(commandId, hit)
    const visit = { attempt: Number(request.headers['x-attempt']), fromMs: Date.now(), toMs: Number.POSITIVE_INFINITY }
    visits.set(commandId, [...(visits.get(commandId) ?? []), visit])
    response.once('close', () => {
      visit.toMs = Date.now()
    })
    response.setHeader('content-type', 'application/json')
    // Held open, so that a crash finds the request in flight.
    if (request.url?.startsWith('/held')) {
      held.add(response)
      setTimeout(() => response.end('{"held":true}'), 300)
    } else if (request.url?.startsWith('/visit/')) {
      // The answer names the visit, so that a result shows which one it is from. It trickles, so that nobody who waits
      // for it gives up early.
      const trickle = setInterval(() => response.write(' '), 1000)
      const done = setTimeout(
        () => response.end(JSON.stringify({ commandId, hit })),
        Number(request.url.slice('/visit/'.length)),
      )
      response.once('close', () => {
        clearInterval(trickle)
        clearTimeout(done)
      })
    } else response.end(JSON.stringify({ hello: 'world', path: request.url }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** How many requests carried this command's id. */
    hits: (commandId: string): number => hits.get(commandId) ?? 0,
    /** Those requests one by one. `GET /visit/<ms>` is answered with `{commandId, hit}` after so many milliseconds. */
    visits: (commandId: string): readonly Visit[] => visits.get(commandId) ?? [],
    close: async (): Promise<void> => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

export type Target = Awaited<ReturnType<typeof startTarget>>
