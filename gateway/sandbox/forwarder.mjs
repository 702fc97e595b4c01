/**
 * Runs in a sandbox: `node forwarder.mjs PORT SOCKET COMMAND [ARGUMENT…]` starts the command, and brings whatever connects
 * to the port on loopback to the gateway's socket, byte by byte. The command has its standard input; what it reads is not
 * looked at. Ends as the command ends, with 128 and the number of a signal as a shell would. A gateway that is away is
 * waited for, FORWARDER_PATIENCE_MS for each connection: it may be started again just now. Then it answers itself, since
 * an engine that finds nobody there may wait for ever.
 */
import { spawn } from 'node:child_process'
import { connect, createServer } from 'node:net'
import { constants } from 'node:os'

const [port, socketPath, command, ...rest] = process.argv.slice(2)
if (socketPath === undefined || command === undefined || !(Number(port) > 0)) {
  process.stderr.write('forwarder: PORT SOCKET COMMAND [ARGUMENT...]\n')
  process.exit(125)
}

const BODY = JSON.stringify({
  error: { type: 'server_error', code: 'gateway_unavailable', message: 'The gateway is not there.' },
})
const ANSWER = [
  'HTTP/1.1 503 Service Unavailable',
  'Content-Type: application/json',
  `Content-Length: ${BODY.length}`,
  'Connection: close',
  '',
  BODY,
].join('\r\n')

const { FORWARDER_PATIENCE_MS: patience = '0', ...env } = process.env
const AGAIN_MS = 100

const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const untilMs = performance.now() + Number(patience)
  let gateway = null
  const reach = () => {
    if (client.destroyed) return
    let isThere = false
    gateway = connect({ path: socketPath, allowHalfOpen: true })
    gateway.once('connect', () => {
      isThere = true
      client.pipe(gateway)
      gateway.pipe(client)
    })
    gateway.on('error', () => {
      if (isThere) client.destroy()
      else if (performance.now() < untilMs) setTimeout(reach, AGAIN_MS)
      // Read to its end as well, or a client that is still sending sees a reset in place of the answer.
      else client.resume().end(ANSWER)
    })
  }
  client.on('error', () => gateway?.destroy())
  // Where it has ended both ways, what it sent last may still be under way.
  client.once('close', () => {
    if (!client.readableEnded || !client.writableFinished) gateway?.destroy()
  })
  reach()
})

server.listen(Number(port), '127.0.0.1', () => {
  const child = spawn(command, rest, { stdio: 'inherit', env })
  child.once('error', (error) => {
    process.stderr.write(`forwarder: ${error.message}\n`)
    process.exit(127)
  })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.once('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
})
server.once('error', (error) => {
  process.stderr.write(`forwarder: ${error.message}\n`)
  process.exit(125)
})
