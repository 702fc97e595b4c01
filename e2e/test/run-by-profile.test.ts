// RUN_AGENT by profile through real processes and the real Docker: hooks in order, secrets nowhere, dry runs that run nothing.
import t, { type Test } from 'tap'
import { createApi, type Json } from '../src/api.ts'
import { containersOf, countStarts, dockerode, needsDocker, removeContainersOf } from '../src/docker.ts'
import { freePort, startDockerAgent, startServer } from '../src/processes.ts'

const SECRET = 'hunter2\'s "own" $ecret'
const LIMITS = { memoryBytes: 64 * 2 ** 20, cpus: 0.5, workspaceBytes: 8 * 2 ** 20, pidsMax: 64 }
const PROFILE = {
  agent: { engine: 'shell' },
  resources: LIMITS,
  prompt: {
    text: [
      `printf 'engine %s %s\\n' '{{ what }}' "$(printf %s "$VAR_token" | wc -c)"`,
      '{% if token %}# {{ token }}{% endif %}',
      'sleep 1',
      'if [ -n "$VAR_token" ]; then echo "said $VAR_token"; fi',
      'exit {{ code }}',
    ].join('\n'),
    variables: {
      what: { type: 'string', required: true },
      code: { type: 'integer', default: 0 },
      token: { type: 'secret' },
    },
  },
  hooks: {
    pre: { script: 'echo "pre $VAR_what"; echo made >made' },
    post: { script: 'cat made; echo "post $JOB_EXIT_CODE"' },
    onFailure: { script: 'echo "onFailure $JOB_EXIT_CODE $JOB_REASON"' },
    always: { script: 'echo "always $JOB_COMMAND_ID"' },
  },
}

let ids = 0
const newAgentId = (name: string): string => `e2e-profile-${process.pid}-${++ids}-${name}`

const world = async (t: Test) => {
  const port = await freePort()
  const dir = t.testdir()
  const server = await startServer(`${dir}/server`, port)
  t.teardown(server.kill)
  const agent = (agentId: string, flags: readonly string[] = []) => {
    const process = startDockerAgent(`${dir}/${agentId}`, port, [
      '--agent-id',
      agentId,
      '--log-level',
      'trace',
      ...flags,
    ])
    t.teardown(async () => {
      await process.kill()
      await removeContainersOf(agentId)
    })
    return process
  }
  const api = createApi(port)
  const stored = await api.call('PUT', '/profiles/mine', { profile: PROFILE })
  t.equal(stored.status, 201, JSON.stringify(stored.body))
  return { api, agent, server }
}
const byProfile = (promptVars: Json, more: Json = {}): Json => ({
  type: 'RUN_AGENT',
  payload: { profile: 'mine', promptVars, ...more },
})
const said = (command: { result: Json | null }): string[] =>
  ((command.result as Json).stdout as { text: string }).text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('agent-executor:'))

/** Of a command with the secret. */
const saidByAll = (what: string, commandId: string): string[] => [
  `pre ${what}`,
  `engine ${what} ${SECRET.length}`,
  'said [redacted]',
  'made',
  'post 0',
  `always ${commandId}`,
]

t.test('hooks run in order around the prompt, and the secret is nowhere to be read', needsDocker, async (t) => {
  const { api, agent, server } = await world(t)
  const agentId = newAgentId('secret')
  const running = agent(agentId)
  const { commandId } = await api.submit(byProfile({ what: 'it', token: SECRET }), 'k')
  await api.eventually('it runs', async () => (await containersOf(agentId))[0]?.State === 'running')
  const [container] = await containersOf(agentId)
  const inspected = JSON.stringify(await dockerode.getContainer(container?.Id ?? '').inspect())
  const texts: string[] = [inspected, JSON.stringify(container)]
  const read = async () => {
    for (const path of ['', '/events', '/logs'])
      texts.push(JSON.stringify((await api.call('GET', `/commands/${commandId}${path}`)).body))
    for (const path of ['/commands?fields=payload,result', '/agents', '/engines', '/profiles/mine'])
      texts.push(JSON.stringify((await api.call('GET', path)).body))
  }
  await read()
  const command = await api.final(commandId)
  t.match(command, {
    status: 'COMPLETED',
    payload: { resolvedFrom: { profile: 'mine', promptVars: { token: '[secret]', what: 'it' } } },
    result: { hooks: [{ hook: 'pre' }, { hook: 'post' }, { hook: 'always' }] },
  })
  t.same(said(command), saidByAll('it', commandId))
  const isLogged = async () => (await api.call('GET', `/commands/${commandId}/logs`)).body.state === 'complete'
  await api.eventually('its log is there', isLogged)
  await read()
  t.match(texts.join(), 'said [redacted]', 'also in the log')
  texts.push(JSON.stringify([server.lines, running.lines, server.errors(), running.errors()]))
  for (const text of texts) for (const form of [SECRET, 'hunter2']) t.notOk(text.includes(form), 'no secret')
  t.ok(inspected.includes('agent-executor.attempt'), 'the labels were among it')
})

t.test('a failing engine and a failing hook are told apart', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  agent(newAgentId('failing'))
  const failing = await api.submit(byProfile({ what: 'it', code: 7 }), 'failing')
  const failed = await api.final(failing.commandId)
  t.match(failed, { status: 'FAILED', error: { code: 'EXIT_NONZERO' }, result: { exitCode: 7 } })
  t.same(said(failed).slice(2), ['onFailure 7 exited', `always ${failing.commandId}`])
  const profile = { ...PROFILE, hooks: { post: { script: 'sleep 100', timeoutMs: 500 } } }
  t.equal((await api.call('PUT', '/profiles/mine', { profile }, { 'if-match': '*' })).status, 200)
  const late = await api.submit(byProfile({ what: 'it' }), 'late')
  t.match(await api.final(late.commandId), {
    status: 'FAILED',
    error: { code: 'HOOK_FAILED', details: { hook: 'post' } },
  })
})

t.test('killed while it runs, hooks and engine run once', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  for (const point of ['container.created', 'container.started', 'container.exited']) {
    const agentId = newAgentId(point)
    const counted = await countStarts(agentId)
    t.teardown(counted.stop)
    const crashing = agent(agentId, ['--crash-at', point])
    const { commandId } = await api.submit({ ...byProfile({ what: point, token: SECRET }), agentId }, point)
    t.equal((await crashing.ended).signal, 'SIGKILL')
    agent(agentId)
    const command = await api.final(commandId, 60_000)
    t.match(command, { status: 'COMPLETED', attempts: [{ attempt: 1, state: 'SUCCEEDED' }] })
    t.same(said(command), saidByAll(point, commandId))
    t.equal(counted.starts(), 1)
  }
})

t.test('a dry run runs nothing, also across a crash', needsDocker, async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('dry')
  const counted = await countStarts(agentId)
  t.teardown(counted.stop)
  for (const point of ['effect.begun', 'effect.done']) {
    const crashing = agent(agentId, ['--crash-at', point])
    const submission = byProfile({ what: point, token: SECRET }, { dryRun: true })
    const { commandId } = await api.submit({ ...submission, agentId }, point)
    t.equal((await crashing.ended).signal, 'SIGKILL')
    const again = agent(agentId)
    const command = await api.final(commandId)
    t.match(command, {
      status: 'COMPLETED',
      payload: { dryRun: true },
      attempts: [{ attempt: 1 }],
      result: {
        dryRun: true,
        imagePresent: true,
        createOptions: { HostConfig: { NetworkMode: 'none', Memory: LIMITS.memoryBytes } },
        script: /hook always/,
      },
    })
    t.ok(((command.result as Json).env as string[]).includes('VAR_token'))
    t.notOk(JSON.stringify(command).includes('hunter2'))
    await again.kill()
  }
  t.equal(counted.starts(), 0)
  t.same(await containersOf(agentId), [])
})

t.test('who has the engine is told, and why not', async (t) => {
  const { api, agent } = await world(t)
  const agentId = newAgentId('engines')
  agent(agentId, ['--docker-socket', '/nonexistent/docker.sock'])
  await api.eventually('the agent is known', async () => {
    const shell = (await api.call('GET', '/engines/shell')).body as unknown as {
      agents: { agentId: string; reason: string }[]
    }
    return shell.agents.some((each) => each.agentId === agentId && /ENOENT/.test(each.reason))
  })
  const [record] = (await api.call('GET', '/agents')).body as unknown as Json[]
  t.match(record, { engines: { shell: { available: false, reason: /ENOENT/ } } })
})
