// Each misbehaviour of the proxy, seen from both sides: what the server got, and what the client was told.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { FAULTS, type Fault, type Misbehaviour, startFaultyProxy } from '../src/faulty-proxy.ts'

/** A server that answers with the number of the request, and a client that says what it was told. */
async function world(t: Test) {
  const got: string[] = []
  const broken: string[] = []
  const server = createServer(async (request, response) => {
    const body = await text(request).catch(() => null)
    if (body === null) return void broken.push(`${request.method} ${request.url}`)
    got.push(body)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ answer: got.length, padding: 'x'.repeat(100) }))
  }).listen(0, '127.0.0.1')
  server.on('clientError', (_error, socket) => {
    broken.push('broken off')
    socket.destroy()
  })
  await once(server, 'listening')
  const proxy = await startFaultyProxy((server.address() as AddressInfo).port)
  t.teardown(async () => {
    await proxy.close()
    server.closeAllConnections()
    server.close()
  })
  const call = async (method: string, path: string, body?: string) => {
    try {
      const response = await fetch(`http://127.0.0.1:${proxy.port}${path}`, {
        method,
        ...(body === undefined ? {} : { body }),
      })
      const told = await response.text()
      return response.ok && told.startsWith('{') ? String((JSON.parse(told) as { answer: number }).answer) : told
    } catch {
      return 'no answer'
    }
  }
  const sync = (body: string) => call('POST', '/agents/a/sync', body)
  return {
    proxy,
    got,
    broken,
    call,
    sync,
    plan: (fault: Fault, more: Partial<Misbehaviour> = {}) => proxy.misbehave({ fault, message: 'sync', ...more }),
  }
}

t.test('without a plan everything is passed on and remembered', async (t) => {
  const { proxy, got, call } = await world(t)
  t.equal(await call('POST', '/agents/register', 'r'), '1')
  t.equal(await call('GET', '/agents/a/wait?rev=1'), '2')
  t.equal(await call('GET', '/commands/next?agentId=a'), '3')
  t.equal(await call('PUT', '/commands/c/result', 'x'), '4')
  t.equal(await call('POST', '/agents/a/heartbeat', 'h'), '5')
  t.equal(await call('GET', '/commands/next-but-one'), '6')
  t.same(got, ['r', '', '', 'x', 'h', ''])
  t.same(
    proxy.log.map(({ message, status }) => [message, status]),
    [...['register', 'wait', 'next', 'result', 'heartbeat'].map((message) => [message, 200]), [null, 200]],
  )
})

/** What the client is told of the message that is hit, and of the next one; and what the server has got after both. */
const TOLD: Readonly<Record<Fault, { told: [string | RegExp, string]; got: string[]; broken?: string[] }>> = {
  'request lost': { told: ['no answer', '1'], got: ['two'] },
  'response lost': { told: ['no answer', '2'], got: ['one', 'two'] },
  duplicated: { told: ['1', '3'], got: ['one', 'one', 'two'] },
  'request delayed': { told: ['1', '2'], got: ['one', 'two'] },
  'response delayed': { told: ['1', '2'], got: ['one', 'two'] },
  reordered: { told: ['no answer', '1'], got: ['two', 'one'] },
  'request cut': { told: ['no answer', '1'], got: ['two'], broken: ['POST /agents/a/sync', 'broken off'] },
  'response cut': { told: ['no answer', '2'], got: ['one', 'two'] },
  'status 500': { told: ['Internal Server Error', '2'], got: ['one', 'two'] },
  'HTML page': { told: [/^<!doctype html>/, '1'], got: ['two'] },
}

for (const fault of Object.keys(FAULTS) as Fault[])
  t.test(`${fault}: ${FAULTS[fault]}`, async (t) => {
    const { got, broken, sync, plan } = await world(t)
    const holdMs = 300
    const happened = plan(fault, { holdMs })
    const beganMs = Date.now()
    t.match(await sync('one'), TOLD[fault].told[0])
    if (fault.endsWith('delayed')) t.ok(Date.now() - beganMs >= holdMs, 'held')
    t.equal(await sync('two'), TOLD[fault].told[1])
    t.ok((await happened) >= beganMs)
    t.same(got, TOLD[fault].got)
    t.same(broken.sort(), TOLD[fault].broken ?? [])
    t.equal(await sync('three'), String(got.length), 'it misbehaves once')
  })

t.test('a cut message without a body is cut in its headers', async (t) => {
  const { proxy, broken, call } = await world(t)
  for (const fault of ['request cut', 'response cut'] as const) {
    const happened = proxy.misbehave({ fault, message: 'wait' })
    t.equal(await call('GET', '/agents/a/wait?rev=1'), 'no answer')
    await happened
  }
  t.same(broken, ['broken off'])
})

t.test('while one message is held, nothing else gets through', async (t) => {
  const { got, call, sync, plan } = await world(t)
  const happened = plan('request delayed', { holdMs: 300 })
  const held = sync('one')
  await happened
  t.equal(await call('POST', '/agents/a/heartbeat', 'h'), 'no answer')
  t.equal(await held, '1')
  t.same(got, ['one'])
})

t.test('the nth message that satisfies is the one', async (t) => {
  const { got, sync, plan } = await world(t)
  const happened = plan('request lost', { nth: 2, when: (body) => body.includes('x') })
  for (const body of ['x1', 'y', 'x2', 'x3']) await sync(body)
  await happened
  t.same(got, ['x1', 'y', 'x3'])
})

t.test('an old message can wait for an answer to another one', async (t) => {
  const { proxy, got, call, sync } = await world(t)
  const happened = proxy.misbehave({ fault: 'reordered', message: 'heartbeat', newer: 'sync' })
  t.equal(await call('POST', '/agents/a/heartbeat', 'h'), 'no answer')
  await call('GET', '/agents/a/wait?rev=1')
  t.equal(await sync('s'), '2')
  await happened
  t.same(got, ['', 's', 'h'])
})

t.test('a server that is not there is a connection that ends', async (t) => {
  const proxy = await startFaultyProxy(1)
  t.teardown(() => proxy.close())
  await t.rejects(fetch(`http://127.0.0.1:${proxy.port}/agents/register`, { method: 'POST' }))
  t.equal(proxy.log[0]?.status, null)
  await t.rejects(
    proxy.until((log) => log.length > 1, 50),
    'and a wait for the log has an end',
  )
})
