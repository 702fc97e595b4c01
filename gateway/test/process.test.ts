// The gateway as a process: how it starts, what a crash leaves, how keys change, and how it ends.
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request as ask, type IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type FakeProvider, startFakeProvider } from './fixtures/fake-provider.ts'
import { call, type GatewayProcess, SESSION, startGateway } from './fixtures/gateway-process.ts'

const MESSAGE = { model: 'claude-sonnet-4-5', max_tokens: 2000, messages: [] }
const STREAM = { ...MESSAGE, stream: true }
const post = (body: object) => ({ method: 'POST', body })

const folder = (t: Test) => {
  const dir = mkdtempSync(join(tmpdir(), 'gateway-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
const providerFor = async (t: Test) => {
  const provider = await startFakeProvider()
  t.teardown(provider.close)
  return provider
}
const envOf = ({ url }: FakeProvider) => ({ ANTHROPIC_API_KEY: 'sk-a', ANTHROPIC_BASE_URL: url })
const until = async (isSo: () => boolean | Promise<boolean>) => {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10))
}

/** A stream that has begun. */
const begun = async (socketPath: string) => {
  const outgoing = ask({ socketPath, path: '/v1/messages', method: 'POST' })
  outgoing.on('error', () => {})
  outgoing.end(JSON.stringify(STREAM))
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  let text = ''
  const ended = new Promise<string>((resolve) => {
    response.on('data', (piece) => {
      text += piece
    })
    response.on('error', () => {}).once('close', () => resolve(text))
  })
  await once(response, 'data')
  return { outgoing, ended }
}
const usage = async (gateway: GatewayProcess, attemptId = 'c.1') =>
  (await gateway.control(`/sessions/${attemptId}/usage`)).json

t.test('kill -9 in the middle of a stream: spend is booked, and the attempt goes on in the same folder', async (t) => {
  const provider = await providerFor(t)
  const dir = folder(t)
  const first = await startGateway(t, { dir, env: envOf(provider) })
  const socketPath = await first.openSession('c.1', { limits: { costMicroUsd: 100_000 } })
  const { gatewayId } = (await first.control('/health')).json
  const { ino } = statSync(join(socketPath, '..'))
  t.match(
    await call(socketPath, '/v1/messages', post({ ...STREAM, max_tokens: 1e9, thinking: { budget_tokens: 1e8 } })),
    { status: 402 },
  )
  provider.behave({ pauseMs: 100 })
  await begun(socketPath)
  t.equal((await usage(first)).started, 1)
  first.child.kill('SIGKILL')
  t.match(await first.ended, { signal: 'SIGKILL' })
  await t.rejects(call(socketPath, '/v1/messages', post(MESSAGE)))

  provider.behave({})
  const second = await startGateway(t, { dir, env: envOf(provider) })
  t.equal((await second.control('/health')).json.gatewayId, gatewayId)
  const { calls, refusals, started } = await usage(second)
  t.match(calls, [{ state: 'unknown', status: null, usage: null, costMicroUsd: Number }])
  t.ok(calls[0].costMicroUsd >= 30_000 && calls[0].costMicroUsd < 100_000, '2000 tokens at 15 USD a million')
  t.same(refusals, [{ unit: 'costMicroUsd', scope: 'command', count: 1 }], 'why it may have failed is still known')
  t.equal(started, 0)
  t.same((await second.control('/usage?scope=command&id=c')).json.reserved.costMicroUsd, 0)
  t.equal(await second.openSession('c.1', { limits: { costMicroUsd: calls[0].costMicroUsd + 20_000 } }), socketPath)
  t.equal(statSync(join(socketPath, '..')).ino, ino, 'what is mounted in the sandbox is the same folder')
  t.match(await call(socketPath, '/v1/messages', post(MESSAGE)), { status: 200 })
  t.ok(Number(provider.heard.at(-1)?.body.max_tokens) < 2000, 'what was lost counts')
  t.match((await second.control('/calls?agentId=a')).json.attempts, [{ attemptId: 'c.1', calls: [{}, {}] }])
})

t.test('what is left of attempts that are over is removed at the start, and prices are still there', async (t) => {
  const provider = await providerFor(t)
  const dir = folder(t)
  const first = await startGateway(t, { dir, env: envOf(provider) })
  await first.openSession('c.1')
  const row = { provider: 'anthropic', model: 'own', effectiveFrom: '2026-01-01T00:00:00Z', input: 1, output: 1 }
  await first.control('/prices', { method: 'PUT', body: { prices: [row] } })
  first.child.kill('SIGKILL')
  await first.ended
  mkdirSync(join(dir, 'sockets', '0123456789abcdef'))
  t.equal(readdirSync(join(dir, 'sockets')).length, 2)
  const second = await startGateway(t, { dir, env: envOf(provider) })
  t.equal(readdirSync(join(dir, 'sockets')).length, 1, 'the other may come again')
  const path = await second.openSession('c.3', { limits: { costMicroUsd: 1e6 } })
  t.match(await call(path, '/v1/messages', post({ ...MESSAGE, model: 'own' })), { status: 200 })
})

t.test('the parent holds its input: signals are left to it, its end ends everything, booked', async (t) => {
  const provider = await providerFor(t)
  const dir = folder(t)
  const gateway = await startGateway(t, { dir, flags: ['--parent'], env: envOf(provider) })
  const socketPath = await gateway.openSession('c.1')
  provider.behave({ pauseMs: 100 })
  const { ended } = await begun(socketPath)
  gateway.child.kill('SIGTERM')
  gateway.child.kill('SIGINT')
  await until(() => (gateway.output().match(/left to the parent/g) ?? []).length === 2)
  t.equal((await usage(gateway)).started, 1, 'it goes on')
  gateway.child.stdin?.end()
  t.same(await gateway.ended, { code: 0, signal: null })
  t.notMatch(await ended, 'message_stop')
  const next = await startGateway(t, { dir, env: envOf(provider) })
  t.match((await usage(next)).calls, [{ state: 'estimated', status: 200, usage: { inputTokens: 100 } }])
})

t.test('alone it ends what is under way on SIGTERM, takes nothing new, and waits no longer than it may', async (t) => {
  const provider = await providerFor(t)
  const dir = folder(t)
  const first = await startGateway(t, { dir, env: envOf(provider) })
  const socketPath = await first.openSession('c.1')
  provider.behave({ pauseMs: 60 })
  const { ended } = await begun(socketPath)
  first.child.kill('SIGTERM')
  await until(() => first.output().includes('gateway stopping'))
  t.match(await call(socketPath, '/v1/messages', post(MESSAGE)), { status: 529 })
  t.match((await first.control('/sessions/c.2', { method: 'PUT', body: SESSION })).json, {
    ...{ statusCode: 503, code: 'SHUTTING_DOWN' },
  })
  t.match(await ended, 'message_stop')
  t.match(await first.ended, { code: 0 })
  const second = await startGateway(t, { dir, flags: ['--drain-ms', '100'], env: envOf(provider) })
  t.match((await usage(second)).calls, [{ state: 'settled' }])
  provider.behave({ pauseMs: 5000 })
  await begun(await second.openSession('c.1'))
  second.child.kill('SIGTERM')
  t.match(await second.ended, { code: 0 })
  const third = await startGateway(t, { dir, env: envOf(provider) })
  t.match((await usage(third)).calls, [{ state: 'settled' }, { state: 'estimated' }])
})

t.test('keys in files change while it runs, and one that is no key changes nothing', async (t) => {
  const provider = await providerFor(t)
  const dir = folder(t)
  const file = join(dir, 'key')
  writeFileSync(file, 'sk-first\n')
  const gateway = await startGateway(t, {
    env: {
      ANTHROPIC_AUTH_TOKEN_FILE: file,
      ANTHROPIC_BASE_URL: provider.url,
      OPENAI_API_KEY: 'sk-o',
      OPENAI_BASE_URL: `${provider.url}/v1`,
    },
  })
  const socketPath = await gateway.openSession('c.1')
  const used = async () => {
    t.match(await call(socketPath, '/v1/messages', post(MESSAGE)), { status: 200 })
    return provider.heard.at(-1)?.headers.authorization
  }
  t.equal(await used(), 'Bearer sk-first')
  writeFileSync(file, 'sk-secnd')
  t.equal(await used(), 'Bearer sk-secnd', 'as long as the one before')
  writeFileSync(`${file}.new`, 'sk-third')
  renameSync(`${file}.new`, file)
  t.equal(await used(), 'Bearer sk-third', 'another file of this name')
  for (const nothing of ['', 'two words', 'ümlaut'] as const) {
    writeFileSync(file, nothing)
    t.equal(await used(), 'Bearer sk-third')
  }
  rmSync(file)
  t.equal(await used(), 'Bearer sk-third')
  t.match(gateway.output(), 'could not be read, the one before stays')
  writeFileSync(file, 'sk-fourth')
  gateway.child.kill('SIGHUP')
  t.equal(await used(), 'Bearer sk-fourth')
  t.match(await call(socketPath, '/v1/responses', post({ model: 'gpt-5' })), { status: 200 })
  t.equal(provider.heard.at(-1)?.path, '/v1/responses', 'its base may end in /v1')
  t.notMatch(gateway.output(), /sk-|two words/)
})

t.test('a setting that is wrong ends it at once, and nothing shows a key', async (t) => {
  const dir = folder(t)
  writeFileSync(join(dir, 'empty'), '')
  const rows: [Record<string, string>, RegExp][] = [
    [{ OPENAI_API_KEY: 'sk-1', OPENAI_API_KEY_FILE: '/f' }, /OPENAI_API_KEY and OPENAI_API_KEY_FILE exclude/],
    [{ GATEWAY_MODEL_ALIASES: 'fast=a,fast=b' }, /fast is there twice/],
    [{ GATEWAY_SOCKET: join(dir, 'empty') }, /is there already, and no socket/],
  ]
  for (const [env, message] of rows) {
    const gateway = await startGateway(t, { env })
    t.match(await gateway.ended, { code: 78 }, JSON.stringify(env))
    t.match(gateway.output(), message)
    t.notMatch(gateway.output(), /sk-/)
  }
  const shown = await startGateway(t, { flags: ['--print-config'], env: { OPENAI_API_KEY: 'sk-secret' } })
  t.match(await shown.ended, { code: 0 })
  t.match(shown.output(), /"OPENAI_API_KEY": "\*\*\*"/)
  t.notMatch(shown.output(), /sk-/)
})

t.test('two of them never have one ledger or one socket', async (t) => {
  const dir = folder(t)
  await startGateway(t, { dir })
  const second = await startGateway(t, { dir })
  t.match(await second.ended, { code: 78 })
  t.match(second.output(), /is in use by another process/)
  const socket = join(folder(t), 's')
  const server = createServer().listen(socket)
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const third = await startGateway(t, { env: { GATEWAY_SOCKET: socket } })
  t.match(await third.ended, { code: 78 })
  t.match(third.output(), /another process listens/)
})

t.test('a folder may be as deep as it likes', async (t) => {
  const provider = await providerFor(t)
  const dir = join(folder(t), 'd'.repeat(100), 'd'.repeat(100))
  mkdirSync(dir, { recursive: true })
  const env = { ...envOf(provider), GATEWAY_SOCKET: join(folder(t), 's') }
  const gateway = await startGateway(t, { dir, env })
  const socketPath = await gateway.openSession('c.1')
  t.ok(socketPath.length > 200)
  const here = process.cwd()
  process.chdir(join(socketPath, '..'))
  t.match(await call('gateway.sock', '/v1/messages', post(MESSAGE)), { status: 200 })
  process.chdir(here)
  t.match(await gateway.control('/sessions/c.1', { method: 'DELETE' }), { status: 204 })
})

t.test(
  'fifty at once exceed no limit of command, profile, day or all by a micro-dollar, in a process with crashes',
  async (t) => {
    const provider = await providerFor(t)
    provider.behave((heard) => ({
      pauseMs: 1,
      told: { input: 15, cacheRead: 0, cacheWrite: 0, output: Number(heard.body.max_tokens), thoughts: 0 },
    }))
    const dir = folder(t)
    const env = { ...envOf(provider), GATEWAY_DAY_MICRO_USD_MAX: '400001', GATEWAY_TOTAL_MICRO_USD_MAX: '900000' }
    const limits = { limits: { costMicroUsd: 150_003 }, profile: 'p', profileLimits: { costMicroUsd: 250_007 } }
    const day = new Date().toISOString().slice(0, 10)
    for (let life = 0; life < 3; life++) {
      const gateway = await startGateway(t, { dir, env })
      const paths = await Promise.all(
        ['c', 'd', 'e'].map((commandId) =>
          gateway.openSession(`${commandId}.1`, { ...limits, commandId, ...(commandId === 'e' && { profile: null }) }),
        ),
      )
      const calls = Array.from({ length: 50 }, (_, index) =>
        call(paths[index % 3] ?? '', '/v1/messages', post({ ...STREAM, max_tokens: 1500 })).catch(() => null),
      )
      if (life < 2) {
        // What the life before had under way may have left nothing: then all are refused.
        let areOver = false
        void Promise.all(calls).then(() => {
          areOver = true
        })
        await until(() => areOver || provider.heard.length > 4 * (life + 1))
        gateway.child.kill('SIGKILL')
      }
      await Promise.all(calls)
      await (life < 2 ? gateway.ended : null)
      if (life < 2) continue
      const spent = async (query: string) => (await gateway.control(`/usage?${query}`)).json
      for (const [query, most] of [
        ['scope=command&id=c', 150_003],
        ['scope=command&id=d', 150_003],
        ['scope=command&id=e', 150_003],
        ['scope=profile&id=p', 250_007],
        [`scope=day&id=${day}`, 400_001],
        ['scope=global&id=', 900_000],
      ] as const) {
        const used = await spent(query)
        t.ok(used.spent.costMicroUsd <= most, `${query}: ${used.spent.costMicroUsd} of ${most}`)
        t.ok(used.spent.costMicroUsd > 0)
        t.equal(used.reserved.costMicroUsd, 0)
      }
      const all = await Promise.all(['c', 'd', 'e'].map((id) => usage(gateway, `${id}.1`)))
      const sum = all.reduce((total, { costMicroUsd }) => total + costMicroUsd, 0)
      t.equal(sum, (await spent('scope=global&id=')).spent.costMicroUsd, 'each micro-dollar is a call')
      t.match(JSON.stringify(all.map(({ refusals }) => refusals)), /"scope":"(profile|day|command)"/)
    }
  },
)

t.test('no key is in a file, an answer, an argument or the log', async (t) => {
  const provider = await providerFor(t)
  const dir = folder(t)
  const KEY = 'sk-ant-0123456789-a-very-secret-key'
  const gateway = await startGateway(t, {
    dir,
    flags: ['--log-level', 'trace'],
    env: { ...envOf(provider), ANTHROPIC_API_KEY: KEY },
  })
  const socketPath = await gateway.openSession('c.1')
  const answers = []
  for (const manners of [{}, { status: 401, message: KEY }, { cutAfter: 1 }]) {
    provider.behave(manners)
    answers.push(await call(socketPath, '/v1/messages', post(STREAM)).catch(String))
  }
  for (const path of ['/health', '/sessions/c.1/usage', '/calls?agentId=a', '/nothing'])
    answers.push(await gateway.control(path))
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  t.ok(files.length >= 2)
  for (const { parentPath, name } of files) t.notOk(readFileSync(join(parentPath, name)).includes(KEY), name)
  t.notMatch(JSON.stringify(answers) + gateway.output(), KEY)
  t.notMatch(readFileSync(`/proc/${gateway.child.pid}/cmdline`, 'utf8'), KEY)
})
