/** A right request for every route, one after the other: whether the server still does all that it did before. */
import type { Json } from './samples.ts'

/** Long enough for any machine: only a server that never answers is late. */
const DEADLINE_MS = 60_000

type Parameters = {
  ids?: Record<string, string>
  query?: string
  body?: object | string
  headers?: Record<string, string>
}
type Fields = Record<string, string | number>

export function createTour(port: number, remember: (answer: Json) => void) {
  let incarnation = 0
  let count = 0

  /** Goes to each route once; answers what was wrong, and the names of the routes. */
  return async (): Promise<{ faults: string[]; visited: string[] }> => {
    const faults: string[] = []
    const visited: string[] = []
    const visit = async (
      name: string,
      expected: number,
      { ids = {}, query = '', body, headers = {} }: Parameters = {},
    ) => {
      visited.push(name)
      const [method = '', url = ''] = name.split(' ')
      const path = url.replace(/:(\w+)|\*/g, (_, id: string = '*') => encodeURIComponent(ids[id] as string))
      const isText = typeof body === 'string'
      const response = await fetch(`http://127.0.0.1:${port}${path}${query}`, {
        method,
        signal: AbortSignal.timeout(DEADLINE_MS),
        headers: {
          ...headers,
          ...(body === undefined ? {} : { 'Content-Type': isText ? 'application/octet-stream' : 'application/json' }),
        },
        ...(body === undefined ? {} : { body: isText ? body : JSON.stringify(body) }),
      })
      const text = await response.text()
      if (response.status !== expected)
        faults.push(`${name} answered a right request with ${response.status}: ${text.slice(0, 300)}`)
      const isJson = response.headers.get('content-type')?.startsWith('application/json') ?? false
      const answer = isJson ? (JSON.parse(text) as Fields) : {}
      remember(answer)
      return answer
    }
    const submit = (agentId: string) =>
      // Before whatever attacks have left for anybody.
      visit('POST /commands', 201, { body: { type: 'DELAY', payload: { ms: 1 }, agentId, priority: 100 } })

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
    const synced = await visit('POST /agents/:agentId/sync', 200, {
      ...tourist,
      body: { ...idle, incarnation, epoch, want: { DELAY: 1 } },
    })
    await visit('POST /agents/:agentId/heartbeat', 200, { ...tourist, body: { incarnation, epoch } })
    await visit('GET /agents/:agentId/wait', 204, { ...tourist, query: '?rev=0&timeoutMs=0' })
    await visit('GET /agents', 200)
    await visit('GET /engines', 200)

    const offered = { ids: { commandId: String(commandId) } }
    await visit('GET /commands', 200)
    await visit('GET /commands/:commandId', 200, offered)
    await visit('GET /commands/:commandId/events', 200, offered)
    await visit('GET /commands/:commandId/logs', 200, offered)
    // Of whatever it was offered, maybe what an attack left waiting: nothing was granted, which is not this route's fault.
    const [offer] = synced.offers as unknown as { attemptId: string }[]
    const attemptId = offer?.attemptId ?? 'none'
    await visit('PUT /attempts/:attemptId/logs/:stream', 409, {
      ids: { attemptId, stream: 'stdout' },
      query: `?agentId=tourist&incarnation=${incarnation}&epoch=${epoch}`,
      headers: { 'Content-Range': 'bytes */0' },
      body: { sha256: '0'.repeat(64), complete: true },
    })
    const { sha256 } = await visit('POST /uploads', 201, { body: `of tour ${count}` })
    const uploaded = { ids: { sha256: String(sha256), attemptId } }
    await visit('GET /uploads/:sha256', 200, uploaded)
    await visit('GET /blobs/:sha256', 200, uploaded)
    await visit('GET /commands/:commandId/artifacts', 200, offered)
    const uploader = `?agentId=tourist&incarnation=${incarnation}&epoch=${epoch}`
    await visit('PUT /attempts/:attemptId/artifacts', 409, { ...uploaded, query: uploader, body: { artifacts: [] } })
    await visit('PUT /attempts/:attemptId/blobs/:sha256', 409, {
      ...uploaded,
      query: uploader,
      headers: { 'Content-Range': 'bytes 0-0/1' },
      body: 'x',
    })
    await visit('GET /commands/:commandId/artifacts/*', 404, {
      ids: { commandId: String(commandId), '*': 'output/none' },
    })
    await visit('PUT /attempts/:attemptId/usage', 409, {
      ...uploaded,
      query: uploader,
      body: { gatewayId: 'gateway-1', calls: [] },
    })
    await visit('GET /commands/:commandId/usage', 200, offered)
    await visit('GET /usage', 200, { query: '?groupBy=model' })
    await visit('POST /commands/:commandId/cancel', 200, offered)
    await visit('DELETE /commands/:commandId', 200, offered)

    await submit('passer-by')
    const taken = await visit('GET /commands/next', 200, { query: '?agentId=passer-by' })
    await visit('PUT /commands/:commandId/result', 200, {
      ids: { commandId: String(taken.commandId) },
      body: { agentId: 'passer-by', result: { count } },
    })

    // Attacks may have left as many as there can be.
    const { prices = [] } = (await visit('GET /prices', 200)) as { prices?: Record<'provider' | 'model', string>[] }
    for (const ids of new Map(prices.map((each) => [`${each.provider} ${each.model}`, each])).values())
      await visit('DELETE /prices/:provider/:model', 204, { ids })
    const priced = { ids: { provider: 'openai', model: `model-${count}` } }
    await visit('PUT /prices/:provider/:model', 201, { ...priced, body: { input: '0.10', output: 1 } })
    await visit('DELETE /prices/:provider/:model', 204, priced)
    await visit('GET /metrics', 200)

    const any = { 'If-Match': '*' }
    // What the last tour said is used by attacks since.
    const name = `tour-${count}`
    const named = { ids: { name } }
    const text = 'About {{ topic }}'
    await visit('POST /templates', 201, { body: { name, text } })
    await visit('GET /templates', 200)
    await visit('GET /templates/:name', 200, named)
    await visit('PUT /templates/:name', 200, { ...named, headers: any, body: { text: `${text}, ${count}` } })
    await visit('POST /templates/:name/preview', 200, { ...named, body: { variables: { topic: 'x' } } })

    const variables = { topic: { type: 'string', default: 'storms' } }
    const toml = `[agent]\nengine = "shell"\n[prompt]\ntemplate = "${name}"\n[prompt.variables.topic]\ntype = "string"\n`
    await visit('POST /profiles', 201, { body: { name, toml } })
    await visit('GET /profiles', 200)
    await visit('GET /profiles/:name', 200, named)
    await visit('PUT /profiles/:name', 200, {
      ...named,
      headers: any,
      body: { profile: { agent: { engine: 'shell' }, prompt: { template: name, variables } } },
    })
    await visit('GET /profiles/:name/resolve', 200, { ...named, query: '?variables={"topic":"x"}' })
    await visit('POST /profiles/:name/resolve', 200, { ...named, body: { variables: { topic: 'x' } } })
    await visit('POST /commands', 201, {
      body: { type: 'RUN_AGENT', payload: { profile: name, promptVars: { topic: 'x' } }, agentId: 'nobody' },
    })
    await visit('DELETE /profiles/:name', 204, { ...named, headers: any })
    const engine = { adapter: 'program', program: { argv: ['own', '{{prompt}}'] } }
    await visit('POST /engines', 201, { body: { name, engine } })
    await visit('GET /engines/:name', 200, named)
    await visit('PUT /engines/:name', 200, { ...named, headers: any, body: { toml: 'adapter = "shell"' } })
    await visit('DELETE /engines/:name', 204, { ...named, headers: any })
    await visit('DELETE /templates/:name', 204, { ...named, headers: any })
    return { faults, visited }
  }
}
