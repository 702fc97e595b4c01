// RUN_AGENT through real processes and the real Docker: killed at every point its container is started once, and found again.
import { rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CRASH_POINT_NAMES as AGENT_POINTS } from '@agent-executor/agent/crash-points'
import t, { type Test } from 'tap'
import { createApi, type Json } from '../src/api.ts'
import {
  containersOf,
  countSaid,
  countStarts,
  DOCKER_SOCKET,
  dockerode,
  needsDocker,
  removeContainersOf,
  watchContainers,
} from '../src/docker.ts'
import { freePort, type Process, startDockerAgent, startServer } from '../src/processes.ts'

/** Each is two starts of a process and one of a container. */
const CELLS_AT_A_TIME = 3

/** Where an attempt comes only with a pool, and only without. */
const WARM_ONLY: readonly string[] = ['container.taken', 'container.delivered']
const COLD_ONLY: readonly string[] = ['container.created', 'container.started']

/** With the agent's own memory, 0, it is what the pool is made for. */
const shell = (prompt: string, more: Json = {}, memoryBytes = 64 * 2 ** 20): Json => ({
  type: 'RUN_AGENT',
  payload: { engine: 'shell', prompt, ...(memoryBytes === 0 ? {} : { resources: { memoryBytes } }), ...more },
})

/** A server, and the start of agents whose containers are removed in the end. */
const world = async (t: Test) => {
  const port = await freePort()
  const dir = t.testdir()
  const server = await startServer(`${dir}/server`, port)
  t.teardown(server.kill)
  const agent = (agentId: string, flags: readonly string[] = []) => {
    const process = startDockerAgent(`${dir}/${agentId}`, port, ['--agent-id', agentId, ...flags])
    t.teardown(async () => {
      await process.kill()
      await removeContainersOf(agentId)
    })
    return process
  }
  return { api: createApi(port), agent, server, port, dir }
}

let ids = 0
/** Labels of containers are seen by all tests on this Docker. */
const newAgentId = (name: string): string => `e2e-${process.pid}-${++ids}-${name}`

t.test('a prompt goes to the agent, its output comes back, its container goes', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('plain')
  agent(agentId)
  const { commandId } = await api.submit(
    shell('echo "hello $(cat name)"', { files: [{ path: 'name', content: 'you' }] }),
    'k',
  )
  t.match(await api.final(commandId), {
    status: 'COMPLETED',
    timeoutMs: 900_000,
    result: { engine: 'shell', exitCode: 0, stdout: { text: 'hello you\n', bytes: 10, truncated: false } },
  })
  await api.eventually('the container is removed', async () => (await containersOf(agentId)).length === 0)

  const failing = await api.submit(shell('echo partly; exit 9'), 'failing')
  t.match(await api.final(failing.commandId), {
    status: 'FAILED',
    error: { code: 'EXIT_NONZERO', retryable: false },
    result: { exitCode: 9, stdout: { text: 'partly\n' } },
  })
})

t.test('the agent is killed at every point and started again: the prompt runs once', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  t.jobs = CELLS_AT_A_TIME
  await Promise.all(
    AGENT_POINTS.filter((point) => !WARM_ONLY.includes(point)).map((point) =>
      t.test(point, { buffered: true }, async (t) => {
        const agentId = newAgentId(point)
        const counted = await countStarts(agentId)
        t.teardown(counted.stop)
        const crashing = agent(agentId, ['--crash-at', point])
        const { commandId } = await api.submit(
          { ...shell('echo effect; sleep 0.5; echo done > /output/f; cat /output/f'), agentId },
          point,
        )
        t.equal((await crashing.ended).signal, 'SIGKILL', 'the process killed itself at the point')
        const again = agent(agentId)
        t.match(await api.final(commandId, 60_000), {
          status: 'COMPLETED',
          result: { exitCode: 0, stdout: { text: 'effect\ndone\n' }, artifacts: [{ name: 'output/f', bytes: 5 }] },
          attempts: [{ attempt: 1, state: 'SUCCEEDED' }],
        })
        await api.eventually('the container is removed', async () => (await containersOf(agentId)).length === 0, 60_000)
        t.equal(counted.starts(), 1, 'one start of one container')
        await again.kill()
      }),
    ),
  )
})

const isWaiting = ({ Names, State }: { Names: string[]; State: string }): boolean =>
  State === 'running' && Names[0]?.startsWith('/agent-executor-pool-') === true

t.test('with a pool, killed at every point and started again: the prompt runs once', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  t.jobs = CELLS_AT_A_TIME
  const pooled = ['--pool-size', '1']
  await Promise.all(
    AGENT_POINTS.filter((point) => !COLD_ONLY.includes(point)).map((point) =>
      t.test(point, { buffered: true }, async (t) => {
        const agentId = newAgentId(`pool-${point}`)
        const counted = await countSaid(agentId, 'effect')
        t.teardown(counted.stop)
        const crashing = agent(agentId, ['--crash-at', point, ...pooled])
        // Some kill it before it has made any.
        await Promise.race([
          crashing.ended,
          api.eventually('one waits', async () => (await containersOf(agentId)).some(isWaiting)),
        ])
        const { commandId } = await api.submit(
          { ...shell('echo effect; sleep 0.5; echo done >/output/f; cat /output/f', {}, 0), agentId },
          point,
        )
        t.equal((await crashing.ended).signal, 'SIGKILL', 'the process killed itself at the point')
        const again = agent(agentId, pooled)
        t.match(await api.final(commandId, 60_000), {
          status: 'COMPLETED',
          result: {
            ...{ exitCode: 0, stdout: { text: 'effect\ndone\n' }, stderr: { text: '' } },
            artifacts: [{ name: 'output/f', bytes: 5 }],
          },
          attempts: [{ attempt: 1, state: 'SUCCEEDED' }],
        })
        await api.eventually('what waits is all that is left', async () => {
          const left = await containersOf(agentId)
          return left.length === 1 && left.every(isWaiting)
        })
        t.equal(counted.said(), 1, 'it was said once')
        again.signal('SIGTERM')
        t.equal((await again.ended).code, 0)
        t.same(await containersOf(agentId), [], 'an agent that stops leaves none that waits')
      }),
    ),
  )
})

t.test('with a pool, killed at random again and again, each runs once', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('pool-random')
  const counted = await countSaid(agentId, 'effect')
  t.teardown(counted.stop)
  let over = false
  let crashes = 0
  let live: Process | null = null
  const supervised = (async () => {
    for (let seed = 1; !over; seed++) {
      const faults = seed < 25 ? ['--random-failures', '--random-seed', String(seed)] : []
      live = agent(agentId, ['--pool-size', '2', ...faults])
      await live.ended
      if (!over) crashes += 1
    }
  })()
  const stop = async () => {
    over = true
    await live?.kill()
    await supervised
  }
  try {
    const numbers = [1, 2, 3, 4, 5, 6]
    const commands = await Promise.all(
      numbers.map((each) =>
        api.submit({ ...shell(`echo effect ${each}; sleep 1`, {}, 0), agentId }, `pool-random-${each}`),
      ),
    )
    for (const { commandId } of commands)
      t.match(await api.final(commandId, 120_000), {
        status: 'COMPLETED',
        result: { stdout: { text: /^effect \d\n$/ } },
      })
    t.equal(counted.said(), commands.length)
    t.ok(crashes >= 3, `${crashes} crashes`)
  } finally {
    await stop()
  }
})

t.test('killed at random again and again, it runs once', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('random')
  const counted = await countStarts(agentId)
  t.teardown(counted.stop)
  let over = false
  let crashes = 0
  let live: Process | null = null
  const supervised = (async () => {
    for (let seed = 1; !over; seed++) {
      live = agent(agentId, seed < 25 ? ['--random-failures', '--random-seed', String(seed)] : [])
      await live.ended
      if (!over) crashes += 1
    }
  })()
  // Not in a teardown: there the agents are killed, and it would start others.
  const stop = async () => {
    over = true
    await live?.kill()
    await supervised
  }
  try {
    const commands = await Promise.all(
      [1, 2, 3, 4].map((each) => api.submit({ ...shell(`echo effect ${each}; sleep 1`), agentId }, `random-${each}`)),
    )
    for (const { commandId } of commands)
      t.match(await api.final(commandId, 120_000), {
        status: 'COMPLETED',
        result: { stdout: { text: /^effect \d\n$/ } },
      })
    t.equal(counted.starts(), commands.length)
    t.ok(crashes >= 3, `${crashes} crashes`)
  } finally {
    await stop()
  }
})

t.test(
  'cancelled while its agent is dead, the container is dead before the command is CANCELLED',
  needsDocker,
  async (t) => {
    const { api, agent } = await world(t)
    const agentId = newAgentId('cancel')
    const first = agent(agentId)
    const { commandId } = await api.submit(shell('echo begun; sleep 1000'), 'k')
    await api.eventually('it runs', async () => (await containersOf(agentId))[0]?.State === 'running')
    await first.kill()
    t.equal((await api.call('POST', `/commands/${commandId}/cancel`, {})).status, 202)
    t.equal((await containersOf(agentId))[0]?.State, 'running', 'nobody is there to stop it')
    const events = await dockerode.getEvents({
      filters: { label: [`agent-executor.agent=${agentId}`], event: ['die'] },
    })
    let diedAtMs = 0
    events.once('data', () => {
      diedAtMs = Date.now()
    })
    agent(agentId)
    const command = await api.final(commandId)
    ;(events as unknown as { destroy: () => void }).destroy()
    t.match(command, { status: 'CANCELLED', result: { reason: 'cancelled', stdout: { text: 'begun\n' } } })
    t.ok(diedAtMs > 0 && diedAtMs <= Date.parse(command.finishedAt as string) + 5, 'first dead, then said')
  },
)

t.test('what is more than the agent has places for waits, and its time has not begun', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('places')
  const containers = await watchContainers()
  t.teardown(containers.removeAll)
  agent(agentId, ['--max-concurrent-agents', '2'])
  // Together they take three times as long as each may.
  const commands = await Promise.all(
    [1, 2, 3, 4, 5, 6].map((each) => api.submit({ ...shell('sleep 1'), agentId, timeoutMs: 3000 }, `place-${each}`)),
  )
  for (const { commandId } of commands) t.match(await api.final(commandId), { status: 'COMPLETED', attempt: 1 })
  const runs = commands.flatMap(({ commandId }) => containers.visits(commandId))
  t.equal(runs.length, commands.length)
  for (const { fromMs } of runs) {
    const others = runs.filter((run) => run.fromMs <= fromMs && fromMs < run.toMs)
    t.ok(others.length <= 2, 'two at a time')
  }
})

t.test('an agent that is drained leaves what takes longer, and its next life goes on', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('drain')
  const counted = await countStarts(agentId)
  t.teardown(counted.stop)
  const first = agent(agentId, ['--drain-ms', '300'])
  const { commandId } = await api.submit(shell('echo one; sleep 4; echo two'), 'k')
  await api.eventually('it runs', async () => (await containersOf(agentId))[0]?.State === 'running')
  first.signal('SIGTERM')
  t.equal((await first.ended).code, 0)
  t.equal((await containersOf(agentId))[0]?.State, 'running')
  agent(agentId)
  t.match(await api.final(commandId), {
    status: 'COMPLETED',
    result: { stdout: { text: 'one\ntwo\n' }, outputFrom: 'log' },
  })
  t.equal(counted.starts(), 1)
})

t.test('without Docker an agent does all else, and takes RUN_AGENT when Docker comes', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('late')
  const socket = join(tmpdir(), `${agentId}.sock`)
  t.teardown(() => rmSync(socket, { force: true }))
  const running = agent(agentId, ['--docker-socket', socket])
  const line = await running.logged(({ msg }) => msg === 'Docker does not answer, RUN_AGENT is not offered')
  t.match(line, { dockerSocket: socket, reason: /ENOENT/ })
  const waiting = await api.submit(shell('echo late'), 'late')
  const delay = await api.submit({ type: 'DELAY', payload: { ms: 1 } }, 'delay')
  t.match(await api.final(delay.commandId), { status: 'COMPLETED' })
  t.match(await api.get(waiting.commandId), { status: 'PENDING', attempts: [] })
  symlinkSync(DOCKER_SOCKET, socket)
  t.match(await api.final(waiting.commandId), { status: 'COMPLETED', result: { stdout: { text: 'late\n' } } })
  rmSync(socket)
  await running.logged(({ msg, time }) => msg.startsWith('Docker does not answer') && time !== line.time)
})
