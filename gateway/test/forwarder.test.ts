// The forwarder as a process: what it carries, how it ends, and what it says when the gateway is gone.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createAddressPolicy } from '@agent-executor/runtime'
import t from 'tap'
import { createEgress } from '../src/egress.ts'
import { createGateway } from '../src/gateway.ts'
import { openLedger } from '../src/ledger.ts'
import { createPrices } from '../src/prices.ts'

const FORWARDER = fileURLToPath(new URL('../../sandbox/forwarder.mjs', import.meta.url))

const freePort = async (): Promise<number> => {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

const run = (...rest: string[]) => runWith([], ...rest)
const runWith = (env: readonly string[], ...rest: string[]) => {
  const child = spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', ...env, process.execPath, FORWARDER, ...rest])
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const ended = once(child, 'close').then(([code]) => ({ code: code as number, output }))
  return { child, ended, begun: () => once(child.stdout, 'data') }
}

/** A command that asks the port, says what it got, and ends with a code. */
const asking = (port: number, code = 0) => [
  process.execPath,
  '-e',
  `fetch('http://127.0.0.1:${port}/v1/messages', { method: 'POST', body: 'x'.repeat(300000) }).then(async (answer) => {
    console.log(answer.status, await answer.text())
    process.exit(${code})
  })`,
]

t.test('what connects comes to the gateway and back, and the end is that of the command', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'forwarder-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const server = createServer(async (request, response) => {
    let bytes = 0
    for await (const piece of request) bytes += (piece as Buffer).length
    response.end(`${request.url} ${bytes} `.padEnd(100_000, '.'))
  }).listen(join(dir, 's'))
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const port = await freePort()
  const { code, output } = await run(String(port), join(dir, 's'), ...asking(port, 7)).ended
  t.equal(code, 7)
  t.match(output, /^200 \/v1\/messages 300000 \.{99000,}/)
})

t.test('the command reads what the forwarder is given, to its last byte', async (t) => {
  const waiting = run(String(await freePort()), '/s', '/bin/sh', '-c', 'echo begun; wc -c; read nothing || echo over')
  await waiting.begun()
  waiting.child.stdin.end('x'.repeat(3_000_000))
  t.match(await waiting.ended, { code: 0, output: /^begun\n\s*3000000\nover\n$/ })
  const closed = run(String(await freePort()), '/s', '/bin/sh', '-c', 'cat')
  closed.child.stdin.end()
  t.match(await closed.ended, { code: 0, output: '' })
})

t.test('a tunnel to another host goes through it, byte by byte, both ways to the end', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'forwarder-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const echo = createTcpServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
  await once(echo, 'listening')
  t.teardown(() => void echo.close())
  const { port: far } = echo.address() as AddressInfo
  const ledger = openLedger({ file: join(dir, 'ledger.db'), nowMs: 1 })
  const policy = createAddressPolicy({ allowPrivate: true, allow: [] })
  const gateway = createGateway({
    ...{ ledger, prices: createPrices([]), providers: {}, nowMs: Date.now, log: () => {} },
    egress: createEgress({ ledger, policy, bytesMax: 1e9, nowMs: Date.now }),
  })
  t.teardown(async () => {
    await gateway.close()
    ledger.close()
  })
  const session = { socketPath: join(dir, 's'), attemptId: 'c.1', scopes: [], limits: [], models: [] }
  await gateway.open({ ...session, egress: [{ host: '127.0.0.1', port: far }] })
  const port = await freePort()
  const program = `
    const socket = require('node:net').connect(${port}, '127.0.0.1')
    socket.write('CONNECT 127.0.0.1:${far} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    let text = ''
    socket.once('data', (head) => {
      console.log(String(head).split('\\r\\n')[0])
      socket.on('data', (piece) => { text += piece })
      socket.end('y'.repeat(2000000))
    })
    socket.once('close', () => console.log(text.length))`
  const { code, output } = await run(String(port), join(dir, 's'), process.execPath, '-e', program).ended
  t.equal(code, 0)
  t.equal(output, 'HTTP/1.1 200 Connection Established\n2000000\n')
})

t.test('without a gateway it answers itself', async (t) => {
  const port = await freePort()
  const { code, output } = await run(String(port), '/no/such/socket', ...asking(port)).ended
  t.equal(code, 0)
  t.match(output, /^503 .*"code":"gateway_unavailable"/)
})

t.test('a gateway that is started again is waited for, and the command does not hear of that', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'forwarder-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const port = await freePort()
  const program = `console.log('patience', process.env.FORWARDER_PATIENCE_MS)
    fetch('http://127.0.0.1:${port}/').then(async (answer) => console.log(answer.status, await answer.text()))`
  const patience = ['FORWARDER_PATIENCE_MS=60000']
  const running = runWith(patience, String(port), join(dir, 's'), process.execPath, '-e', program)
  await running.begun()
  const server = createServer((_request, response) => void response.end('back')).listen(join(dir, 's'))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  t.same(await running.ended, { code: 0, output: 'patience undefined\n200 back\n' })
})

t.test('signals reach the command, and what cannot begin says so', async (t) => {
  const port = await freePort()
  const waiting = run(
    String(port),
    '/s',
    '/bin/sh',
    '-c',
    'trap "echo asked; exit 3" TERM; echo begun; while :; do sleep 0.05; done',
  )
  await waiting.begun()
  waiting.child.kill('SIGTERM')
  t.match(await waiting.ended, { code: 3, output: 'begun\nasked\n' })
  const killed = run(String(await freePort()), '/s', '/bin/sh', '-c', 'kill -9 $$')
  t.match(await killed.ended, { code: 137 })
  t.match(await run('1').ended, { code: 125, output: /PORT SOCKET COMMAND/ })
  t.match(await run(String(await freePort()), '/s', '/no/such/program').ended, { code: 127, output: /ENOENT/ })
})
