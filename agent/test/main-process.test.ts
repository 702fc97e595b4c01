import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { SETTINGS } from '../src/config.ts'
import { CRASH_POINT_NAMES } from '../src/crash-points.ts'
import {
  type FakeControlServer,
  fakeControlServer,
  html,
  NEVER,
  refusal,
  until,
} from './client/fixtures/fake-control-server.ts'
import { offer } from './decide/fixtures/builders.ts'

const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url))

type Ended = { code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }

/** The agent as a process, in an empty folder, with this environment and no other. */
const spawned = (t: Test, cwd: string, flags: string[] = [], env: Record<string, string> = {}) => {
  const child: ChildProcess = spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', process.execPath, MAIN, ...flags], {
    cwd,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
    killSignal: 'SIGKILL',
  })
  const output = { stdout: '', stderr: '' }
  child.stdout?.on('data', (chunk) => {
    output.stdout += chunk
  })
  child.stderr?.on('data', (chunk) => {
    output.stderr += chunk
  })
  const ended = new Promise<Ended>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, ...output })),
  )
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return { child, output, ended }
}

const ended = (t: Test, flags: string[], env: Record<string, string> = {}) => spawned(t, t.testdir(), flags, env).ended

/** A running agent with a data folder, and a server that it syncs with. */
const working = async (t: Test, server: FakeControlServer, dir: string, flags: string[] = []) => {
  const count = server.syncs.length
  const process = spawned(t, dir, [
    `--server-url=${server.url}`,
    `--data-dir=${join(dir, 'data')}`,
    '--poll-interval=50',
    ...flags,
  ])
  await until(`the agent syncs; it says ${JSON.stringify(process.output)}`, () => server.syncs.length > count)
  return process
}

const delay = (ms: number) => offer('c1.1', { type: 'DELAY', payload: { ms }, timeoutMs: ms + 60_000 })

t.test('--help lists every setting and every crash point, and does nothing else', async (t) => {
  const dir = t.testdir()
  const { code, stdout, stderr } = await spawned(t, dir, ['--help', '--data-dir=data']).ended
  t.equal(code, 0)
  t.equal(stderr, '')
  for (const { name, flag, meaning } of Object.values(SETTINGS))
    for (const text of [name, flag, meaning]) t.ok(stdout.includes(text), text)
  for (const name of CRASH_POINT_NAMES) t.match(stdout, new RegExp(`^ {2}${name.replaceAll('.', '\\.')} +\\S`, 'm'))
  t.notOk(existsSync(join(dir, 'data')))
})

t.test('--print-config shows what holds: flags over environment over .env over defaults', async (t) => {
  const dir = t.testdir({ '.env': 'POLL_INTERVAL=700\nDRAIN_MS=800\nLOG_LEVEL=warn\n' })
  const env = { DRAIN_MS: '900', LOG_LEVEL: 'error' }
  const { code, stdout } = await spawned(t, dir, ['--print-config', '--log-level=debug', '--slots=3'], env).ended
  t.equal(code, 0)
  const shown = JSON.parse(stdout) as Record<string, unknown>
  t.match(shown, {
    POLL_INTERVAL: 700,
    DRAIN_MS: 900,
    LOG_LEVEL: 'debug',
    SLOTS: ['3'],
    SERVER_URL: 'http://localhost:3000',
  })
  t.same(
    Object.keys(shown).sort(),
    Object.values(SETTINGS)
      .map(({ name }) => name)
      .sort(),
  )
})

t.test('nonsense is refused by name, with exit code 78, before anything is touched', async (t) => {
  const nonsense: [string, string[], Record<string, string>?][] = [
    ['POLL_INTERVAL', ['--poll-interval=soon']],
    ['POLL_INTERVAL', [], { POLL_INTERVAL: '0.5' }],
    ['POLL_INTERVAL', ['--poll-interval=2s']],
    ['SERVER_URL', ['--server-url=ftp://localhost']],
    ['SERVER_URL', ['--server-url=http://user:secret@localhost']],
    ['AGENT_ID', [], { AGENT_ID: 'a b' }],
    ['AGENT_ID', ['--agent-id=../../etc']],
    ['SLOTS', ['--slots=NOPE=1']],
    ['SLOTS', ['--slots=many']],
    ['MAX_CONCURRENT_AGENTS', ['--slots=RUN_AGENT=3']],
    ['DOCKER_SOCKET', ['--docker-socket=docker.sock']],
    ['RUN_AGENT_IMAGE', ['--run-agent-image=--privileged']],
    ['LOG_LEVEL', ['--log-level=loud']],
    ['HTTP_ALLOW_PRIVATE', ['--http-allow-private=maybe']],
    ['CRASH_AT', ['--crash-at=nowhere']],
    ['CRASH_AT', ['--crash-at=start.after-commit:0']],
  ]
  const dir = t.testdir()
  for (const [name, flags, env] of nonsense) {
    const { code, stderr } = await spawned(t, dir, flags, { DATA_DIR: 'data', ...env }).ended
    t.equal(code, 78, `${flags} ${JSON.stringify(env ?? {})}`)
    t.match(stderr, name)
    t.notMatch(stderr, /^\s+at /m, 'a sentence, not a stack')
  }
  t.notOk(existsSync(join(dir, 'data')))
})

t.test('doctor tells what is there and what is not, and its exit code whether an agent can work', async (t) => {
  const server = await fakeControlServer(t)
  const dir = t.testdir()
  const { child, ended } = await working(t, server, dir)
  const flags = ['doctor', `--data-dir=${join(dir, 'data')}`, '--docker-socket=/nowhere.sock']
  const beside = await spawned(t, dir, [...flags, `--server-url=${server.url}`]).ended
  t.match(beside.stdout, /^missing {2}journal .*in use by another process/m)
  t.match(beside.stdout, /^missing {2}docker .*\/nowhere\.sock/m)
  child.kill('SIGTERM')
  await ended
  const alone = await spawned(t, dir, [...flags, '--server-url=http://127.0.0.1:9']).ended
  t.match(alone, { code: 1, stdout: /^ok {7}journal {10}of agent agent-[0-9a-f]{8}$/m })
  t.match(alone.stdout, /^failed {3}control server /m)
})

t.test('a number beyond its limit becomes the limit, and says so', async (t) => {
  const server = await fakeControlServer(t)
  const { output } = await working(t, server, t.testdir(), ['--poll-interval=1'])
  t.match(output.stdout, 'POLL_INTERVAL (--poll-interval): 1 is beyond the least of 50 ms; using 50')
})

t.test('a flag that does not exist is refused by name', async (t) => {
  const { code, stderr } = await ended(t, ['--frobnicate=1'])
  t.ok(code === 64 || code === 78, `exit ${code}`)
  t.match(stderr, '--frobnicate')
})

t.test('NODE_ENV=production refuses every crash flag', async (t) => {
  for (const [name, flag] of [
    ['CRASH_AT', '--crash-at=start.after-commit'],
    ['RANDOM_FAILURES', '--random-failures'],
    ['KILL_AFTER', '--kill-after=5'],
  ] as const) {
    const { code, stderr } = await ended(t, [flag], { NODE_ENV: 'production', DATA_DIR: 'data' })
    t.equal(code, 78)
    t.match(stderr, name)
  }
})

t.test('a second agent on the same data folder is refused, and harms nothing', async (t) => {
  const server = await fakeControlServer(t)
  const dir = t.testdir()
  const first = await working(t, server, dir)
  const { code, stderr } = await spawned(t, dir, [`--server-url=${server.url}`, '--data-dir=data']).ended
  t.equal(code, 78)
  t.match(stderr, /idempotency\.db.*in use by another process/)
  t.equal(server.registrations.length, 1)
  const count = server.syncs.length
  await until('the first goes on', () => server.syncs.length > count)
  first.child.kill('SIGTERM')
  t.equal((await first.ended).code, 0)
})

t.test('an agent id is made once and kept; another one for the same journal is refused', async (t) => {
  const server = await fakeControlServer(t)
  const dir = t.testdir()
  for (let life = 0; life < 2; life++) {
    const { child, ended } = await working(t, server, dir)
    child.kill(life === 0 ? 'SIGKILL' : 'SIGTERM')
    await ended
  }
  const [first, second] = server.registrations
  t.match(first?.agentId, /^agent-[0-9a-f]{8}$/)
  t.equal(second?.agentId, first?.agentId)
  t.equal(second?.journalId, first?.journalId)
  t.equal(second?.previousIncarnation, 1)

  const other = await spawned(t, dir, ['--data-dir=data', '--agent-id=somebody-else']).ended
  t.equal(other.code, 78)
  t.match(other.stderr, new RegExp(`journal of agent ${first?.agentId}, not of somebody-else`))
  const same = await working(t, server, dir, [`--agent-id=${first?.agentId}`])
  t.equal(server.registrations.at(-1)?.agentId, first?.agentId)
  same.child.kill('SIGTERM')
  await same.ended
})

t.test('a journal that is damaged ends the process with exit code 74 and is left as it is', async (t) => {
  const dir = t.testdir({ data: {} })
  writeFileSync(
    join(dir, 'data', 'idempotency.db'),
    'this is no database, and it is longer than a header of one would be, in every respect',
  )
  const { code, stderr } = await spawned(t, dir, ['--data-dir=data']).ended
  t.equal(code, 74)
  t.match(stderr, 'idempotency.db')
})

t.test('SIGTERM drains: what runs is finished and reported, then exit 0', async (t) => {
  const server = await fakeControlServer(t)
  server.script.sync = ({ held }) => (server.syncs.length === 1 && held.length === 0 ? { offers: [delay(1500)] } : {})
  const { child, ended } = await working(t, server, t.testdir())
  await server.synced('that shows it running', ({ held }) => held[0]?.phase === 'running')
  child.kill('SIGTERM')
  await server.synced('that says it is draining', ({ mode }) => mode === 'draining')
  const { code, signal } = await ended
  t.same({ code, signal }, { code: 0, signal: null })
  const { held } = await server.synced('with the outcome', ({ held }) => held[0]?.outcome !== undefined)
  t.match(held[0]?.outcome, { state: 'SUCCEEDED', result: { ok: true } })
})

t.test('SIGTERM while the server is gone ends within the grace', async (t) => {
  const server = await fakeControlServer(t)
  const { child, ended, output } = await working(t, server, t.testdir(), ['--drain-ms=500'])
  server.script.sync = () => html(502)
  await until('it notices', () => output.stdout.includes('no answer'))
  const beganMs = performance.now()
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
  t.ok(performance.now() - beganMs < 5000)
})

t.test('a second SIGTERM stops at once, also while a call to the server hangs', async (t) => {
  const server = await fakeControlServer(t)
  const dir = t.testdir()
  server.script.sync = ({ held }) => (server.syncs.length === 1 && held.length === 0 ? { offers: [delay(8000)] } : {})
  const { child, ended, output } = await working(t, server, dir, ['--drain-ms=60000'])
  await server.synced('that shows it running', ({ held }) => held[0]?.phase === 'running')
  server.script.sync = () => NEVER
  child.kill('SIGTERM')
  await until('it drains', () => output.stdout.includes('draining'))
  const count = server.syncs.length
  await until('a sync hangs', () => server.syncs.length >= count)
  const beganMs = performance.now()
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
  t.ok(performance.now() - beganMs < 4000)

  server.script.sync = () => ({})
  await working(t, server, dir)
  await server.synced(
    'of the next life, that shows it still running',
    ({ held, incarnation }) => incarnation === 2 && held[0]?.phase === 'running',
  )
})

t.test('a newer process of the same agent, or no common protocol, has an exit code of its own', async (t) => {
  const superseding = await fakeControlServer(t)
  superseding.script.sync = () => refusal(409, 'INCARNATION_SUPERSEDED')
  const superseded = await working(t, superseding, t.testdir())
  t.equal((await superseded.ended).code, 75)

  const server = await fakeControlServer(t)
  server.script.register = () => refusal(426, 'PROTOCOL_UNSUPPORTED')
  const { code, stdout } = await ended(t, [`--server-url=${server.url}`, '--data-dir=data'])
  t.equal(code, 78)
  t.match(stdout, 'refused: PROTOCOL_UNSUPPORTED', 'with the words of the server')
})

t.test('killed at a crash point, it does in its next life what the journal says', async (t) => {
  const server = await fakeControlServer(t)
  const dir = t.testdir()
  server.script.sync = ({ held }) =>
    server.syncs.length === 1 && held.length === 0
      ? { offers: [offer('c1.1', { payload: { url: `${server.url}/effect` } })] }
      : {}
  const first = await working(t, server, dir, ['--crash-at=start.after-commit'])
  t.equal((await first.ended).signal, 'SIGKILL')
  const second = await working(t, server, dir)
  const { held } = await server.synced('of the next life', ({ incarnation }) => incarnation === 2)
  t.match(held, [{ attemptId: 'c1.1', phase: 'interrupted', outcome: { state: 'INTERRUPTED' } }])
  second.child.kill('SIGTERM')
  t.equal((await second.ended).code, 0)
})
