// A server that is killed again and again while it works: nothing changes by itself, nothing is lost.
import t from 'tap'
import { type CommandView, createApi } from '../src/api.ts'
import { freePort, startAgent, startServer } from '../src/processes.ts'

const RESTARTS = 10

t.test(
  'the server is killed and restarted ten times under load: every acknowledged submission ends as it should',
  async (t) => {
    const port = await freePort()
    const dir = t.testdir()
    const api = createApi(port)
    let server = await startServer(`${dir}/server`, port)
    const agent = startAgent(`${dir}/agent`, port)
    t.teardown(async () => {
      await agent.kill()
      await server.kill()
    })

    let submitting = true
    const acknowledged: CommandView[] = []
    const client = async (name: string) => {
      for (let number = 0; submitting; number += 1)
        acknowledged.push(await api.submit({ type: 'DELAY', payload: { ms: number % 50 } }, `${name}-${number}`))
    }
    const clients = [client('a'), client('b'), client('c')]
    for (let restart = 0; restart < RESTARTS; restart += 1) {
      const before = acknowledged.length
      await api.patiently('load', async () => {
        if (acknowledged.length < before + 10) throw new Error('not enough load yet')
      })
      await server.kill()
      server = await startServer(`${dir}/server`, port)
    }
    submitting = false
    await Promise.all(clients)

    t.ok(acknowledged.length >= RESTARTS * 10, `${acknowledged.length} commands`)
    t.equal(
      new Set(acknowledged.map(({ commandId }) => commandId)).size,
      acknowledged.length,
      'one command a submission',
    )
    for (const { commandId } of acknowledged) {
      const command = await api.final(commandId)
      // An offer that the restarts kept unaccepted for too long is withdrawn, which is no attempt to run it.
      const granted = command.attempts.filter(({ state }) => state !== 'WITHDRAWN')
      if (command.status !== 'COMPLETED' || granted.length !== 1)
        t.fail(`not completed once: ${JSON.stringify(command)}`)
    }
    t.equal(agent.lines.filter(({ msg }) => msg === 'started').length, acknowledged.length, 'each was started once')
  },
)

t.test('a restart of the server changes the status of no command', async (t) => {
  const port = await freePort()
  const dir = t.testdir()
  const api = createApi(port)
  // A lease far shorter than the time away: it runs anew from the start, so nobody is taken for lost.
  const flags = ['--lease-ms', '1000']
  let server = await startServer(`${dir}/server`, port, flags)
  const agent = startAgent(`${dir}/agent`, port, ['--slots', 'DELAY=2'])
  t.teardown(async () => {
    await agent.kill()
    await server.kill()
  })
  const far = new Date(Date.now() + 3_600_000).toISOString()
  const submissions = {
    running: { type: 'DELAY', payload: { ms: 60_000 } },
    // With `takeover: auto` its agent would stop it, where the server is away for longer than the lease.
    alsoRunning: { type: 'DELAY', payload: { ms: 60_000 }, retry: { maxAttempts: 2 } },
    done: { type: 'DELAY', payload: { ms: 0 }, priority: 9 },
    waiting: { type: 'DELAY', payload: { ms: 1 }, labels: ['nobody-has-it'] },
    later: { type: 'DELAY', payload: { ms: 1 }, notBefore: far },
  }
  const { commandId: done } = await api.submit(submissions.done, 'done')
  await api.final(done)
  const ids = [done]
  for (const name of ['running', 'alsoRunning', 'waiting', 'later'] as const)
    ids.push((await api.submit(submissions[name], name)).commandId)
  await api.until(ids[1] as string, ({ status }) => status === 'RUNNING')
  await api.until(ids[2] as string, ({ status }) => status === 'RUNNING')
  const seen = async () =>
    Promise.all(
      ids.map(async (id) => {
        const { status, attempts, result, error } = await api.get(id)
        return { status, attempts: attempts.map(({ attempt, state }) => `${attempt} ${state}`), result, error }
      }),
    )
  const before = await seen()
  for (let restart = 0; restart < 3; restart += 1) {
    await server.kill()
    server = await startServer(`${dir}/server`, port, flags)
    t.same(await seen(), before, `restart ${restart + 1}`)
  }
  await api.until(ids[1] as string, ({ status }) => status === 'RUNNING')
  await agent.kill()
})

t.test(
  'the agent works through an outage of the server longer than its lease, and reports when it is back',
  async (t) => {
    const port = await freePort()
    const dir = t.testdir()
    const api = createApi(port)
    const flags = ['--lease-ms', '1000']
    const server = await startServer(`${dir}/server`, port, flags)
    t.teardown(server.kill)
    const agent = startAgent(`${dir}/agent`, port)
    t.teardown(agent.kill)
    const { commandId } = await api.submit({ type: 'DELAY', payload: { ms: 1500 } }, 'one')
    await api.until(commandId, ({ status }) => status === 'RUNNING')
    await server.kill()
    await agent.logged(({ msg, state }) => msg === 'finished' && state === 'SUCCEEDED')
    const back = await startServer(`${dir}/server`, port, flags)
    t.teardown(back.kill)
    t.match(await api.final(commandId), { status: 'COMPLETED', attempts: [{ attempt: 1, state: 'SUCCEEDED' }] })
    await agent.kill()
    await back.kill()
  },
)

t.test(
  'an agent that never comes back: LOST is shown, and named as the end; with takeover another agent goes on',
  async (t) => {
    const port = await freePort()
    const dir = t.testdir()
    const api = createApi(port)
    const server = await startServer(`${dir}/server`, port, ['--lease-ms', '1000', '--lost-grace-ms', '0'])
    t.teardown(server.kill)
    const agent = startAgent(`${dir}/agent`, port)
    t.teardown(agent.kill)
    const manual = await api.submit({ type: 'DELAY', payload: { ms: 60_000 }, lostAfterMs: 500 }, 'manual')
    const retried = await api.submit(
      { type: 'DELAY', payload: { ms: 2000 }, retry: { maxAttempts: 2, backoff: { initialMs: 0 } }, takeover: 'auto' },
      'auto',
    )
    await api.until(manual.commandId, ({ status }) => status === 'RUNNING')
    await api.until(retried.commandId, ({ status }) => status === 'RUNNING')
    await agent.kill()
    const other = startAgent(`${dir}/other`, port)
    t.teardown(other.kill)
    await api.until(manual.commandId, ({ attempts }) => attempts.at(-1)?.state === 'LOST')
    t.match(await api.final(manual.commandId), { status: 'FAILED', error: { code: 'LOST' } })
    t.match(await api.final(retried.commandId), {
      status: 'COMPLETED',
      attempts: [
        { attempt: 1, state: 'EXPIRED' },
        { attempt: 2, state: 'SUCCEEDED' },
      ],
    })
    await other.kill()
  },
)
