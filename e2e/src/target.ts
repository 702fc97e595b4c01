/** The outside world: an HTTP server that counts what reaches it, by command. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export async function startTarget() {
  const hits = new Map<string, number>()
  const held = new Set<ServerResponse>()
  const server = createServer((request, response) => {
    const commandId = String(request.headers['idempotency-key'])
    hits.set(commandId, (hits.get(commandId) ?? 0) + 1)
    response.setHeader('content-type', 'application/json')
    // Held open, so that a crash finds the request in flight.
    if (request.url?.startsWith('/held')) {
      held.add(response)
      setTimeout(() => response.end('{"held":true}'), 300)
    } else response.end(JSON.stringify({ hello: 'world', path: request.url }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** How many requests carried this command's id. */
    hits: (commandId: string): number => hits.get(commandId) ?? 0,
    close: async (): Promise<void> => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
