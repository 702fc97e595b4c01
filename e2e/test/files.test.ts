// Files through real processes and the real Docker: whoever is killed, what comes out is what went in, once, and nothing
// is left lying about.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createApi, type Json } from '../src/api.ts'
import { containersOf, countStarts, needsDocker, removeContainersOf } from '../src/docker.ts'
import { freePort, startDockerAgent, startServer } from '../src/processes.ts'

const MIB = 2 ** 20
const sha256 = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex')

const shell = (prompt: string, payload: Json = {}, more: Json = {}): Json => ({
  type: 'RUN_AGENT',
  payload: { engine: 'shell', prompt, resources: { memoryBytes: 256 * MIB }, ...payload },
  ...more,
})

type Listed = { name: string; bytes: number; sha256: string; state: string }

const filesBelow = (dir: string): string[] =>
  existsSync(dir)
    ? readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((each) => each.isFile())
        .map(({ name }) => name)
        .sort()
    : []

let ids = 0

const world = async (t: Test) => {
  const port = await freePort()
  const dir = t.testdir()
  const agentId = `e2e-files-${process.pid}-${++ids}`
  const api = createApi(port)
  const url = `http://127.0.0.1:${port}`
  const server = async (flags: readonly string[] = []) => {
    const started = await startServer(`${dir}/server`, port, flags)
    t.teardown(started.kill)
    return started
  }
  const agent = (flags: readonly string[] = []) => {
    const started = startDockerAgent(`${dir}/agent`, port, ['--agent-id', agentId, ...flags])
    t.teardown(async () => {
      await started.kill()
      await removeContainersOf(agentId)
    })
    return started
  }
  const list = (commandId: string): Promise<Listed[]> =>
    api.patiently('list', async () => {
      const { status, body } = await api.call('GET', `/commands/${commandId}/artifacts`)
      if (status !== 200) throw new Error(`artifacts answered ${status}`)
      return body.artifacts as Listed[]
    })
  const stored = async (commandId: string, count: number): Promise<Listed[]> => {
    const isStored = async () => {
      const artifacts = await list(commandId)
      return artifacts.length === count && artifacts.every(({ state }) => state === 'stored')
    }
    await api.eventually(`${count} files are there`, isStored, 60_000)
    return list(commandId)
  }
  const download = async (commandId: string, name: string): Promise<Buffer> => {
    const response = await fetch(`${url}/commands/${commandId}/artifacts/${name}`)
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
    return Buffer.from(await response.arrayBuffer())
  }
  const upload = async (content: Buffer): Promise<{ status: number; body: Json }> => {
    const response = await fetch(`${url}/uploads`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: new Uint8Array(content),
    })
    return { status: response.status, body: (await response.json()) as Json }
  }
  /** That the agent has brought everything, and has nothing more of it. */
  const isClean = async (t: Test) => {
    const left = () => [...filesBelow(`${dir}/agent/artifacts`), ...filesBelow(`${dir}/agent/inputs`)]
    await api.eventually('the agent has nothing left', () => left().length === 0, 60_000)
    await api.eventually('the container is removed', async () => (await containersOf(agentId)).length === 0, 60_000)
    t.same(left(), [])
  }
  const blobs = () => filesBelow(join(dir, 'server', 'blobs'))
  return { port, agentId, api, server, agent, list, stored, download, upload, isClean, blobs }
}

t.test('a file goes up, into a run, and comes back as an artifact, byte for byte', needsDocker, async (t) => {
  const { api, server, agent, upload, stored, download, isClean, blobs } = await world(t)
  await server()
  agent()
  const content = randomBytes(20 * MIB)
  const { status, body } = await upload(content)
  t.same([status, body.sha256, body.bytes], [201, sha256(content), content.length])
  const prompt = 'cp in/file /output/copy; printf hello > report.md; printf no > report.txt'
  const payload = { files: [{ path: 'in/file', upload: body.sha256 }], artifacts: ['/output/**', '*.md'] }
  const { commandId } = await api.submit(shell(prompt, payload), 'k')
  const named = [
    { name: 'output/copy', bytes: content.length, sha256: sha256(content) },
    { name: 'workspace/report.md', bytes: 5, sha256: sha256('hello') },
  ]
  const command = await api.final(commandId)
  t.match(command, { status: 'COMPLETED' })
  const artifacts = (command.result as { artifacts: Listed[] }).artifacts
  t.same(
    [...artifacts].sort((a, b) => (a.name < b.name ? -1 : 1)),
    named,
  )
  t.same(
    await stored(commandId, 2),
    named.map((each) => ({ ...each, state: 'stored' })),
  )
  t.ok((await download(commandId, 'output/copy')).equals(content))
  t.equal((await download(commandId, 'workspace/report.md')).toString(), 'hello')
  t.same(blobs(), [sha256(content), sha256('hello')].sort(), 'the same content is kept once')
  await isClean(t)
})

const LARGE = 3 * MIB
/** Random bytes that the test does not know, and a small file that it does. */
const leaving = `head -c ${LARGE} /dev/urandom > /output/large; sha256sum < /output/large; printf small > /output/small; sleep 0.3`

const POINTS = [
  'container.started',
  'container.exited',
  'artifacts.half-stored',
  'artifacts.stored',
  'effect.done',
  'finish.after-commit',
  'ack.before-commit',
  'ack.after-commit',
]

t.test(
  'the agent is killed before, while and after it collects: each file comes once and whole',
  needsDocker,
  async (t) => {
    for (const point of POINTS)
      await t.test(point, async (t) => {
        const { api, agentId, server, agent, stored, download, isClean, blobs } = await world(t)
        await server()
        const counted = await countStarts(agentId)
        t.teardown(counted.stop)
        const crashing = agent(['--crash-at', point])
        const { commandId } = await api.submit(shell(leaving), point)
        t.equal((await crashing.ended).signal, 'SIGKILL')
        agent()
        const command = await api.final(commandId, 60_000)
        t.match(command, { status: 'COMPLETED', result: { artifacts: { length: 2 } } })
        const [large, small] = await stored(commandId, 2)
        t.match(small, { name: 'output/small', bytes: 5 })
        t.ok((command.result as { stdout: { text: string } }).stdout.text.startsWith(large?.sha256 ?? '-'))
        t.equal(sha256(await download(commandId, 'output/large')), large?.sha256)
        t.equal(counted.starts(), 1)
        t.equal(blobs().length, 2)
        await isClean(t)
      })
  },
)

t.test('the agent is killed again and again while it uploads', needsDocker, async (t) => {
  const { api, server, agent, stored, download, isClean, blobs } = await world(t)
  await server()
  let running = agent()
  const prompt =
    'for i in 1 2 3 4 5 6 7 8; do head -c 4000000 /dev/urandom > /output/$i; done; cat /output/* | sha256sum'
  const { commandId } = await api.submit(shell(prompt), 'k')
  const command = await api.final(commandId)
  for (let kill = 0; kill < 4; kill++) {
    await sleep(150)
    await running.kill()
    running = agent()
  }
  const artifacts = await stored(commandId, 8)
  const all = await Promise.all(artifacts.map(({ name }) => download(commandId, name)))
  t.ok((command.result as { stdout: { text: string } }).stdout.text.startsWith(sha256(Buffer.concat(all))))
  t.equal(blobs().length, 8)
  await isClean(t)
})

t.test(
  'the server is killed in the middle of uploads, and at its points: everything is there',
  needsDocker,
  async (t) => {
    const { api, server, agent, stored, download, isClean, blobs } = await world(t)
    let running = await server(['--crash-at', 'files.before-commit:2'])
    agent()
    const prompt = 'for i in 1 2 3 4 5 6; do head -c 6000000 /dev/urandom > /output/$i; done; cat /output/* | sha256sum'
    const { commandId } = await api.submit(shell(prompt), 'k')
    t.equal((await running.ended).signal, 'SIGKILL')
    running = await server(['--crash-at', 'files.after-commit:1'])
    t.equal((await running.ended).signal, 'SIGKILL')
    running = await server()
    const command = await api.final(commandId, 60_000)
    for (let kill = 0; kill < 3; kill++) {
      await sleep(100)
      await running.kill()
      running = await server()
    }
    const artifacts = await stored(commandId, 6)
    const all = await Promise.all(artifacts.map(({ name }) => download(commandId, name)))
    t.ok((command.result as { stdout: { text: string } }).stdout.text.startsWith(sha256(Buffer.concat(all))))
    await running.kill()
    running = await server()
    t.same(blobs(), artifacts.map((each) => each.sha256).sort(), 'no orphan, no part')
    await isClean(t)
  },
)

t.test('the server is killed in the middle of POST /uploads: nothing is left, and it can be repeated', async (t) => {
  const { port, server, upload, blobs } = await world(t)
  let running = await server()
  const half = request({
    ...{ port, host: '127.0.0.1', method: 'POST', path: '/uploads' },
    headers: { 'content-type': 'application/octet-stream', 'content-length': 1_000_000 },
  })
  half.on('error', () => {})
  half.write(Buffer.alloc(500_000))
  for (let left = 100; left > 0 && blobs().length === 0; left--) await sleep(20)
  t.equal(blobs().length, 1, 'a part')
  await running.kill()
  running = await server(['--crash-at', 'files.before-commit'])
  t.same(blobs(), [])
  await t.rejects(upload(Buffer.from('content')))
  t.equal((await running.ended).signal, 'SIGKILL')
  t.same(blobs(), [sha256('content')], 'a file without a row')
  running = await server(['--crash-at', 'files.after-commit'])
  t.same(blobs(), [], 'and none any more')
  await t.rejects(upload(Buffer.from('content')))
  t.equal((await running.ended).signal, 'SIGKILL')
  await server()
  t.same(blobs(), [sha256('content')], 'with a row it stays')
  t.equal((await upload(Buffer.from('content'))).status, 201)
})

t.test('an agent that fetches waits for its server, and is killed meanwhile', needsDocker, async (t) => {
  const { api, agentId, server, agent, upload, isClean } = await world(t)
  let running = await server()
  const content = randomBytes(8 * MIB)
  const { body } = await upload(content)
  const { commandId } = await api.submit(
    shell('sha256sum < file', { files: [{ path: 'file', upload: body.sha256 }] }),
    'k',
  )
  const counted = await countStarts(agentId)
  t.teardown(counted.stop)
  const first = agent(['--crash-at', 'container.created'])
  await sleep(300)
  await running.kill()
  running = await server()
  t.equal((await first.ended).signal, 'SIGKILL')
  agent()
  t.match(await api.final(commandId, 60_000), {
    status: 'COMPLETED',
    result: { stdout: { text: `${sha256(content)}  -\n` } },
  })
  t.equal(counted.starts(), 1)
  await isClean(t)
})

t.test('a retry keeps the files of each attempt', needsDocker, async (t) => {
  const { api, server, agent, stored, isClean } = await world(t)
  await server()
  agent()
  const prompt = 'echo "$(cat /proc/sys/kernel/random/uuid)" > /output/f; exit 3'
  const retry = { maxAttempts: 2, retryOn: ['EXIT_NONZERO'], backoff: { initialMs: 0 } }
  const { commandId } = await api.submit(shell(prompt, {}, { retry }), 'k')
  t.match(await api.final(commandId), { status: 'FAILED', attempts: { length: 2 } })
  const [second] = await stored(commandId, 1)
  const first = async () =>
    (await api.call('GET', `/commands/${commandId}/artifacts?attempt=1`)).body.artifacts as Listed[]
  await api.eventually('those of the first too', async () => (await first())[0]?.state === 'stored')
  t.not((await first())[0]?.sha256, second?.sha256)
  await isClean(t)
})
