// Logs: what agents upload in any order, and what clients read and follow of it.
import { createHash } from 'node:crypto'
import { request } from 'node:http'
import type { CommandLogs } from '@agent-executor/protocol'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isApiError, type Server, startServer } from './harness.ts'
import { runningAgent } from './running-agent.ts'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const logsOf = async (server: Server, commandId: string, query = ''): Promise<CommandLogs> =>
  (await server.call('GET', `/commands/${commandId}/logs${query}`)).body as CommandLogs

type Event = { id: string; event: string; data: Record<string, unknown> }

/** Reads events until `isEnough`, or the end; then it hangs up. */
const follow = (
  server: Server,
  path: string,
  {
    headers = {},
    isEnough = () => false,
  }: { headers?: Record<string, string>; isEnough?: (events: Event[]) => boolean } = {},
): Promise<Event[]> =>
  new Promise((resolve, reject) => {
    const events: Event[] = []
    const asked = request(`http://127.0.0.1:${server.port}${path}`, { headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (more: string) => {
        text += more
        const blocks = text.split('\n\n')
        text = blocks.pop() ?? ''
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s).slice(0, 2)))
          if (fields.event) events.push({ id: fields.id, event: fields.event, data: JSON.parse(fields.data) })
        }
        if (isEnough(events)) {
          asked.destroy()
          resolve(events)
        }
      })
      response.on('end', () => resolve(events))
      response.on('error', () => resolve(events))
    })
    asked.on('error', (error) => (events.length > 0 ? resolve(events) : reject(error)))
    asked.setTimeout(15_000, () => asked.destroy(new Error('nothing came')))
    asked.end()
  })

const bytesIn = (events: readonly Event[], stream = 'stdout'): Buffer =>
  Buffer.concat(
    events
      .filter(({ event, data }) => event === 'chunk' && data.stream === stream)
      .map(({ data }) => Buffer.from(data.base64 as string, 'base64')),
  )

t.test('uploads in order are stored, and read back as they were', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  t.match(await agent.upload(0, 'hello '), { status: 202, body: { committed: 6 } })
  t.match(await agent.upload(6, 'wörld\n'), { status: 202, body: { committed: 13 } })
  t.match(await agent.upload(0, 'oops', 'stderr'), { status: 202, body: { committed: 4 } })
  t.same(await logsOf(server, agent.commandId), {
    commandId: agent.commandId,
    attempt: 1,
    state: 'open',
    streams: [
      { stream: 'stdout', bytes: 13, offset: 0, nextOffset: 13, text: 'hello wörld\n', end: null },
      { stream: 'stderr', bytes: 4, offset: 0, nextOffset: 4, text: 'oops', end: null },
    ],
  })
  t.match(await logsOf(server, agent.commandId, '?stream=stdout&offset=8&encoding=base64&attempt=1'), {
    streams: [{ offset: 8, nextOffset: 13, base64: Buffer.from('hello wörld\n').subarray(8).toString('base64') }],
  })
  const plain = await server.call('GET', `/commands/${agent.commandId}/logs`, undefined, { accept: 'text/plain' })
  t.equal(plain.headers.get('content-type'), 'text/plain; charset=utf-8')
  t.equal(plain.text, 'hello wörld\noops')
})

t.test('a character of which a part has come is not shown before the rest', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const text = Buffer.from('aü€😀')
  for (let length = 1; length <= text.length; length++) {
    await agent.upload(length - 1, text.subarray(length - 1, length))
    const [stdout] = (await logsOf(server, agent.commandId, '?stream=stdout')).streams
    t.notMatch(stdout?.text, '\uFFFD')
    t.ok(text.toString().startsWith(stdout?.text as string))
  }
  await agent.upload(text.length, Buffer.from([0xe2, 0x82]))
  t.match(await agent.end(Buffer.concat([text, Buffer.from([0xe2, 0x82])])), { status: 202 })
  const [ended] = (await logsOf(server, agent.commandId, '?stream=stdout')).streams
  t.equal(ended?.text, 'aü€😀\uFFFD', 'the end of it all is shown, whatever it is')
})

t.test('repeated, overlapping, out of order: the bytes are those of the stream, once each', async (t) => {
  const server = await startServer(t)
  let runs = 0
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 60 }),
      fc.array(fc.tuple(fc.nat(59), fc.integer({ min: 1, max: 30 })), { maxLength: 25 }),
      async (content, parts) => {
        const agent = await runningAgent(server, `box-p${++runs}`)
        let committed = 0
        for (const [from, length] of parts) {
          const part = content.subarray(from, from + length)
          if (part.length === 0) continue
          const answer = await agent.upload(from, part)
          const fits = from <= committed
          if (fits) committed = Math.max(committed, from + part.length)
          if (answer.status !== (fits ? 202 : 416)) return false
          if ((answer.body as { committed: number }).committed !== committed) return false
        }
        if (committed < content.length) await agent.upload(committed, content.subarray(committed))
        await agent.end(content)
        const { streams } = await logsOf(server, agent.commandId, '?encoding=base64&stream=stdout')
        return streams[0]?.base64 === Buffer.from(content).toString('base64') && streams[0]?.end?.complete === true
      },
    ),
    { numRuns: 40 },
  )
})

t.test('a gap is 416 with where to go on, in the body and in Content-Range', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await agent.upload(0, 'abc')
  const gap = await agent.upload(4, 'e')
  t.equal(isApiError(t, gap, 'LOG_GAP').committed, 3)
  t.equal(gap.headers.get('content-range'), 'bytes */3')
  isApiError(t, await agent.end('abcde'), 'LOG_GAP')
  t.match(await logsOf(server, agent.commandId, '?stream=stdout'), { streams: [{ text: 'abc', end: null }] })
})

t.test('the end says whether it is all', async (t) => {
  const server = await startServer(t)
  await t.test('complete, and told again', async (t) => {
    const agent = await runningAgent(server, 'box-complete')
    await agent.upload(0, 'abc')
    for (let again = 0; again < 2; again++) t.match(await agent.end('abc'), { status: 202, body: { committed: 3 } })
    t.match(await agent.end('', 'stderr'), { status: 202, body: { committed: 0 } })
    t.match(await logsOf(server, agent.commandId), {
      state: 'complete',
      streams: [
        { end: { bytes: 3, sha256: sha256(Buffer.from('abc')), complete: true } },
        { end: { bytes: 0, complete: true } },
      ],
    })
    t.match(await agent.upload(0, 'abc'), { status: 202, body: { committed: 3 } }, 'a late repetition')
    isApiError(t, await agent.upload(2, 'cd'), 'LOG_ENDED')
  })
  await t.test('cut, where the agent says so, or its bytes are others', async (t) => {
    const agent = await runningAgent(server, 'box-cut')
    await agent.upload(0, 'abc')
    await agent.upload(0, 'abc', 'stderr')
    await agent.end('abc', 'stdout', false)
    await agent.end('xyz', 'stderr')
    t.match(await logsOf(server, agent.commandId), {
      state: 'cut',
      streams: [{ end: { complete: false } }, { end: { complete: false, sha256: sha256(Buffer.from('abc')) } }],
    })
  })
  await t.test('cut, where nobody has ended it long after its attempt', async (t) => {
    const agent = await runningAgent(server, 'box-silent')
    await agent.upload(0, 'abc')
    await agent.finish()
    t.match(await logsOf(server, agent.commandId), { state: 'open' })
    server.clock.nowMs += 30_001
    t.match(await logsOf(server, agent.commandId), { state: 'cut' })
  })
})

t.test('who may not upload', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const other = await runningAgent(server, 'box-2')
  const asOther = { agentId: 'box-2', incarnation: String(other.incarnation) }
  isApiError(t, await agent.upload(0, 'x', 'stdout', asOther), 'NOT_YOUR_ATTEMPT')
  isApiError(t, await agent.upload(0, 'x', 'stdout', { agentId: 'nobody' }), 'NOT_REGISTERED')
  isApiError(t, await agent.upload(0, 'x', 'stdout', { incarnation: '9' }), 'NOT_REGISTERED')
  isApiError(t, await agent.upload(0, 'x', 'stdout', { incarnation: '0' }), 'INCARNATION_SUPERSEDED')
  isApiError(t, await agent.upload(0, 'x', 'stdout', { epoch: 'another-epoch' }), 'EPOCH_CHANGED')
  const to = (attemptId: string) =>
    server.call(
      'PUT',
      `/attempts/${attemptId}/logs/stdout?agentId=box-1&incarnation=${agent.incarnation}&epoch=${agent.epoch}`,
      Buffer.from('x'),
      { 'content-type': 'application/octet-stream', 'content-range': 'bytes 0-0/*' },
    )
  isApiError(t, await to(`${agent.commandId}.2`), 'ATTEMPT_NOT_FOUND')
  isApiError(t, await to('no-such-command.1'), 'COMMAND_NOT_FOUND')
  isApiError(t, await to('no-attempt'), 'INVALID_REQUEST')
  t.match(await logsOf(server, agent.commandId), { streams: [{ bytes: 0 }, { bytes: 0 }] })
  await agent.finish()
  t.match(await agent.upload(0, 'late'), { status: 202 }, 'an attempt that is over keeps its log')
})

t.test('what is no upload is refused by name', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const octets = 'application/octet-stream'
  for (const range of [
    '',
    'bytes 0-1/*',
    'bytes 0-2/3',
    'bytes 2-0/*',
    'bytes -3/*',
    'items 0-2/*',
    'bytes 0-9999999999999999/*',
  ])
    isApiError(t, await agent.put('stdout', range, Buffer.from('abc'), octets), 'INVALID_REQUEST')
  isApiError(t, await agent.put('stdin', 'bytes 0-2/*', Buffer.from('abc'), octets), 'INVALID_REQUEST')
  isApiError(t, await agent.put('stdout', 'bytes 0-2/*', 'abc', 'text/plain'), 'UNSUPPORTED_MEDIA_TYPE')
  isApiError(t, await agent.put('stdout', 'bytes 0-2/*', { a: 1 }, 'application/json'), 'INVALID_REQUEST')
  for (const body of [{}, { sha256: 'x', complete: true }, { sha256: sha256(Buffer.from('')) }, [], 'null'])
    isApiError(t, await agent.put('stdout', 'bytes */0', body, 'application/json'), 'INVALID_REQUEST')
  isApiError(t, await agent.put('stdout', 'bytes */3', Buffer.from('abc'), octets), 'INVALID_REQUEST')
  isApiError(t, await agent.upload(0, Buffer.alloc(1_048_577)), 'BODY_TOO_LARGE')
  isApiError(
    t,
    await server.call('POST', '/commands', Buffer.from('abc'), { 'content-type': octets }),
    'UNSUPPORTED_MEDIA_TYPE',
  )
  for (const query of ['?stream=stdin', '?offset=-1', '?attempt=0', '?follow=2', '?more=1', '?encoding=latin1'])
    isApiError(t, await server.call('GET', `/commands/${agent.commandId}/logs${query}`), 'INVALID_REQUEST')
  isApiError(t, await server.call('GET', '/commands/nobody/logs'), 'COMMAND_NOT_FOUND')
  isApiError(t, await server.call('GET', '/commands/nobody/logs?follow=1'), 'COMMAND_NOT_FOUND')
  isApiError(t, await server.call('GET', `/commands/${agent.commandId}/logs?attempt=2`), 'ATTEMPT_NOT_FOUND')
  const headers = { 'last-event-id': 'yesterday' }
  isApiError(
    t,
    await server.call('GET', `/commands/${agent.commandId}/logs?follow=1`, undefined, headers),
    'INVALID_REQUEST',
  )
})

t.test('an attempt has its limit, which what is stored does not pass', async (t) => {
  const server = await startServer(t, { limits: { logBytesMax: 1000 } })
  const agent = await runningAgent(server)
  await agent.upload(0, Buffer.alloc(600))
  isApiError(t, await agent.upload(0, Buffer.alloc(401), 'stderr'), 'LOG_FULL')
  t.match(await agent.upload(0, Buffer.alloc(400), 'stderr'), { status: 202 })
  isApiError(t, await agent.upload(600, Buffer.alloc(1)), 'LOG_FULL')
  t.match(await agent.upload(0, Buffer.alloc(600)), { status: 202, body: { committed: 600 } })
})

t.test('a follower sees what is uploaded, while it is, and the end', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await agent.upload(0, 'one ')
  const following = follow(server, `/commands/${agent.commandId}/logs?follow=1`)
  await agent.upload(4, 'two ')
  await agent.upload(0, 'err', 'stderr')
  await agent.upload(8, 'three')
  await agent.end('one two three')
  await agent.end('err', 'stderr')
  const events = await following
  const text = (stream: string) =>
    events.flatMap(({ event, data }) => (event === 'chunk' && data.stream === stream ? [data.text] : [])).join('')
  t.equal(text('stdout'), 'one two three')
  t.equal(text('stderr'), 'err')
  t.match(events.at(-1), {
    id: '1.13.3',
    event: 'end',
    data: { attempt: 1, state: 'complete', streams: { stdout: { bytes: 13, complete: true }, stderr: { bytes: 3 } } },
  })
})

t.test('a follower may come before the attempt, and leaves with a command that never had one', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit({ type: 'RUN_AGENT', payload: { engine: 'shell', prompt: 'true' } })
  const following = follow(server, `/commands/${commandId}/logs?follow=1`)
  await new Promise((resolve) => setTimeout(resolve, 50))
  await server.call('DELETE', `/commands/${commandId}`)
  t.match(await following, [{ event: 'end', data: { attempt: 0, state: 'complete' } }])
  const delay = await runningAgent(server, 'box-delay', 'DELAY')
  await delay.finish()
  t.match(await follow(server, `/commands/${delay.commandId}/logs?follow=1`), [
    { event: 'end', data: { state: 'complete' } },
  ])
})

t.test('taken up at every border of bytes, nothing is missing and nothing comes twice', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const content = Buffer.from('a\n\0ü€😀\r\n\r\ndata: x\n\nid: 9\n\xff', 'utf8')
  for (let at = 0; at < content.length; at += 5) await agent.upload(at, content.subarray(at, at + 5))
  await agent.upload(0, 'err', 'stderr')
  await agent.end(content)
  await agent.end('err', 'stderr')
  const path = `/commands/${agent.commandId}/logs?follow=1&encoding=base64`
  for (let at = 0; at <= content.length; at++) {
    const events = await follow(server, path, { headers: { 'last-event-id': `1.${at}.3` } })
    t.same(bytesIn(events), content.subarray(at), `from byte ${at}`)
    t.equal(bytesIn(events, 'stderr').length, 0)
    t.equal(events.at(-1)?.event, 'end')
  }
})

t.test('hanging up after every event and coming back, a follower has all of a log that grows meanwhile', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const content = Buffer.from('ä€😀 lorem ipsum\n'.repeat(4000))
  const uploading = (async () => {
    for (let at = 0; at < content.length; at += 1777) await agent.upload(at, content.subarray(at, at + 1777))
    await agent.end(content)
    await agent.end('', 'stderr')
  })()
  const all: Event[] = []
  while (all.at(-1)?.event !== 'end') {
    const id = all.at(-1)?.id
    const events = await follow(server, `/commands/${agent.commandId}/logs?follow=1`, {
      headers: id === undefined ? {} : { 'last-event-id': id },
      isEnough: (some) => some.length >= 1,
    })
    all.push(...events)
  }
  await uploading
  const text = all.flatMap(({ event, data }) => (event === 'chunk' ? [data.text] : [])).join('')
  t.equal(sha256(Buffer.from(text)), sha256(content), 'decoded event by event, it is the same text')
})

t.test('a follower that does not read holds next to nothing, and takes nothing from the others', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  let reads = 0
  const { read } = server.store.logs
  server.store.logs.read = (...parameters) => {
    reads += 1
    return read(...parameters)
  }
  const asked = request(`http://127.0.0.1:${server.port}/commands/${agent.commandId}/logs?follow=1`, (response) =>
    response.pause(),
  )
  asked.on('error', () => {})
  asked.end()
  const content = Buffer.alloc(1_048_576, 'x')
  for (let part = 0; part < 24; part++) await agent.upload(part * content.length, content)
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.ok(reads < 1000, `${reads} reads of 16 KiB, of ${24 * 64}`)
  const fast = await follow(server, `/commands/${agent.commandId}/logs?follow=1&encoding=base64`, {
    isEnough: (events) => events.at(-1)?.id === `1.${24 * content.length}.0`,
  })
  t.equal(bytesIn(fast).length, 24 * content.length)
  asked.destroy()
})

t.test('followers are counted, and whoever hangs up makes room', async (t) => {
  const server = await startServer(t, { followersMax: 2 })
  const agent = await runningAgent(server)
  await agent.upload(0, 'x')
  const path = `/commands/${agent.commandId}/logs?follow=1`
  const open = [1, 2].map(() => {
    const asked = request(`http://127.0.0.1:${server.port}${path}`)
    asked.on('error', () => {})
    asked.end()
    return {
      asked,
      begun: new Promise((resolve) => asked.on('response', (response) => response.once('data', resolve))),
    }
  })
  await Promise.all(open.map(({ begun }) => begun))
  isApiError(t, await server.call('GET', path), 'OVERLOADED')
  open[0]?.asked.destroy()
  for (;;) {
    const again = await follow(server, path, { isEnough: (events) => events.length > 0 }).catch(() => [])
    if (again.length > 0) break
  }
  t.pass('there is room again')
  const hanging = follow(server, path)
  server.stop()
  t.notOk(
    (await hanging.catch(() => [])).some(({ event }) => event === 'end'),
    'a server that stops says no end',
  )
  open[1]?.asked.destroy()
})

t.test('what is small grows the last piece', async (t: Test) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  for (let at = 0; at < 50; at++) await agent.upload(at, String(at % 10))
  const piece = await server.store.logs.read({ commandId: agent.commandId, attempt: 1, stream: 'stdout' }, 0, 1000)
  t.equal(piece.toString(), '0123456789'.repeat(5))
})
