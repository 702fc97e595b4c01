/** The control server as a process: its command line, its settings, its start and its end. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const PROGRAM = fileURLToPath(new URL('../../src/server.js', import.meta.url))
const DELAY = { type: 'DELAY', payload: { ms: 1 } }

type LogLine = { msg: string; level: number; [fact: string]: unknown }

/** Runs the program in a folder of its own, so that no `.env` of the developer takes part. */
const run = (
  t: Test,
  args: readonly string[],
  { cwd = t.testdir(), env = {} }: { cwd?: string; env?: Record<string, string> } = {},
) => {
  // tap puts its own loader into NODE_OPTIONS of every child.
  const child = spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', process.execPath, PROGRAM, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: LogLine[] = []
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    output.stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    output.stderr += chunk
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line.startsWith('{"')) lines.push(JSON.parse(line))
    child.emit('logged')
  })
  const exited = once(child, 'close').then(([code, signal]) => ({ code, signal, ...output }))
  return {
    exited,
    lines,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    /** The first line with this message, as soon as it is there; rejects where the program ends without it. */
    async logged(message: string): Promise<LogLine> {
      for (;;) {
        const found = lines.find(({ msg }) => msg === message)
        if (found !== undefined) return found
        const ended = await Promise.race([once(child, 'logged').then(() => null), exited])
        if (ended !== null) throw new Error(`ended with ${ended.code} ${ended.signal}: ${ended.stderr}${ended.stdout}`)
      }
    },
  }
}

/** A running server with a database in the test's folder. */
const start = async (t: Test, args: readonly string[] = [], cwd = t.testdir()) => {
  const server = run(t, ['--port', '0', '--data-dir', 'data', ...args], { cwd })
  const { address } = await server.logged('listening')
  const url = String(address)
  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(url + path, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text ? JSON.parse(text) : null }
  }
  return { ...server, url, cwd, call }
}

t.test('--help names every setting and ends', async (t) => {
  const { code, stdout } = await run(t, ['--help', '--port', 'nonsense']).exited
  t.equal(code, 0)
  t.match(stdout, /--port.+PORT.+3000/)
  t.match(stdout, /--lease-ms <integer>\s+LEASE_MS\s+30000\s+1000–3600000 ms/)
  t.match(stdout, 'submit.before-commit')
})

t.test('--print-config shows what would hold: flag before environment before .env before default', async (t) => {
  const cwd = t.testdir({ '.env': 'LEASE_MS=5000\nOFFER_MS=6000\nSWEEP_MS=70\n' })
  const args = ['--print-config', '--lease-ms', '4000', '--allowed-hosts=a,b']
  const { code, stdout } = await run(t, args, { cwd, env: { LEASE_MS: '4500', OFFER_MS: '5500' } }).exited
  t.equal(code, 0)
  t.match(JSON.parse(stdout), {
    PORT: 3000,
    HOST: '127.0.0.1',
    LEASE_MS: 4000,
    OFFER_MS: 5500,
    SWEEP_MS: 70,
    ALLOWED_HOSTS: ['a', 'b'],
  })
})

t.test('settings that make no sense are refused by name, all at once, with exit 78', async (t) => {
  const refused: [args: string[], named: string[]][] = [
    [
      [
        '--port',
        'eighty',
        '--lease-ms',
        '30s',
        '--sweep-ms=1.5',
        '--log-level',
        'loud',
        '--restored=maybe',
        '--host',
        'a b',
      ],
      ['PORT', 'LEASE_MS', 'SWEEP_MS', 'LOG_LEVEL', 'RESTORED', 'HOST'],
    ],
    [
      ['serve', '--prot', '80', '--allowed-hosts', 'a,b c', '--port='],
      ['"serve"', '--prot', '--help', 'ALLOWED_HOSTS', 'PORT'],
    ],
    [['--port'], ['--port needs a value']],
    [
      ['--crash-at', 'nowhere'],
      ['CRASH_AT', 'submit.before-commit'],
    ],
    [
      ['--result-bytes-max', '16777216'],
      ['SYNC_BYTES_MAX', 'RESULT_BYTES_MAX'],
    ],
  ]
  for (const [args, named] of refused) {
    const { code, stderr, stdout } = await run(t, args).exited
    t.equal(code, 78, args.join(' '))
    for (const name of named) t.match(stderr, name)
    t.notMatch(stderr, '    at ')
    t.equal(stdout, '')
  }
  const { code, stderr } = await run(t, [], { env: { SWEEP_MS: 'often' } }).exited
  t.equal(code, 78)
  t.match(stderr, /SWEEP_MS.*"often".*20 to 60000/)
})

t.test('a number out of range becomes the nearest limit, with a warning', async (t) => {
  const server = await start(t, ['--lease-ms', '1', '--body-bytes-max', '99999999999'])
  const warnings = server.lines.filter(({ level }) => level === 40).map(({ msg }) => msg)
  t.match(warnings, [/LEASE_MS.*using 1000/, /BODY_BYTES_MAX.*using 67108864/])
  t.equal((await server.call('GET', '/health')).status, 200)
})

t.test('an address that others can reach needs ALLOW_UNAUTHENTICATED', async (t) => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.com']) {
    const { code, stderr } = await run(t, ['--port', '0', '--host', host]).exited
    t.equal(code, 78)
    t.match(stderr, `HOST=${host}`)
    t.match(stderr, 'ALLOW_UNAUTHENTICATED')
  }
  const server = await start(t, ['--host', '0.0.0.0', '--allow-unauthenticated'])
  t.equal((await server.call('GET', '/health')).status, 200)
  server.kill('SIGTERM')
  t.match(await server.exited, { code: 0 })
})

t.test('a second server on the same database is refused, and the first goes on', async (t) => {
  const first = await start(t)
  const { code, stderr } = await run(t, ['--port', '0', '--data-dir', 'data'], { cwd: first.cwd }).exited
  t.equal(code, 78)
  t.match(stderr, /cannot open .*commands\.db.*(another|in use|locked)/i)
  t.notMatch(stderr, '    at ')
  t.match(await first.call('POST', '/commands', DELAY), { status: 201 })
})

t.test('a port that is in use is named, with exit 78', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const { code, stderr } = await run(t, ['--port', String(port), '--data-dir', 'data']).exited
  t.equal(code, 78)
  t.match(stderr, new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}: .*(EADDRINUSE|in use)`))
  t.notMatch(stderr, '    at ')
})

t.test('a folder that cannot be written is named, with exit 78', async (t) => {
  const cwd = t.testdir({ data: 'a file' })
  const { code, stderr } = await run(t, ['--port', '0', '--data-dir', 'data'], { cwd }).exited
  t.equal(code, 78)
  t.match(stderr, /cannot open .*data\/commands\.db/)
})

t.test('SIGTERM: what waits is answered, what was begun is finished, exit 0', async (t) => {
  const server = await start(t)
  const { port } = new URL(server.url)
  const json = JSON.stringify(DELAY)
  const uploading = connect(Number(port), '127.0.0.1')
  uploading.write(
    `POST /commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n`,
  )
  let answer = ''
  uploading.on('data', (chunk) => {
    answer += chunk
  })
  const parked = server.call('GET', '/agents/box-1/wait?timeoutMs=20000')
  // An answer to a later request tells that the two before have arrived.
  await server.call('GET', '/health')
  await server.call('GET', '/health')
  const startedMs = performance.now()
  server.kill('SIGTERM')
  t.match(await parked, { status: 204 })
  await server.logged('stopping')
  uploading.write(json)
  await once(uploading, 'close')
  t.match(answer, /^HTTP\/1\.1 201 /)
  t.match(await server.exited, { code: 0, signal: null })
  t.ok(performance.now() - startedMs < 5000)
  t.match(server.lines.at(-1), { msg: 'stopped' })

  const again = await start(t, [], server.cwd)
  t.equal((await again.call('GET', '/commands')).body.length, 1, 'the command that was begun is there')
})

t.test(
  'SIGTERM: a client that never finishes is cut off after DRAIN_MS, a second SIGTERM does so at once',
  async (t) => {
    for (const drainMs of ['200', '600000']) {
      const server = await start(t, ['--drain-ms', drainMs])
      const hanging = connect(Number(new URL(server.url).port), '127.0.0.1')
      hanging.on('error', () => {})
      hanging.write(
        'POST /commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{',
      )
      await server.call('GET', '/health')
      server.kill('SIGTERM')
      await server.logged('stopping')
      if (drainMs === '600000') server.kill('SIGTERM')
      t.match(await server.exited, { code: 0, signal: null })
      hanging.destroy()
    }
  },
)

t.test('kill -9 and a new start keep everything that was answered', async (t) => {
  const server = await start(t)
  const waiting = (await server.call('POST', '/commands', { ...DELAY, metadata: { a: 'b' } })).body
  const running = (await server.call('GET', '/commands/next?agentId=box-1')).body
  const done = (await server.call('POST', '/commands', DELAY)).body
  await server.call('GET', '/commands/next?agentId=box-2')
  t.match(await server.call('PUT', `/commands/${done.commandId}/result`, { agentId: 'box-2', result: 'x' }), {
    status: 200,
  })
  const last = (await server.call('POST', '/commands', DELAY)).body
  server.kill('SIGKILL')
  t.match(await server.exited, { signal: 'SIGKILL' })

  const again = await start(t, [], server.cwd)
  t.equal(running.commandId, waiting.commandId)
  t.match(await again.call('GET', `/commands/${running.commandId}`), {
    body: { status: 'RUNNING', agentId: 'box-1', metadata: { a: 'b' } },
  })
  t.match(await again.call('GET', `/commands/${done.commandId}`), { body: { status: 'COMPLETED', result: 'x' } })
  t.match(await again.call('GET', `/commands/${last.commandId}`), { body: { status: 'PENDING' } })
  t.match(
    await again.call('PUT', `/commands/${running.commandId}/result`, { agentId: 'box-1', result: 'y' }),
    { status: 200 },
    'the agent never noticed',
  )
  t.match(
    await again.call('PUT', `/commands/${done.commandId}/result`, { agentId: 'box-2', result: 'x' }),
    { status: 200 },
    'the repeat of a report',
  )
})

t.test('seeds are there when the server listens, and are read again on SIGHUP', async (t) => {
  const cwd = t.testdir({ own: { profiles: { 'mine.toml': 'description = "one"\n' } } })
  const server = await start(t, ['--profiles-dir', 'own'], cwd)
  t.match(await server.call('GET', '/profiles/mine'), { status: 200, body: { version: 1, origin: 'seed' } })
  writeFileSync(join(cwd, 'own/profiles/mine.toml'), 'description = "two"\n')
  writeFileSync(join(cwd, 'own/profiles/broken.toml'), '[')
  server.kill('SIGHUP')
  await server.logged('seed refused')
  const reloaded = () => server.lines.filter(({ msg, version }) => msg === 'seed loaded' && version === 2)
  while (reloaded().length === 0) await server.call('GET', '/livez')
  t.match(await server.call('GET', '/profiles/mine'), { body: { version: 2, profile: { description: 'two' } } })
  server.kill('SIGTERM')
  t.match(await server.exited, { code: 0 })
})

t.test('the profiles that come with the server can be resolved', async (t) => {
  const server = await start(t)
  for (const [name, variables] of [
    ['default', {}],
    ['script', { script: 'echo hello' }],
    ['code-review', { base: 'release/1.2' }],
    ['researcher', { question: 'Why is it so?' }],
  ] as const) {
    const { status, body } = await server.call('POST', `/profiles/${name}/resolve`, { variables })
    t.equal(status, 200, JSON.stringify(body))
    t.match(body, { name, configuration: { network: { mode: 'none' } }, fields: { 'network.mode': { locked: true } } })
  }
})
