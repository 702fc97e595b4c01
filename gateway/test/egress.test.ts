// CONNECT on an attempt's socket: to the hosts that its profile names and no others, to a checked address, and written down.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type LookupFunction, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAddressPolicy } from '@agent-executor/runtime'
import t, { type Test } from 'tap'
import { createEgress } from '../src/egress.ts'
import { createGateway, type SessionOptions } from '../src/gateway.ts'
import { openLedger } from '../src/ledger.ts'
import { createPrices } from '../src/prices.ts'
import { startGateway } from './fixtures/gateway-process.ts'

type Addresses = { address: string; family: number }[]

const world = async (
  t: Test,
  {
    egress = [],
    allow = ['127.0.0.1'],
    addresses = [],
    bytesMax = 1e9,
  }: { egress?: SessionOptions['egress']; allow?: string[]; addresses?: Addresses[]; bytesMax?: number } = {},
) => {
  const dir = mkdtempSync(join(tmpdir(), 'egress-'))
  const ledger = openLedger({ file: join(dir, 'ledger.db'), nowMs: 1 })
  const asked: string[] = []
  const lookup: LookupFunction = (host, _options, answer) => {
    asked.push(host)
    const found = addresses[Math.min(asked.length, addresses.length) - 1]
    if (found === undefined) answer(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), [])
    else answer(null, found)
  }
  const policy = createAddressPolicy({ allowPrivate: false, allow })
  const gateway = createGateway({
    ...{
      ledger,
      prices: createPrices([]),
      providers: {},
      nowMs: () => 7,
      log: (facts) => t.fail(JSON.stringify(facts)),
    },
    egress: createEgress({ ledger, policy, bytesMax, nowMs: () => 7, lookup }),
  })
  const socketPath = join(dir, 's')
  const options = { socketPath, attemptId: 'c.1', scopes: [], limits: [], models: [], egress }
  const session = await gateway.open(options)
  t.teardown(async () => {
    await gateway.close()
    ledger.close()
    rmSync(dir, { recursive: true })
  })
  return { socketPath, ledger, asked, session }
}

/** The head of the answer, and the connection with whatever came after it. */
const tunnelTo = async (
  socketPath: string,
  authority: string,
  more = '',
): Promise<{ head: string; socket: Socket }> => {
  const socket = connect(socketPath)
  socket.on('error', () => {})
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n${more}`)
  let head = ''
  while (!head.includes('\r\n\r\n')) head += String((await once(socket, 'data'))[0])
  return { head, socket }
}
const statusOf = async (socketPath: string, authority: string) => {
  const { head, socket } = await tunnelTo(socketPath, authority)
  socket.destroy()
  return head.split(' ')[1]
}

/** Says back what it hears, and ends when its client does. */
const echo = async (t: Test) => {
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return (server.address() as AddressInfo).port
}
const until = async (isSo: () => boolean) => {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5))
}

t.test('what passes comes back as it was, and is counted both ways', async (t) => {
  const port = await echo(t)
  const { socketPath, ledger } = await world(t, { egress: [{ host: '127.0.0.1', port }] })
  const { head, socket } = await tunnelTo(socketPath, `127.0.0.1:${port}`, 'at once')
  t.match(head, /^HTTP\/1\.1 200 /)
  let heard = head.split('\r\n\r\n')[1] ?? ''
  socket.setEncoding('utf8').on('data', (text) => {
    heard += text
  })
  socket.end('x'.repeat(3_000_000))
  await once(socket, 'close')
  t.equal(heard.length, 3_000_007)
  t.match(heard, /^at oncex+$/)
  await until(() => ledger.tunnels('c.1')[0]?.endedAtMs !== null)
  t.match(ledger.tunnels('c.1'), [
    { host: '127.0.0.1', port, address: '127.0.0.1', bytesUp: 3_000_007, bytesDown: 3_000_007, refused: null },
  ])
})

t.test('a host that has said all and is gone is heard to its end, however slowly', async (t) => {
  let gone = 0
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.once('data', (bytes) => socket.end(Buffer.alloc(Number(bytes), 'x')))
    socket.once('close', () => {
      gone += 1
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const { port } = server.address() as AddressInfo
  const { socketPath } = await world(t, { egress: [{ host: '127.0.0.1', port }] })
  // What is on its way when the host is gone lies in buffers of the system, of which nobody knows the size.
  const sizes = Array.from({ length: 30 }, (_, at) => 100_000 + at * 20_000)
  const sockets: Socket[] = []
  for (const size of sizes) {
    const { socket } = await tunnelTo(socketPath, `127.0.0.1:${port}`)
    socket.pause()
    socket.end(`${size}`)
    sockets.push(socket)
  }
  await until(() => gone >= sizes.filter((size) => size <= 400_000).length)
  for (const [at, socket] of sockets.entries()) {
    let heard = 0
    socket.on('data', ({ length }: Buffer) => {
      heard += length
    })
    await once(socket.resume(), 'close')
    t.equal(heard, sizes[at])
  }
})

t.test('no other host, no other port, and no address that is not public', async (t) => {
  const port = await echo(t)
  const egress = [
    { host: 'API.example.', port },
    { host: 'inner.example', port },
    { host: 'mixed.example', port },
    { host: '127.0.0.1', port },
    { host: '169.254.169.254', port: 80 },
    { host: 'localhost', port },
    { host: '::ffff:127.0.0.1', port },
    { host: 'gone.example', port },
  ]
  const mixed = [
    { address: '93.184.216.34', family: 4 },
    { address: '10.0.0.1', family: 4 },
  ]
  const { socketPath, ledger, asked } = await world(t, { egress, allow: [], addresses: [mixed] })
  const refused = [
    [`elsewhere.example:${port}`, '403', /not among the hosts/],
    ['api.example:22', '403', /not among the hosts/],
    [`api.example.evil.example:${port}`, '403', /not among the hosts/],
    [`127.0.0.1:${port}`, '403', /a loopback address/],
    ['169.254.169.254:80', '403', /metadata/],
    [`localhost:${port}`, '403', /a local name/],
    [`[::ffff:127.0.0.1]:${port}`, '403', /a loopback address/],
  ] as const
  for (const [authority, status] of refused) t.equal(await statusOf(socketPath, authority), status, authority)
  t.same(asked, [], 'nobody was asked for what is refused anyway')
  t.equal(await statusOf(socketPath, `mixed.example:${port}`), '403', 'one of its addresses is private')
  for (const authority of [
    'api.example',
    ':443',
    'a b:1',
    'api.example:0',
    'api.example:99999',
    'user@api.example:443',
  ])
    t.match(await statusOf(socketPath, authority), '400', authority)
  const rows = ledger.tunnels('c.1')
  t.same(rows.length, refused.length + 1, 'each that was understood is a row')
  for (const [index, [, , reason]] of refused.entries())
    t.match(rows[index], { refused: reason, address: null, bytesUp: 0, endedAtMs: 7 })
})

t.test('a name is resolved once: what it becomes later leads nowhere', async (t) => {
  const port = await echo(t)
  const here = [{ address: '127.0.0.1', family: 4 }]
  const elsewhere = [{ address: '10.1.2.3', family: 4 }]
  const egress = [{ host: 'api.example', port }]
  const { socketPath, asked, ledger } = await world(t, { egress, addresses: [here, elsewhere] })
  const { head, socket } = await tunnelTo(socketPath, `API.Example.:${port}`)
  t.match(head, / 200 /)
  t.same(asked, ['api.example'])
  t.equal(ledger.tunnels('c.1')[0]?.address, '127.0.0.1')
  socket.write('still there')
  t.equal(String((await once(socket, 'data'))[0]), 'still there')
  socket.destroy()
  t.equal(await statusOf(socketPath, `api.example:${port}`), '403', 'asked again, it is checked again')
})

t.test('a redirect to another port is followed by the client, and ends here', async (t) => {
  const port = await echo(t)
  const server = createServer((_request, response) => {
    response.writeHead(302, { location: `http://127.0.0.1:${port}/` }).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const first = (server.address() as AddressInfo).port
  const { socketPath } = await world(t, { egress: [{ host: '127.0.0.1', port: first }] })
  const { socket } = await tunnelTo(socketPath, `127.0.0.1:${first}`)
  socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  const answer = String((await once(socket, 'data'))[0])
  t.match(answer, /^HTTP\/1\.1 302 /)
  socket.destroy()
  t.equal(await statusOf(socketPath, `127.0.0.1:${port}`), '403')
})

t.test('no more bytes pass than an attempt may send, and what it had stays counted', async (t) => {
  const port = await echo(t)
  const { socketPath, ledger } = await world(t, { egress: [{ host: '127.0.0.1', port }], bytesMax: 100_000 })
  for (const bytes of [60_000, 60_000]) {
    const { socket } = await tunnelTo(socketPath, `127.0.0.1:${port}`)
    socket.resume().end('x'.repeat(bytes))
    await once(socket, 'close')
  }
  await until(() => ledger.tunnels('c.1').every(({ endedAtMs }) => endedAtMs !== null))
  const [first, second] = ledger.tunnels('c.1')
  t.match(first, { bytesUp: 60_000, bytesDown: 60_000, refused: null })
  t.match(second, { refused: 'more than 100000 bytes' })
  t.ok((second?.bytesUp ?? 0) <= 40_000)
})

t.test('the end of an attempt ends its connections, and they are written down', async (t) => {
  const port = await echo(t)
  const { socketPath, ledger, session } = await world(t, { egress: [{ host: '127.0.0.1', port }] })
  const { socket } = await tunnelTo(socketPath, `127.0.0.1:${port}`)
  socket.write('12345')
  await once(socket, 'data')
  const closed = once(socket, 'close')
  await session.close()
  await closed
  t.match(ledger.tunnels('c.1'), [{ bytesUp: 5, bytesDown: 5, endedAtMs: 7 }])
})

t.test('a process refuses private addresses unless it is told otherwise, and tells of each connection', async (t) => {
  const port = await echo(t)
  const egress = [{ host: '127.0.0.1', port }]
  const strict = await startGateway(t)
  const refusing = await strict.openSession('c.1', { egress })
  t.equal(await statusOf(refusing, `127.0.0.1:${port}`), '403')
  t.match((await strict.control('/sessions/c.1/usage')).json.egress, [
    { host: '127.0.0.1', port, address: null, startedAt: /Z$/, endedAt: /Z$/, refused: /loopback/ },
  ])
  const open = await startGateway(t, { env: { GATEWAY_ALLOW_PRIVATE_EGRESS: 'true' } })
  t.equal(await statusOf(await open.openSession('c.1', { egress }), `127.0.0.1:${port}`), '200')
  t.equal(await statusOf(await open.openSession('c.1'), `127.0.0.1:${port}`), '403', 'as the session says last')
})
