/** A right request for every route, one after the other: whether the server still does all that it did before. */
import type { Json } from './samples.ts'

/** Long enough for any machine: only a server that never answers is late. */
const DEADLINE_MS = 60_000

type Parameters = { ids?: Record<string, string>; query?: string; body?: object }
type Fields = Record<string, string | number>

export function createTour(port: number, remember: (answer: Json) => void) {
  let incarnation = 0
  let count = 0

  /** Goes to each route once; answers what was wrong, and the names of the routes. */
  return async (): Promise<{ faults: string[]; visited: string[] }> => {
    const faults: string[] = []
    const visited: string[] = []
    const visit = async (name: string, expected: number, { ids = {}, query = '', body }: Parameters = {}) => {
      visited.push(name)
      const [method = '', url = ''] = name.split(' ')
      const path = url.replace(/:(\w+)/g, (_, id: string) => ids[id] as string)
      const response = await fetch(`http://127.0.0.1:${port}${path}${query}`, {
        method,
        signal: AbortSignal.timeout(DEADLINE_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
      })
      const text = await response.text()
      if (response.status !== expected)
        faults.push(`${name} answered a right request with ${response.status}: ${text.slice(0, 300)}`)
      const answer = text === '' ? {} : (JSON.parse(text) as Fields)
      remember(answer)
      return answer
    }
    const submit = (agentId: string) =>
      visit('POST /commands', 201, { body: { type: 'DELAY', payload: { ms: 1 }, agentId } })

    for (const name of ['GET /livez', 'GET /readyz', 'GET /health', 'POST /recovery/end']) await visit(name, 200)

    count += 1
    const tourist = { ids: { agentId: 'tourist' } }
    const registration = await visit('POST /agents/register', 200, {
      body: {
        ...{ agentId: 'tourist', journalId: 'journal-of-tourist', nonce: `nonce-${count}`.padEnd(8, '-') },
        ...{ previousNonces: [], previousIncarnation: incarnation, logSeq: 0, protocol: { min: 1, max: 1 } },
        ...{ version: 'fuzz', types: ['DELAY'], labels: [], slots: { DELAY: 1 } },
      },
    })
    incarnation = Number(registration.incarnation)
    const { epoch } = registration
    const { commandId } = await submit('tourist')
    const idle = { seq: 1, revSeen: 0, logSeq: 0, mode: 'ready', held: [] }
    await visit('POST /agents/:agentId/sync', 200, {
      ...tourist,
      body: { ...idle, incarnation, epoch, want: { DELAY: 1 } },
    })
    await visit('POST /agents/:agentId/heartbeat', 200, { ...tourist, body: { incarnation, epoch } })
    await visit('GET /agents/:agentId/wait', 204, { ...tourist, query: '?rev=0&timeoutMs=0' })
    await visit('GET /agents', 200)

    const offered = { ids: { commandId: String(commandId) } }
    await visit('GET /commands', 200)
    await visit('GET /commands/:commandId', 200, offered)
    await visit('GET /commands/:commandId/events', 200, offered)
    await visit('POST /commands/:commandId/cancel', 200, offered)
    await visit('DELETE /commands/:commandId', 200, offered)

    await submit('passer-by')
    const taken = await visit('GET /commands/next', 200, { query: '?agentId=passer-by' })
    await visit('PUT /commands/:commandId/result', 200, {
      ids: { commandId: String(taken.commandId) },
      body: { agentId: 'passer-by', result: { count } },
    })
    return { faults, visited }
  }
}
