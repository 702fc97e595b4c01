// The server is set back to a backup: what the agents' journals know comes back, and nothing runs a second time.
import { cpSync, rmSync } from 'node:fs'
import t from 'tap'
import { createApi } from '../src/api.ts'
import { freePort, startAgent, startServer } from '../src/processes.ts'
import { startTarget } from '../src/target.ts'

const target = await startTarget()
t.teardown(target.close)

for (const told of [true, false])
  t.test(
    `${told ? 'with --restored' : 'found out by what an agent has seen'}: outcomes and running work are taken in from the journal`,
    async (t) => {
      const port = await freePort()
      const dir = t.testdir()
      const data = `${dir}/server`
      const api = createApi(port)
      let server = await startServer(data, port)
      const agent = startAgent(`${dir}/agent`, port)
      t.teardown(async () => {
        await agent.kill()
        await server.kill()
      })
      const get = (name: string, held = '') =>
        api.submit({ type: 'HTTP_GET_JSON', payload: { url: `${target.url}/${held}${name}` } }, `${told}-${name}`)

      const waiting = await api.submit({ type: 'DELAY', payload: { ms: 1 }, labels: ['nobody'] }, 'waiting')
      await agent.logged(({ msg }) => msg === 'registered')
      await server.kill()
      cpSync(data, `${dir}/backup`, { recursive: true })
      server = await startServer(data, port)

      const reported = await get('reported')
      t.match(await api.final(reported.commandId), { status: 'COMPLETED' })
      const running = await api.submit({ type: 'DELAY', payload: { ms: 4000 } }, 'running')
      await api.until(running.commandId, ({ status }) => status === 'RUNNING')
      await server.kill()

      rmSync(data, { recursive: true })
      cpSync(`${dir}/backup`, data, { recursive: true })
      server = await startServer(data, port, told ? ['--restored'] : [])

      const found = (commandId: string) =>
        api.patiently('adopted', async () => {
          if ((await api.call('GET', `/commands/${commandId}`)).status !== 200) throw new Error('not adopted yet')
        })
      await found(reported.commandId)
      await found(running.commandId)
      t.match(await api.final(reported.commandId), { status: 'COMPLETED', result: { body: { hello: 'world' } } })
      t.equal(target.hits(reported.commandId), 1, 'not fetched again')
      t.match(await api.final(running.commandId), {
        status: 'COMPLETED',
        result: { ok: true },
        attempts: { length: 1 },
      })
      t.equal(
        agent.lines.filter(({ msg, commandId }) => msg === 'started' && commandId === running.commandId).length,
        1,
      )
      t.match(await api.get(waiting.commandId), { status: 'PENDING' }, 'what the backup knew is still there')
      t.equal((await api.call('GET', '/health')).body.recovery, null, 'recovery is over')
      t.match(await api.final((await get('after')).commandId), { status: 'COMPLETED' }, 'and work is handed out again')
      await agent.kill()
      await server.kill()
    },
  )

t.test(
  'nothing is handed out until every journal known to the backup has been shown, or an operator ends it',
  async (t) => {
    const port = await freePort()
    const dir = t.testdir()
    const api = createApi(port)
    let server = await startServer(`${dir}/server`, port)
    const missing = startAgent(`${dir}/missing`, port, ['--agent-id', 'missing'])
    const present = startAgent(`${dir}/present`, port)
    t.teardown(async () => {
      await Promise.all([missing.kill(), present.kill()])
      await server.kill()
    })
    await missing.logged(({ msg }) => msg === 'registered')
    await present.logged(({ msg }) => msg === 'registered')
    await missing.kill()
    await server.kill()
    server = await startServer(`${dir}/server`, port, ['--restored'])
    const { commandId } = await api.submit({ type: 'DELAY', payload: { ms: 1 } }, 'one')
    const unwanted = await api.submit({ type: 'DELAY', payload: { ms: 1 } }, 'two')
    await present.logged(({ msg, recovery }) => msg === 'registered' && recovery === true)
    const health = async () => (await api.call('GET', '/health')).body.recovery as { waitingFor: string[] } | null
    await api.patiently('the present journal', async () => {
      if ((await health())?.waitingFor.length !== 1) throw new Error('not shown yet')
    })
    t.same(await health(), { waitingFor: ['missing'] })
    t.equal((await api.call('GET', '/commands/next?agentId=simple')).status, 204, 'not to the simple API either')
    t.match(await api.get(commandId), { status: 'PENDING', attempts: [] })
    // Broken before: it was CANCELLED for good, though a journal might have had its outcome.
    t.equal((await api.call('DELETE', `/commands/${unwanted.commandId}`)).status, 202)
    t.match(await api.get(unwanted.commandId), { status: 'PENDING', cancelRequested: true })
    t.same((await api.call('POST', '/recovery/end')).body, { ended: true })
    t.match(await api.final(commandId), { status: 'COMPLETED' })
    t.match(await api.final(unwanted.commandId), { status: 'CANCELLED', attempts: [] })
    await present.kill()
    await server.kill()
  },
)
