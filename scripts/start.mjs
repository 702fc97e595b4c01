// `npm start`: the control server and one agent, both on SQLite, watched over. Ctrl-C drains both; a second one stops them.
// A process that dies is started anew, so a kill -9 of either can be watched to change nothing.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const RESTART_MS = 1000
/** Exit codes after which a new start would end the same way: usage and configuration. */
const FINAL_CODES = new Set([64, 78])

const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url))
let signals = 0

/** Runs `script` until it ends by itself with success or for good; `ready` is called with the line that says so. */
async function supervise(name, script, args, isReady, ready) {
  for (;;) {
    // A group of its own: Ctrl-C in a terminal reaches the whole group, and each part must get it once, from here.
    const child = spawn(process.execPath, [path(script), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    })
    parts.set(name, child)
    createInterface({ input: child.stdout }).on('line', (line) => {
      process.stdout.write(`${line}\n`)
      if (isReady(line)) ready(line)
    })
    const [code, signal] = await once(child, 'exit')
    parts.delete(name)
    if (signals > 0 || FINAL_CODES.has(code)) return code ?? 1
    process.stdout.write(`${name} ended (${signal ?? code}), starting it again\n`)
    await new Promise((resolve) => setTimeout(resolve, RESTART_MS))
  }
}

const parts = new Map()

const onSignal = () => {
  signals += 1
  // The agent first: what it finishes while draining still has somewhere to be reported.
  const first = parts.get('agent') ?? parts.get('control-server')
  if (signals === 1) first?.kill('SIGTERM')
  else for (const child of parts.values()) child.kill('SIGTERM')
}
process.on('SIGINT', onSignal)
process.on('SIGTERM', onSignal)

let serverUrl
let agentEnd
const hint = () => `
The control server listens on ${serverUrl}, one agent is connected to it. Try:

  curl -s ${serverUrl}/commands -H 'content-type: application/json' -d '{"type":"DELAY","payload":{"ms":1000}}'
  curl -s ${serverUrl}/commands

Ctrl-C drains both.
`

const serverEnd = supervise(
  'control-server',
  'control-server/dist/src/server.js',
  [],
  (line) => line.includes('"listening"'),
  (line) => {
    serverUrl = JSON.parse(line).address
    agentEnd ??= supervise(
      'agent',
      'agent/dist/src/main.js',
      process.env.SERVER_URL ? [] : ['--server-url', serverUrl],
      (text) => text.includes('"registered"'),
      () => process.stdout.write(hint()),
    ).then((code) => {
      if (signals === 0) signals = 1
      parts.get('control-server')?.kill('SIGTERM')
      return code
    })
  },
)
const code = await serverEnd
if (signals === 0) signals = 1
parts.get('agent')?.kill('SIGTERM')
process.exit(code || (await agentEnd) || 0)
