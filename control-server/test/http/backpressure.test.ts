/** What happens when more is submitted than is worked off: a full queue, and submissions that pile up before the disk. */
import { createConnection } from 'node:net'
import type { CommandRecord } from '@agent-executor/protocol'
import t from 'tap'
import { commandOf } from '../../src/lifecycle/submission.ts'
import { openSqliteStore } from '../../src/store/sqlite-store.ts'
import { policy } from '../lifecycle/builders.ts'
import { type Answer, isApiError, raw, type Server, startServer } from './harness.ts'

const body = { type: 'DELAY', payload: { ms: 1 } }
const submit = (server: Server, key?: string): Promise<Answer> =>
  server.call('POST', '/commands', body, key === undefined ? {} : { 'idempotency-key': key })
const statuses = (answers: Answer[]) => answers.map(({ status }) => status)
const take = async ({ call }: Server) => (await call('GET', '/commands/next?agentId=a')).body as CommandRecord

t.test('a flood is taken up to the limit, exactly, and the rest is told when to come again', async (t) => {
  const server = await startServer(t, { queueMax: 20 })
  const flood = Array.from({ length: 200 }, () => submit(server))
  const others = await Promise.all([
    server.call('GET', '/health'),
    server.call('GET', '/commands?limit=1'),
    server.call('GET', '/commands/next?agentId=b'),
  ])
  t.notOk(
    statuses(others).some((status) => status >= 400),
    'everything else is answered',
  )
  const answers = await Promise.all(flood)
  const taken = await server.countCommands()
  const running = statuses(others)[2] === 200 ? 1 : 0
  t.equal(taken, 20 + running)
  t.equal(answers.filter(({ status }) => status === 201).length, taken)
  for (const answer of answers.filter(({ status }) => status !== 201).slice(0, 3)) {
    isApiError(t, answer, 'QUEUE_FULL')
    t.match(answer.headers.get('retry-after'), /^[1-9]\d*$/)
  }
})

t.test('what ends or starts makes room for as many, and a retry that waits again takes it', async (t) => {
  const server = await startServer(t, { queueMax: 2 })
  const first = await server.submit({ retry: { maxAttempts: 2, backoff: { initialMs: 1, maxMs: 1 } } })
  await server.submit()
  isApiError(t, await submit(server), 'QUEUE_FULL')
  t.equal((await take(server)).commandId, first.commandId)
  const third = (await submit(server)).body as CommandRecord
  isApiError(t, await submit(server), 'QUEUE_FULL')
  t.equal((await server.call('DELETE', `/commands/${third.commandId}`)).status, 200)
  t.equal((await submit(server)).status, 201)
  isApiError(t, await submit(server), 'QUEUE_FULL')
  const error = { message: 'again', retryable: true }
  await server.call('PUT', `/commands/${first.commandId}/result`, { agentId: 'a', error })
  t.equal((await server.record(first.commandId)).status, 'PENDING', 'beyond the limit: only submissions are refused')
  await take(server)
  isApiError(t, await submit(server), 'QUEUE_FULL')
  await take(server)
  t.equal((await submit(server)).status, 201)
})

t.test('a replay is answered though the queue is full, and a refused submission leaves its key free', async (t) => {
  const server = await startServer(t, { queueMax: 1 })
  const first = await submit(server, 'first')
  t.equal(first.status, 201)
  isApiError(t, await submit(server, 'second'), 'QUEUE_FULL')
  t.match(await submit(server, 'first'), { status: 201, body: { commandId: (first.body as CommandRecord).commandId } })
  await take(server)
  const second = await submit(server, 'second')
  t.match([second.status, second.headers.get('idempotent-replayed')], [201, null])
})

t.test('a submission without a key is refused by its headers: its body need not come', async (t) => {
  const server = await startServer(t, { queueMax: 1 })
  await submit(server)
  const head = 'POST /commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000'
  isApiError(t, await raw(server.port, `${head}\r\nConnection: close\r\n\r\n`), 'QUEUE_FULL')
})

t.test('the limit is exact after a restart, and after a transaction that came to nothing', async (t) => {
  const file = `${t.testdir()}/commands.db`
  let isFailing = false
  const open = () =>
    openSqliteStore({
      file,
      policy,
      nowMs: 0,
      newEpoch: '00000000-0000',
      queueMax: 3,
      crashPoint: (name) => {
        if (isFailing && name === 'submit.before-commit') throw new Error('not this one')
      },
      onFatal: (error) => {
        throw error
      },
    })
  const commandAt = (index: number) => commandOf({ type: 'DELAY', payload: { ms: 1 } }, `a${index}`, index)
  const first = open()
  await first.submit(commandAt(1), null)
  isFailing = true
  await t.rejects(first.submit(commandAt(2), null), 'not this one')
  isFailing = false
  t.match(await first.submit(commandAt(3), null), { outcome: 'created' })
  await first.close()
  const second = open()
  t.match(await second.submit(commandAt(4), null), { outcome: 'created' })
  t.match(await second.submit(commandAt(5), null), { outcome: 'full' })
  await second.close()
})

t.test(
  'submissions whose bodies are more than the server has memory for are refused, and nothing else is',
  async (t) => {
    const server = await startServer(t, { limits: { inFlightBytesMax: 100_000 } })
    const large = ' '.repeat(60_000) + JSON.stringify(body)
    // It says that 60,000 bytes come, and sends none.
    const held = createConnection({ port: server.port, host: '127.0.0.1' })
    const arrived = new Promise<void>((resolve) => server.app.server.once('request', () => resolve()))
    held.write('POST /commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n')
    held.write('Content-Length: 60000\r\n\r\n')
    await arrived
    const refused = await server.call('POST', '/commands', large)
    isApiError(t, refused, 'OVERLOADED')
    t.match(refused.headers.get('retry-after'), /^[1-9]\d*$/)
    t.equal((await submit(server)).status, 201, 'a small one still fits')
    t.equal((await server.call('PUT', '/commands/a/result', large)).status, 400, 'what agents send is looked at')
    held.destroy()
    let answer = refused
    while (answer.status === 503) answer = await server.call('POST', '/commands', large)
    t.equal(answer.status, 201, 'who is gone takes no place')
    for (let count = 0; count < 3; count += 1)
      t.equal((await server.call('POST', '/commands', large)).status, 201, 'nor does who was answered')
    isApiError(t, await server.call('POST', '/commands', ' '.repeat(2_000_000)), 'BODY_TOO_LARGE')
    t.equal((await submit(server)).status, 201)
  },
)
