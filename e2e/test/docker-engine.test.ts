// RUN_AGENT while its Docker dies: restarted with its containers running, with a loss of power, and with all it had gone.
import t, { type Test } from 'tap'
import { createApi, type Json } from '../src/api.ts'
import { needsEngine, startDockerEngine } from '../src/docker-engine.ts'
import { freePort, startDockerAgent, startServer } from '../src/processes.ts'

const shell = (prompt: string): Json => ({
  type: 'RUN_AGENT',
  payload: { engine: 'shell', prompt, resources: { memoryBytes: 64 * 2 ** 20 } },
})

/** An engine of its own, whose one agent tells of a line that is on its way when the engine dies. */
const world = async (t: Test) => {
  const engine = await startDockerEngine()
  t.teardown(engine.close)
  const port = await freePort()
  const dir = t.testdir()
  const server = await startServer(`${dir}/server`, port)
  t.teardown(server.kill)
  const flags = ['--agent-id', 'a', '--docker-socket', engine.socketPath, '--max-concurrent-agents', '2']
  const agent = () => {
    const process = startDockerAgent(`${dir}/agent`, port, flags)
    t.teardown(process.kill)
    return process
  }
  const api = createApi(port)
  const begun = (commandId: string) =>
    api.eventually('it has begun', async () => {
      const { body } = await api.call('GET', `/commands/${commandId}/logs`)
      return JSON.stringify(body).includes('begun')
    })
  return { engine, api, agent, begun }
}

/** Writes a line every 50 ms for two seconds. */
const LINES = Array.from({ length: 40 }, (_, index) => `line ${index}\n`).join('')
const WRITING = 'echo begun; for i in $(seq 0 39); do echo "line $i"; sleep 0.05; done'

t.test(
  'Docker is restarted, also with kill -9, and with the agent: containers go on and are found',
  needsEngine,
  async (t) => {
    const { engine, api, agent, begun } = await world(t)
    const first = agent()
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const { commandId } = await api.submit(shell(WRITING), signal)
      await begun(commandId)
      await engine.stopDockerd(signal)
      await first.logged(({ msg }) => msg === 'Docker does not answer, RUN_AGENT is not offered')
      await engine.start()
      t.match(
        await api.final(commandId),
        {
          status: 'COMPLETED',
          result: { exitCode: 0, stdout: { text: `begun\n${LINES}` } },
          attempts: [{ state: 'SUCCEEDED' }],
        },
        signal,
      )
    }
    const { commandId } = await api.submit(shell(WRITING), 'both')
    await begun(commandId)
    await Promise.all([first.kill(), engine.stopDockerd('SIGKILL')])
    agent()
    await engine.start()
    t.match(await api.final(commandId), {
      status: 'COMPLETED',
      result: { stdout: { text: `begun\n${LINES}` } },
      attempts: [{ attempt: 1, state: 'SUCCEEDED' }],
    })
  },
)

t.test('the host loses power: what ran is over and says so, and nothing of it runs again', needsEngine, async (t) => {
  const { engine, api, agent, begun } = await world(t)
  agent()
  const { commandId } = await api.submit(shell('echo begun; sleep 1000'), 'power')
  await begun(commandId)
  await engine.loseHost()
  await engine.start()
  t.match(await api.final(commandId), {
    status: 'FAILED',
    error: { code: 'HOST_STOPPED' },
    result: { reason: 'hostStopped', stdout: { text: 'begun\n' } },
    attempts: [{ attempt: 1, state: 'FAILED' }],
  })

  const gone = await api.submit(shell('echo begun; sleep 1000'), 'gone')
  await begun(gone.commandId)
  await engine.loseHost()
  await engine.forget()
  t.match(await api.final(gone.commandId), {
    status: 'FAILED',
    error: { code: 'INTERRUPTED' },
    attempts: [{ attempt: 1, state: 'INTERRUPTED' }],
  })
  const after = await api.submit(shell('echo as before'), 'after')
  t.match(await api.final(after.commandId), { status: 'COMPLETED', result: { stdout: { text: 'as before\n' } } })
})
