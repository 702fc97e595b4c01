// A kill -9 at every named point of agent and server, with the effect counted outside: it happens once or not at all, the
// command ends, and what was reported is what is read.

import { CRASH_POINT_NAMES as AGENT_POINTS } from '@agent-executor/agent/crash-points'
import { CRASH_POINT_NAMES as SERVER_POINTS } from '@agent-executor/control-server/crash-points'
import type { CommandType } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { createApi } from '../src/api.ts'
import { freePort, type Process, startAgent, startServer } from '../src/processes.ts'
import { startTarget } from '../src/target.ts'

/** Before its intent is in the journal an attempt has not begun; after its outcome is, it is known. Between, a GET is in doubt. */
const IN_DOUBT = ['start.after-commit', 'effect.begun', 'effect.done', 'finish.before-commit']

/** Points that other calls than an agent's reach, or that one command cannot. */
const OTHER_CALLS = ['next.', 'result.', 'cancel.', 'sweep.', 'heartbeat.', 'submit.', 'batch.', 'files.']

/** Each is three starts of a process; more of them at a time than cores gain nothing. */
const CELLS_AT_A_TIME = 3

const target = await startTarget()
t.teardown(target.close)

/** The crash matrix does the same, and more, with every type. */
const held = { type: 'HTTP_GET_JSON', payload: { url: `${target.url}/held` } } as const

t.test('the agent is killed at every point and started again', async (t) => {
  const port = await freePort()
  const dir = t.testdir()
  const server = await startServer(`${dir}/server`, port)
  t.teardown(server.kill)
  const api = createApi(port)
  t.jobs = CELLS_AT_A_TIME
  // Those of containers: run-agent.test.ts.
  const cells = AGENT_POINTS.filter((point) => !/^(container|artifacts)\./.test(point)).map((point) =>
    t.test(point, { buffered: true }, async (t) => {
      const dataDir = `${dir}/${point}`
      const crashing = startAgent(dataDir, port, ['--crash-at', point, '--agent-id', point])
      t.teardown(crashing.kill)
      const submitted = await api.submit({ ...held, agentId: point }, point)
      t.equal((await crashing.ended).signal, 'SIGKILL', 'the process killed itself at the point')
      const again = startAgent(dataDir, port)
      t.teardown(again.kill)
      const command = await api.final(submitted.commandId)
      await again.kill()
      check(t, command, held.type, IN_DOUBT.includes(point))
    }),
  )
  await Promise.all(cells)
})

t.test('the server is killed at every point and started again', async (t) => {
  const dir = t.testdir()
  t.jobs = CELLS_AT_A_TIME
  // A command takes four syncs: offer, grant, report, and one that finds nothing left.
  const cells = SERVER_POINTS.filter((name) => !OTHER_CALLS.some((call) => name.startsWith(call))).flatMap((point) =>
    (point.startsWith('sync.') ? [1, 2, 3, 4] : [1]).map((hit) =>
      t.test(`${point}, hit ${hit}`, { buffered: true }, async (t) => {
        const port = await freePort()
        const api = createApi(port)
        const dataDir = `${dir}/${point}-${hit}`
        const crashing = await startServer(dataDir, port, ['--crash-at', `${point}:${hit}`])
        t.teardown(crashing.kill)
        const submitted = await api.submit(held, 'one')
        const agent = startAgent(`${dataDir}/agent`, port)
        t.teardown(agent.kill)
        t.equal((await crashing.ended).signal, 'SIGKILL', 'the process killed itself at the point')
        const server = await startServer(dataDir, port)
        t.teardown(server.kill)
        const command = await api.final(submitted.commandId)
        await agent.kill()
        await server.kill()
        check(t, command, held.type, false)
      }),
    ),
  )
  await Promise.all(cells)
})

t.test('the server is killed while it stores a submission: the repeated one makes one command', async (t) => {
  for (const point of ['submit.before-commit', 'submit.after-commit']) {
    const port = await freePort()
    const dataDir = t.testdir()
    const crashing = await startServer(`${dataDir}/${point}`, port, ['--crash-at', point])
    t.teardown(crashing.kill)
    const api = createApi(port)
    const submission = { type: 'DELAY', payload: { ms: 1 } }
    await t.rejects(api.call('POST', '/commands', submission, { 'idempotency-key': 'k' }), 'no answer')
    t.equal((await crashing.ended).signal, 'SIGKILL')
    const server = await startServer(`${dataDir}/${point}`, port)
    t.teardown(server.kill)
    const { commandId } = await api.submit(submission, 'k')
    const { body } = await api.call('GET', '/commands')
    t.same(
      (body as unknown as { commandId: string }[]).map((each) => each.commandId),
      [commandId],
      point,
    )
    await server.kill()
  }
})

t.test('the server is killed around a cancel: the repeated one ends the command', async (t) => {
  for (const point of ['cancel.before-commit', 'cancel.after-commit']) {
    const port = await freePort()
    const dataDir = `${t.testdir()}/${point}`
    const crashing = await startServer(dataDir, port, ['--crash-at', point])
    t.teardown(crashing.kill)
    const agent = startAgent(`${dataDir}/agent`, port)
    t.teardown(agent.kill)
    const api = createApi(port)
    const { commandId } = await api.submit({ type: 'DELAY', payload: { ms: 60_000 } }, 'k')
    await api.until(commandId, ({ status }) => status === 'RUNNING')
    await t.rejects(api.call('POST', `/commands/${commandId}/cancel`, {}), 'no answer')
    const server = await startServer(dataDir, port)
    t.teardown(server.kill)
    t.match((await api.call('POST', `/commands/${commandId}/cancel`, {})).status, /20[02]/)
    t.match(await api.final(commandId), { status: 'CANCELLED', error: { code: 'CANCELLED' } }, point)
    await agent.kill()
    await server.kill()
  }
})

t.test('simple API: the server is killed around next and result, and nothing is handed out twice', async (t) => {
  for (const point of ['next.before-commit', 'next.after-commit', 'result.before-commit', 'result.after-commit']) {
    const port = await freePort()
    const dataDir = `${t.testdir()}/${point}`
    const crashing = await startServer(dataDir, port, ['--crash-at', point])
    t.teardown(crashing.kill)
    const api = createApi(port)
    const { commandId } = await api.submit({ type: 'DELAY', payload: { ms: 1 }, timeoutMs: 60_000 }, 'k')
    const next = () => api.call('GET', '/commands/next?agentId=simple')
    const report = () => api.call('PUT', `/commands/${commandId}/result`, { agentId: 'simple', result: { ok: true } })
    const first = point.startsWith('next') ? next() : next().then(report)
    await t.rejects(first, 'no answer')
    const server = await startServer(dataDir, port)
    t.teardown(server.kill)
    if (point.startsWith('result')) {
      t.same((await report()).body, { success: true }, `${point}: the repeated report is accepted`)
      t.equal((await report()).status, 200, 'and once more')
    } else {
      const { status } = await next()
      // After the commit the answer was lost: it may have been acted upon, so it is not handed out again.
      t.equal(status, point === 'next.before-commit' ? 200 : 204, point)
      t.equal((await report()).status, 200)
    }
    t.match(await api.get(commandId), { status: 'COMPLETED', result: { ok: true }, attempts: [{ attempt: 1 }] })
    await server.kill()
  }
})

t.test(
  'random failures of agent and server: every command ends, no effect twice, nothing acknowledged lost',
  async (t) => {
    const port = await freePort()
    const dir = t.testdir()
    const api = createApi(port)
    let stopping = false
    let crashes = 0
    const live = new Set<Process>()
    /** A supervisor: starts the process anew whenever it dies, with another seed each time. */
    const supervise = async (launch: (seed: number) => Promise<Process> | Process, firstSeed: number) => {
      for (let seed = firstSeed; !stopping; seed += 1) {
        const running = await Promise.resolve(launch(seed)).catch(() => null)
        if (running === null) continue
        live.add(running)
        await running.ended
        live.delete(running)
        if (!stopping) crashes += 1
      }
    }
    const chaos = (seed: number) => (seed % 20 < 12 ? ['--random-failures', '--random-seed', String(seed)] : [])
    const supervised = [
      supervise((seed) => startServer(`${dir}/server`, port, chaos(seed)), 100),
      supervise((seed) => startAgent(`${dir}/a`, port, chaos(seed)), 200),
      supervise((seed) => startAgent(`${dir}/b`, port, chaos(seed)), 300),
    ]
    t.teardown(async () => {
      stopping = true
      for (const each of live) await each.kill()
      await Promise.all(supervised)
    })

    const submitted = await Promise.all(
      Array.from({ length: 30 }, (_, number) =>
        api.submit(
          number % 2 === 0
            ? { type: 'DELAY', payload: { ms: number * 5 } }
            : { type: 'HTTP_GET_JSON', payload: { url: `${target.url}/plain` } },
          `chaos-${number}`,
        ),
      ),
    )
    for (const { commandId, type } of submitted) {
      const command = await api.final(commandId, 90_000)
      check(t, command, type as CommandType, true)
    }
    t.ok(crashes >= 5, `${crashes} crashes: the faults did fire`)
    for (const { commandId } of submitted) t.equal((await api.get(commandId)).status !== 'RUNNING', true)
  },
)

function check(
  t: Test,
  command: Awaited<ReturnType<ReturnType<typeof createApi>['get']>>,
  type: CommandType,
  inDoubt: boolean,
): void {
  const hits = target.hits(command.commandId)
  if (type === 'DELAY') {
    t.match(command, { status: 'COMPLETED', result: { ok: true }, error: null })
    return
  }
  t.ok(hits <= 1, `${hits} hits at the target`)
  if (command.status === 'COMPLETED') t.equal(hits, 1, 'a result comes from a request')
  else {
    t.ok(inDoubt, `only a request in doubt may fail: ${JSON.stringify(command.error)}`)
    t.match(command, { status: 'FAILED', error: { code: 'INTERRUPTED' } })
  }
}
