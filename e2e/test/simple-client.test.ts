// The original simple clients work unchanged: nothing but `next` and `result`.
import t from 'tap'
import { createApi } from '../src/api.ts'
import { freePort, startServer } from '../src/processes.ts'

/** As such an agent is written: poll, do, put. */
async function simpleAgent(
  base: string,
  agentId: string,
  work: (command: { type: string; payload: unknown }) => unknown,
) {
  for (let done = 0; ; done += 1) {
    const next = await fetch(`${base}/commands/next?agentId=${agentId}`)
    if (next.status === 204) return done
    const command = (await next.json()) as { commandId: string; type: string; payload: unknown }
    const response = await fetch(`${base}/commands/${command.commandId}/result`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ agentId, result: work(command) }),
    })
    if (!response.ok) throw new Error(`result answered ${response.status}`)
  }
}

t.test('two agents that know next and result only complete every command once', async (t) => {
  const port = await freePort()
  const server = await startServer(t.testdir(), port)
  t.teardown(server.kill)
  const api = createApi(port)
  const ids = []
  for (let number = 0; number < 20; number += 1)
    ids.push((await api.submit({ type: 'DELAY', payload: { ms: number } }, `k${number}`)).commandId)
  const base = `http://127.0.0.1:${port}`
  const seen: unknown[] = []
  const work = ({ payload }: { payload: unknown }) => {
    seen.push(payload)
    return { ok: true, tookMs: 1 }
  }
  const done = await Promise.all([simpleAgent(base, 'one', work), simpleAgent(base, 'two', work)])
  t.equal((done[0] ?? 0) + (done[1] ?? 0), 20)
  t.equal(seen.length, 20, 'each was handed out once')
  for (const id of ids) t.match(await api.get(id), { status: 'COMPLETED', result: { ok: true }, agentId: /one|two/ })
  const { body } = await api.call('GET', '/commands')
  t.ok(Array.isArray(body), 'the list is a bare array')
  t.equal((await api.call('GET', '/health')).body.status, 'ok')
})
