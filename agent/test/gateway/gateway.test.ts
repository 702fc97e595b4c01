// A gateway of the agent's own, as a real process: its sessions outlive it, and it does not outlive its agent.
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { createGatewayClient, GatewayRefused, GatewayUnavailable, type SessionBody } from '../../src/gateway/client.ts'
import { gatewayEnv, hasProvider } from '../../src/gateway/environment.ts'
import { createGatewaySessions } from '../../src/gateway/sessions.ts'
import { superviseGateway } from '../../src/gateway/supervisor.ts'
import { until } from '../fixtures/until.ts'

const require = createRequire(import.meta.url)
const SCRIPT = join(dirname(require.resolve('@agent-executor/gateway/package.json')), 'dist/src/main.js')
const BODY: SessionBody = {
  ...{ agentId: 'a', commandId: 'c', profile: null, limits: { requests: 1 }, profileLimits: {}, egress: [] },
}

const world = (t: Test, folder = 'gateway') => {
  const dir = join(mkdtempSync(join(tmpdir(), 'agent-gateway-')), folder)
  const changes: string[] = []
  const warned: string[] = []
  const warn = (_facts: object, message: string) => void warned.push(message)
  const supervisor = superviseGateway({
    ...{ script: SCRIPT, args: ['--parent', '--data-dir', dir, '--log-level', 'silent'], warn },
    env: { PATH: process.env.PATH ?? '', ANTHROPIC_API_KEY: 'sk-ant-of-a-test' },
  })
  const client = createGatewayClient({ socketPath: join(dir, 'control.sock') })
  const sessions = createGatewaySessions({ client, onChange: (up) => void changes.push(up ? 'up' : 'down'), warn })
  sessions.watch()
  t.teardown(async () => {
    sessions.unwatch()
    await supervisor.stop()
    await client.disconnect()
    rmSync(dir, { recursive: true, force: true })
  })
  return { dir, supervisor, client, sessions, changes, warned }
}

t.test('a session is there again, in the same folder, when its gateway was killed', async (t) => {
  const { supervisor, client, sessions, changes, warned } = world(t)
  await until('it answers', sessions.up)
  t.ok(sessions.has('anthropic'))
  t.notOk(sessions.has('openai'))
  const folder = await sessions.open('c.1', BODY)
  const socket = join(folder, 'gateway.sock')
  t.ok(statSync(socket).isSocket())
  const [gatewayId, pid] = [sessions.gatewayId(), supervisor.pid()]
  process.kill(pid as number, 'SIGKILL')
  await until('it is gone', () => !sessions.up())
  await until('there is another one', sessions.up)
  t.not(supervisor.pid(), pid)
  t.equal(sessions.gatewayId(), gatewayId, 'with the same books')
  t.same(changes, ['up', 'down', 'up'])
  t.match(warned, ['the gateway has ended, it is started again'])
  // Not of the life before: a file stays when its process is killed.
  await until('the session is open', async () => (await sessions.usage('c.1')).started === 0 && existsSync(socket))
  t.equal(await sessions.open('c.1', BODY), folder)
  t.match(await sessions.end('c.1'), { calls: [], refusals: [], costMicroUsd: 0, total: { calls: 0 } })
  t.notOk(existsSync(folder))
  t.match(await client.usage('c.1'), { calls: [] }, 'also when it is closed')
  await sessions.close('c.1')
})

t.test('it ends with its agent', async (t) => {
  const { supervisor, sessions } = world(t)
  await until('it answers', sessions.up)
  const pid = supervisor.pid() as number
  await supervisor.stop()
  t.throws(() => process.kill(pid, 0), 'there is no such process')
})

t.test('a long path leads to its socket', async (t) => {
  const { sessions } = world(t, `${'long/'.repeat(30)}gateway`)
  await until('it answers', sessions.up)
})

t.test('what it refuses is told from what nobody knows', async (t) => {
  const { client, sessions } = world(t)
  await until('it answers', sessions.up)
  await t.rejects(client.usage('never.1'), GatewayRefused)
  await t.rejects(client.open('c.1', { ...BODY, agentId: '' }), GatewayRefused)
  const nobody = createGatewayClient({ socketPath: '/no/such/control.sock' })
  t.teardown(nobody.disconnect)
  await t.rejects(nobody.health(), GatewayUnavailable)
})

t.test('what the environment has for it', async (t) => {
  for (const name of ['ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN_FILE', 'OPENAI_API_KEY_FILE', 'GEMINI_BASE_URL'])
    t.ok(hasProvider({ [name]: 'x' }), name)
  for (const env of [{}, { OPENAI_API_KEY: '' }, { GATEWAY_MODELS: 'x' }, { MY_OPENAI_API_KEY: 'x' }])
    t.notOk(hasProvider(env), JSON.stringify(env))
  const given = { OPENAI_API_KEY: 'k', GATEWAY_MODELS: 'm', GATEWAY_EGRESS_BYTES_MAX: '1', PATH: '/bin' }
  const kept = gatewayEnv({
    ...{ ...given, NODE_OPTIONS: '--inspect', DATA_DIR: 'agent', CRASH_AT: 'x', LOG_REDACT: 'secret' },
    ...{ GATEWAY_SOCKET: 's', GATEWAY_PARENT: 'true', GATEWAY_DATA_DIR: 'd' },
  })
  t.same(kept, given)
})
