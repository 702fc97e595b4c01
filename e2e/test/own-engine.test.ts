// A fifth engine from one file: an operator's own program through real processes, the real Docker and the gateway.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createApi, type Json } from '../src/api.ts'
import { countStarts, needsDocker, removeContainersOf } from '../src/docker.ts'
import { needsEngines, resultOf, startEngineWorld, usageOf } from '../src/engine-world.ts'
import { freePort, startDockerAgent, startServer } from '../src/processes.ts'
import { shippedEngine } from '../src/shipped-engines.ts'

/** Counts the lines of its prompt, slowly enough to be found at it. */
const COUNTS = `description = "Counts the lines of its prompt."
adapter = "program"

[program]
argv = ["/bin/sh", "-c", 'sleep "$PAUSE"; echo "in $1 by $HOME"; wc -l <"$2"; shift 2; [ $# -eq 0 ] || cat "$1"', "own", "{{workspace}}", "{{prompt}}"]

[program.with]
system = ["{{system}}"]

[program.env]
PAUSE = "0"

[probe]
argv = ["cat", "--version"]
prints = "coreutils"
`

const world = async (t: Test) => {
  const dir = t.testdir()
  mkdirSync(join(dir, 'own/engines'), { recursive: true })
  writeFileSync(join(dir, 'own/engines/counts.toml'), COUNTS)
  const port = await freePort()
  const server = await startServer(join(dir, 'server'), port, ['--profiles-dir', join(dir, 'own')])
  t.teardown(server.kill)
  const agentId = `e2e-own-${process.pid}`
  const agent = () => {
    const started = startDockerAgent(join(dir, 'agent'), port, ['--agent-id', agentId])
    t.teardown(async () => {
      await started.kill()
      await removeContainersOf(agentId)
    })
    return started
  }
  return { api: createApi(port), agent, agentId }
}
type Engine = { available: boolean; agents: { reason: string | null }[]; toml: string; version: number }

t.test('an engine of a file runs, and what runs is what was submitted', needsDocker, async (t) => {
  const { api, agent, agentId } = await world(t)
  const engine = async (name: string) => (await api.call('GET', `/engines/${name}`)).body as unknown as Engine
  let process = agent()
  await api.eventually('the agent offers it', async () => (await engine('counts')).available)
  const submit = (key: string, payload: Json = {}, name = 'counts') =>
    api.submit({ type: 'RUN_AGENT', payload: { engine: name, prompt: 'one\ntwo\n', ...payload } }, key)

  const { commandId } = await submit('plain')
  const command = await api.final(commandId)
  t.match(command, { status: 'COMPLETED', payload: { engineDefinition: { name: 'counts', version: 1 } } })
  t.match(resultOf(command), { engine: 'counts', reason: 'exited', answer: 'in /workspace by /home/agent\n2' })
  t.notOk('usage' in resultOf(command), 'it has no model')
  const system = await api.final((await submit('system', { system: '--be brief' })).commandId)
  t.match(resultOf(system), { answer: 'in /workspace by /home/agent\n2\n--be brief' })

  await t.test('an agent that is killed finds it again, though there is another of the name by now', async (t) => {
    const starts = await countStarts(agentId)
    t.teardown(starts.stop)
    const slow = (await engine('counts')).toml.replace('PAUSE = "0"', 'PAUSE = "3"')
    const put = await api.call('PUT', '/engines/counts', { toml: slow }, { 'if-match': '*' })
    t.equal(put.status, 200)
    const { commandId } = await submit('killed')
    await api.eventually('it runs', async () => starts.starts() === 1)
    await process.kill()
    const changed = { adapter: 'program', program: { argv: ['/bin/sh', '-c', 'echo another'], output: 'codex' } }
    t.equal((await api.call('PUT', '/engines/counts', { engine: changed }, { 'if-match': '*' })).status, 200)
    process = agent()
    const command = await api.final(commandId)
    t.match(command, { status: 'COMPLETED', payload: { engineDefinition: { version: 2 } } })
    t.match(resultOf(command), { answer: 'in /workspace by /home/agent\n2' })
    t.equal(starts.starts(), 1)
  })

  await t.test('an image that is not what the engine says is not offered, until it is', async (t) => {
    const document = (prints: string) => ({
      engine: { adapter: 'shell', image: 'debian:bookworm-slim', probe: { argv: ['cat', '--version'], prints } },
    })
    t.equal((await api.call('POST', '/engines', { name: 'later', ...document('version 0') })).status, 201)
    const { commandId } = await submit('later', { prompt: 'echo now' }, 'later')
    await api.eventually('the agent has asked', async () =>
      /is not fit: cat --version says cat \(GNU coreutils\).*, and not version 0/.test(
        (await engine('later')).agents[0]?.reason ?? '',
      ),
    )
    t.match((await api.call('GET', `/commands/${commandId}`)).body, { status: 'PENDING' })
    await api.call('PUT', '/engines/later', document('coreutils'), { 'if-match': '*' })
    const command = await api.final(commandId)
    t.match(command, { status: 'COMPLETED', result: { stdout: { text: 'now\n' } } })
  })

  await t.test('an image that the agent does not allow is not offered, whoever names it', async () => {
    await api.call('POST', '/engines', { name: 'foreign', engine: { adapter: 'shell', image: 'foreign:1' } })
    await api.eventually('the agent says so', async () =>
      /does not allow the image foreign:1: RUN_AGENT_IMAGES/.test((await engine('foreign')).agents[0]?.reason ?? ''),
    )
  })
})

/** Asks a model as any client does, with the address that it finds in its environment. */
const ASKS = `
const { argv, env } = process
const asked = { model: argv[2], messages: [{ role: 'user', content: require('node:fs').readFileSync(argv[1], 'utf8') }] }
const headers = { 'content-type': 'application/json', authorization: 'Bearer none' }
fetch(env.BASE_URL + '/chat/completions', { method: 'POST', headers, body: JSON.stringify(asked) })
  .then((answer) => answer.json())
  .then((answer) => console.log(answer.choices[0].message.content))
`
const image = shippedEngine('codex').image ?? ''

t.test(
  'an engine of its own asks models by the gateway: counted and limited',
  await needsEngines([image]),
  async (t) => {
    const told = { input: 20_000, cacheRead: 0, cacheWrite: 0, output: 100, thoughts: 0 }
    const world = await startEngineWorld(t.testdir(), { asks: { told, says: 'A model says so.' } })
    t.teardown(world.close)
    const { api } = world
    const engine = {
      ...{ adapter: 'program', image, providers: ['openai'] },
      program: {
        argv: ['node', '-e', ASKS, '{{prompt}}'],
        with: { model: ['{{model}}'] },
        env: { BASE_URL: '{{gateway}}/v1' },
      },
      probe: { argv: ['node', '--version'], prints: 'v22' },
    }
    t.equal((await api.call('POST', '/engines', { name: 'asks', engine })).status, 201)
    world.startAgent()
    const run = async (limits: Json) => {
      const payload = { engine: 'asks', prompt: 'Who says so?', model: 'gpt-own-asks', limits }
      return api.final((await api.submit({ type: 'RUN_AGENT', payload }, JSON.stringify(limits))).commandId, 120_000)
    }
    const command = await run({ costMicroUsd: 100_000 })
    t.match(command, { status: 'COMPLETED' }, JSON.stringify(command.error))
    t.match(resultOf(command), { answer: 'A model says so.', turns: 1, costMicroUsd: 21_000 })
    t.match((await usageOf(world, command.commandId, 1)).total, { calls: 1, inputTokens: 20_000 })
    t.match(await run({ costMicroUsd: 1 }), { status: 'FAILED', error: { code: 'BUDGET_EXCEEDED' } })
    t.equal(world.provider.heard.length, 1, 'what was refused was not asked')
  },
)
