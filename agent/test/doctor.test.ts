import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PROTOCOL } from '@agent-executor/protocol'
import t from 'tap'
import { type Examined, examine, findingText, isFit, type Probes } from '../src/doctor.ts'

const well: Probes = {
  docker: {
    version: async () => ({ engine: '27.1', api: '1.46' }),
    imageId: async (image) => (image.startsWith('gone') ? null : 'sha256:1'),
    hasRuntime: async (name) => name === 'runsc',
  },
  health: async () => ({ version: '0.1.0', protocol: { ...PROTOCOL } }),
  openJournal: () => ({ agentId: 'a' }),
  engines: async () => [
    { name: 'shell', image: null, providers: [] },
    { name: 'codex', image: 'codex:1', providers: ['openai'] },
    { name: 'own', image: 'gone/own:1', providers: [] },
  ],
}
const examined = (dataDir: string): Examined => ({
  ...{ dataDir, serverUrl: 'http://localhost:3000', slots: 2, dockerSocket: '/var/run/docker.sock' },
  ...{ images: ['debian:bookworm-slim'], runtime: '', hasGateway: false },
})
const states = async (examined: Examined, probes: Probes) =>
  Object.fromEntries((await examine(examined, probes)).map(({ what, state }) => [what, state]))

t.test('where everything is there, everything is ok, and an agent can work', async (t) => {
  const engines = async () => [{ name: 'codex', image: 'codex:1', providers: ['openai'] }]
  const findings = await examine({ ...examined(t.testdir()), runtime: 'runsc', hasGateway: true }, { ...well, engines })
  t.same(
    findings.map(({ what, state }) => `${what}: ${state}`),
    [
      ...['data folder: ok', 'journal: ok', 'control server: ok', 'docker: ok', 'image: ok', 'runtime: ok'],
      ...['gateway: ok', 'engine: ok'],
    ],
  )
  t.equal(isFit(findings), true)
  t.match(findingText(findings), /^ok {7}docker {11}27\.1, API 1\.46, at \/var\/run\/docker\.sock$/m)
})

t.test('a data folder that is not there yet is made where it can be', async (t) => {
  const dir = t.testdir()
  t.match(await states(examined(join(dir, 'a/b/c')), well), { 'data folder': 'ok' })
  writeFileSync(join(dir, 'file'), '')
  t.match(await states(examined(join(dir, 'file/data')), well), { 'data folder': 'failed' })
  mkdirSync(join(dir, 'here'))
  t.match(await states(examined(join(dir, 'here')), well), { 'data folder': 'ok' })
})

t.test('a journal that an agent has open is not a fault, one that cannot be read is', async (t) => {
  const throwing = (message: string): Probes => ({
    ...well,
    openJournal() {
      throw new Error(message)
    },
  })
  t.match(await states(examined(t.testdir()), throwing('idempotency.db is in use by another process')), {
    journal: 'missing',
  })
  t.match(await states(examined(t.testdir()), throwing('file is not a database')), { journal: 'failed' })
})

t.test('a server that is away, is none, or speaks another protocol is a fault', async (t) => {
  const answering = (health: Probes['health']) => states(examined(t.testdir()), { ...well, health })
  const failed = { 'control server': 'failed' }
  const gone = async () => Promise.reject(new Error('fetch failed', { cause: new Error('ECONNREFUSED') }))
  t.match(await answering(gone), failed)
  t.match(findingText(await examine(examined(t.testdir()), { ...well, health: gone })), 'ECONNREFUSED')
  t.match(await answering(async () => ({ hello: 'world' })), failed)
  const newer = PROTOCOL.max + 1
  t.match(await answering(async () => ({ version: '9', protocol: { min: newer, max: newer } })), failed)
})

t.test('without Docker, an image or a runtime an agent works, and is said to offer less', async (t) => {
  const gone: Probes['docker'] = {
    ...well.docker,
    async version() {
      throw new Error('connect ENOENT')
    },
  }
  const without = await examine(examined(t.testdir()), { ...well, docker: gone })
  t.equal(isFit(without), true)
  t.match(findingText(without), /^missing {2}docker .*connect ENOENT.*not offered$/m)
  t.match(await states({ ...examined(t.testdir()), images: ['gone:1'], runtime: 'kata' }, well), {
    image: 'missing',
    runtime: 'missing',
  })
  t.match(await states({ ...examined(t.testdir()), slots: 0 }, { ...well, docker: gone }), { docker: 'missing' })
})

t.test("an image without a tag of somebody's choice is pointed out", async (t) => {
  const said = async (image: string) => findingText(await examine({ ...examined(t.testdir()), images: [image] }, well))
  for (const image of ['debian', 'debian:latest', 'registry:5000/debian', 'a/b:latest'])
    t.match(await said(image), 'may come to mean another', image)
  for (const image of ['debian:12', 'registry:5000/debian:12', `debian@sha256:${'0'.repeat(64)}`])
    t.notMatch(await said(image), 'may come to mean another', image)
})

t.test('engines are named with their images, those with a model where there is a gateway', async (t) => {
  const told = async (change: Partial<Examined>, probes: Partial<Probes> = {}) =>
    findingText(await examine({ ...examined(t.testdir()), ...change }, { ...well, ...probes }))
  const without = await told({})
  t.match(without, /^missing {2}gateway .*no key of a provider/m)
  t.match(without, /^missing {2}engine .*own: gone\/own:1 is not there/m)
  t.notMatch(without, 'codex')
  t.match(await told({ hasGateway: true }), /^ok {7}engine {11}codex, in codex:1$/m)
  const refused = async () => Promise.reject(new Error('connect ECONNREFUSED'))
  t.match(await told({ hasGateway: true }, { gateway: refused }), /^missing {2}gateway .*ECONNREFUSED/m)
  t.match(await told({ hasGateway: true }, { gateway: async () => {} }), /^ok {7}gateway .*GATEWAY_SOCKET/m)
  t.notMatch(await told({}, { engines: refused }), /engine {11}/, 'a server that is away has told of itself')
})
