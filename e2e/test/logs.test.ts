// Live logs through real processes and the real Docker: whoever is killed in the middle, what arrives is what was written.
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createApi, type Json } from '../src/api.ts'
import { containersOf, needsDocker, removeContainersOf } from '../src/docker.ts'
import { freePort, startDockerAgent, startServer } from '../src/processes.ts'

const shell = (prompt: string): Json => ({
  type: 'RUN_AGENT',
  payload: { engine: 'shell', prompt, resources: { memoryBytes: 64 * 2 ** 20 } },
})
const sha256 = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex')

type Stream = { stream: string; bytes: number; end: { sha256: string; complete: boolean } | null }
type Logs = { state: string; streams: Stream[] }

let ids = 0

const world = async (t: Test) => {
  const port = await freePort()
  const dir = t.testdir()
  const agentId = `e2e-logs-${process.pid}-${++ids}`
  const api = createApi(port)
  const server = async () => {
    const started = await startServer(`${dir}/server`, port)
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
  const logs = (commandId: string): Promise<Logs> =>
    api.patiently('logs', async () => {
      const { status, body } = await api.call('GET', `/commands/${commandId}/logs?offset=999999999`)
      if (status !== 200) throw new Error(`logs answered ${status}`)
      return body as unknown as Logs
    })
  const ended = async (commandId: string): Promise<Logs> => {
    await api.eventually('the log has ended', async () => (await logs(commandId)).state !== 'open', 60_000)
    return logs(commandId)
  }
  /** All of stdout, as text. */
  const text = async (commandId: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${port}/commands/${commandId}/logs?stream=stdout`, {
      headers: { accept: 'text/plain' },
    })
    return response.text()
  }
  return { port, agentId, api, server, agent, logs, ended, text }
}

/** Follows as a browser would: comes back with the id of the last event whenever the connection breaks. */
const followed = async (port: number, commandId: string): Promise<string> => {
  let text = ''
  let id = ''
  for (;;)
    try {
      const response = await fetch(`http://127.0.0.1:${port}/commands/${commandId}/logs?follow=1&stream=stdout`, {
        headers: id === '' ? {} : { 'last-event-id': id },
      })
      if (response.status !== 200 || response.body === null) throw new Error(`status ${response.status}`)
      let rest = ''
      for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
        const blocks = (rest + bytes).split('\n\n')
        rest = blocks.pop() ?? ''
        for (const block of blocks) {
          const data = /^data: (.*)$/m.exec(block)?.[1]
          if (data === undefined) continue
          id = /^id: (.*)$/m.exec(block)?.[1] ?? id
          if (block.includes('event: end')) return text
          text += (JSON.parse(data) as { text: string }).text
        }
      }
    } catch {
      await sleep(50)
    }
}

const LINES = 300
const slowly = `i=0; while [ $i -lt ${LINES} ]; do echo "line $i of the log"; i=$((i+1)); sleep 0.02; done; echo oops >&2`
const slowText = Array.from({ length: LINES }, (_, index) => `line ${index} of the log\n`).join('')

t.test('the agent is killed again and again while its container writes: the log is whole', needsDocker, async (t) => {
  const { port, api, server, agent, agentId, ended, text } = await world(t)
  await server()
  let running = agent()
  const { commandId } = await api.submit(shell(slowly), 'k')
  const following = followed(port, commandId)
  await api.eventually('it runs', async () => (await containersOf(agentId))[0]?.State === 'running')
  for (const ms of [700, 1200, 900]) {
    await sleep(ms)
    await running.kill()
    running = agent()
  }
  t.match(await api.final(commandId, 60_000), { status: 'COMPLETED' })
  const { state, streams } = await ended(commandId)
  t.equal(await text(commandId), slowText)
  t.equal(await following, slowText, 'a follower has seen each byte once')
  t.match(streams, [
    { stream: 'stdout', bytes: slowText.length, end: { sha256: sha256(slowText), complete: true } },
    { stream: 'stderr', bytes: 5, end: { sha256: sha256('oops\n'), complete: true } },
  ])
  t.equal(state, 'complete')
})

t.test('the server is killed in the middle of uploads: the hash is right afterwards', needsDocker, async (t) => {
  const { port, api, server, agent, ended } = await world(t)
  let running = await server()
  agent(['--log-stream-bytes-max', String(32 * 2 ** 20)])
  const size = 12_000_000
  const line = '0123456789abcde\n'
  // In a few seconds, so that kills hit it; the last three megabytes are one line.
  const prompt = `i=0; while [ $i -lt 9 ]; do yes 0123456789abcde | head -c 1000000; i=$((i+1)); sleep 0.3; done; head -c ${size - 9_000_000} /dev/zero | tr '\\0' x`
  const expected =
    line
      .repeat(1_000_000 / 16)
      .slice(0, 1_000_000)
      .repeat(9) + 'x'.repeat(size - 9_000_000)
  const { commandId } = await api.submit(shell(prompt), 'k')
  const following = followed(port, commandId)
  await api.until(commandId, ({ status }) => status === 'RUNNING')
  for (const ms of [900, 400, 700]) {
    await sleep(ms)
    await running.kill()
    running = await server()
  }
  t.match(await api.final(commandId, 60_000), { status: 'COMPLETED' })
  const { streams } = await ended(commandId)
  t.match(streams[0], { bytes: size, end: { sha256: sha256(expected), complete: true } })
  t.equal(sha256(await following), sha256(expected), 'followed through it all')
})

t.test(
  'a flood: the beginning and the end, the outcome at once, and an agent that stays small',
  needsDocker,
  async (t) => {
    const { api, server, agent, agentId, ended, text } = await world(t)
    await server()
    agent(['--log-stream-bytes-max', String(2 ** 20)])
    const { commandId } = await api.submit(shell('yes 0123456789abcde | head -c 300000000; echo the last words'), 'k')
    const command = await api.final(commandId, 120_000)
    t.match(command, { status: 'COMPLETED', result: { stdout: { bytes: 300_000_015, truncated: true } } })
    const { state, streams } = await ended(commandId)
    t.equal(state, 'cut')
    t.ok((streams[0]?.bytes ?? 0) < 2 ** 20 + 200_000)
    const log = await text(commandId)
    t.match(log, /\n\[\.\.\. 29\d{7} bytes left out \.\.\.\]\n/)
    t.ok(log.startsWith('0123456789abcde\n') && log.endsWith('the last words\n'))
    await api.eventually('the container is removed', async () => (await containersOf(agentId)).length === 0)
  },
)

t.test('binary and secrets: the bytes are there, the secrets are not, also in the result', needsDocker, async (t) => {
  const { api, port, server, agent, ended } = await world(t)
  await server()
  agent(['--log-redact', 'hunter2-token,other-secret'])
  const prompt = String.raw`printf '\000\377\001a hunter2-'; sleep 0.3; printf 'token b other-secret\n'; printf 'hunter2-tok' >&2`
  const { commandId } = await api.submit(shell(prompt), 'k')
  t.match(await api.final(commandId), { result: { stdout: { text: /a \[redacted\] b \[redacted\]\n$/ } } })
  t.equal((await ended(commandId)).state, 'complete')
  const response = await fetch(`http://127.0.0.1:${port}/commands/${commandId}/logs?encoding=base64`)
  const [stdout, stderr] = ((await response.json()) as { streams: { base64: string }[] }).streams
  t.same(
    Buffer.from(stdout?.base64 ?? '', 'base64'),
    Buffer.concat([Buffer.from([0, 255, 1]), Buffer.from('a [redacted] b [redacted]\n')]),
  )
  t.equal(Buffer.from(stderr?.base64 ?? '', 'base64').toString(), 'hunter2-tok')
})

t.test('an attempt of which nothing ran has an empty, whole log', needsDocker, async (t) => {
  const { api, server, agent, ended } = await world(t)
  await server()
  agent()
  const { commandId } = await api.submit(
    { type: 'RUN_AGENT', payload: { engine: 'shell', prompt: 'true', image: 'no-such/image' } },
    'k',
  )
  t.match(await api.final(commandId), { status: 'FAILED', error: { code: 'IMAGE_REFUSED' } })
  t.match(await ended(commandId), { state: 'complete', streams: [{ bytes: 0 }, { bytes: 0 }] })
})
