/**
 * Runs in a sandbox: `node forwarder.mjs PORT SOCKET COMMAND [ARGUMENT…]` starts the command, and brings whatever connects
 * to the port on loopback to the gateway's socket, byte by byte. The command has its standard input; what it reads is not
 * looked at. Ends as the command ends, with 128 and the number of a signal as a shell would. Without a gateway it answers itself: an engine that finds nobody there may wait for ever.
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

const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const gateway = connect({ path: socketPath, allowHalfOpen: true })
  let isThere = false
  gateway.once('connect', () => {
    isThere = true
    client.pipe(gateway)
    gateway.pipe(client)
  })
  gateway.on('error', () => {
    if (isThere) client.destroy()
    // Read to its end as well, or a client that is still sending sees a reset in place of the answer.
    else client.resume().end(ANSWER)
  })
  client.on('error', () => gateway.destroy())
  client.once('close', () => gateway.destroy())
})

server.listen(Number(port), '127.0.0.1', () => {
  const child = spawn(command, rest, { stdio: 'inherit' })
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
