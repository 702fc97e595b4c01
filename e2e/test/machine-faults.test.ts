// What the machine does to the two processes: a full, read-only or damaged disk, a locked file, suspension, a wall
// clock that is set, a journal that is lost, copied or set back. An event loop that is blocked for long is in
// agent/test/heartbeat/heartbeat.test.ts.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT } from '@agent-executor/runtime'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { type CommandView, createApi } from '../src/api.ts'
import { freePort, needs, type Process, start, startAgent, startServer } from '../src/processes.ts'
import { startTarget } from '../src/target.ts'

/** Short, and long enough for a machine that is busy. The server waits 1 % and two seconds longer. */
const LEASE_MS = 2000
const SHORT_LEASE = ['--lease-ms', String(LEASE_MS)]
const LEASE_OVER_MS = 4500

const target = await startTarget()
t.teardown(target.close)
t.jobs = 4

/** A server of its own for each test; agents are started under it and all of it ends with the test. */
const system = async (t: Test, options: { dataDir?: string; flags?: string[]; under?: string[] } = {}) => {
  const port = await freePort()
  const dir = t.testdir()
  const kept = (process: Process) => {
    t.teardown(process.kill)
    return process
  }
  const server = kept(await startServer(options.dataDir ?? `${dir}/server`, port, options.flags, options.under))
  const agent = (
    name: string,
    flags: readonly string[] = [],
    under: readonly string[] = [],
    dataDir = `${dir}/${name}`,
  ) => kept(startAgent(dataDir, port, ['--agent-id', name, ...flags], under))
  return { port, dir, server, agent, api: createApi(port) }
}

const visit = (ms: number) => ({ type: 'HTTP_GET_JSON', payload: { url: `${target.url}/visit/${ms}` } })

/** Each attempt made one request at most, and none of them before the one before it was over. */
const fetchedOnceAnAttempt = (t: Test, { commandId, attempts }: CommandView): void => {
  const visits = [...target.visits(commandId)].sort((a, b) => a.fromMs - b.fromMs)
  t.equal(new Set(visits.map(({ attempt }) => attempt)).size, visits.length, 'no attempt twice')
  t.ok(visits.length <= attempts.length, `${visits.length} requests, ${attempts.length} attempts`)
  for (const [index, { fromMs }] of visits.entries())
    t.ok(index === 0 || (visits[index - 1]?.toMs ?? 0) <= fromMs, `request ${index + 1} begins after the one before it`)
}

// ---- disks

const mount = (...args: string[]) => spawnSync('mount', args, { encoding: 'utf8' })
const canMount = (() => {
  const path = mkdtempSync(join(tmpdir(), 'mount-'))
  const { status } = mount('-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', path)
  if (status === 0) spawnSync('umount', [path])
  rmSync(path, { recursive: true })
  return status === 0
})()
const aDisk = needs('a mount of tmpfs (root)', canMount)

/** A small disk of its own. */
const mountDisk = (t: Test) => {
  const path = mkdtempSync(join(tmpdir(), 'disk-'))
  const { status, stderr } = mount('-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', path)
  if (status !== 0) throw new Error(`cannot mount: ${stderr}`)
  t.teardown(() => {
    spawnSync('umount', ['--lazy', path])
    rmSync(path, { recursive: true })
  })
  const ballast = join(path, 'ballast')
  return {
    path,
    /** Until not one byte more can be written. */
    fill(): void {
      const file = openSync(ballast, 'a')
      for (let bytes = 65_536; bytes >= 1; )
        try {
          writeSync(file, Buffer.alloc(bytes))
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
          bytes = Math.floor(bytes / 16)
        }
      closeSync(file)
    },
    free: (): void => rmSync(ballast),
    mode(mode: 'ro' | 'rw'): void {
      if (mount('-o', `remount,${mode}`, path).status !== 0) throw new Error(`cannot be made ${mode}`)
    },
  }
}

t.test(
  'the disk of the server is full: writes answer 503 NO_SPACE, reads work, and all goes on when there is space',
  { buffered: true, ...aDisk },
  async (t) => {
    const disk = mountDisk(t)
    const { server, agent, api } = await system(t, { dataDir: disk.path, flags: SHORT_LEASE })
    const worker = agent('worker')
    const waiting = await api.submit({ type: 'DELAY', payload: { ms: 1 }, labels: ['nobody'] }, 'waiting')
    const running = await api.submit(visit(1000), 'running')
    await api.eventually('the request', () => target.hits(running.commandId) === 1)
    disk.fill()

    const submission = { type: 'DELAY', payload: { ms: 1 } }
    const submit = () => api.call('POST', '/commands', submission, { 'idempotency-key': 'full' })
    const refused = await submit()
    t.match(refused, { status: 503, body: { statusCode: 503, code: 'NO_SPACE' } })
    t.match(refused.headers.get('retry-after'), /^[1-9]\d*$/)
    t.match(await api.call('POST', `/commands/${waiting.commandId}/cancel`), {
      status: 503,
      body: { code: 'NO_SPACE' },
    })
    t.match(await api.call('GET', '/commands/next?agentId=simple'), { status: 503, body: { code: 'NO_SPACE' } })
    t.match(await api.get(waiting.commandId), { status: 'PENDING', cancelRequested: false })
    t.equal((await api.call('GET', '/commands')).status, 200)
    t.equal((await api.call('GET', '/health')).status, 200)
    await worker.logged(({ code, statusCode }) => code === 'NO_SPACE' && statusCode === 503)
    await worker.logged(({ msg, state }) => msg === 'finished' && state === 'SUCCEEDED')
    // Nobody's lease can be renewed meanwhile.
    await sleep(LEASE_OVER_MS)
    t.match(await api.get(running.commandId), { status: 'RUNNING' })
    t.equal((await submit()).status, 503)

    disk.free()
    const { commandId } = await api.submit(submission, 'full')
    t.match(await api.final(commandId), { status: 'COMPLETED', attempts: { length: 1 } })
    t.match(await api.final(running.commandId), {
      status: 'COMPLETED',
      result: { body: { hit: 1 } },
      attempts: [{ attempt: 1, state: 'SUCCEEDED' }],
    })
    t.equal(target.hits(running.commandId), 1)
    t.match(await api.get(waiting.commandId), { status: 'PENDING' })
    const { body } = await api.call('GET', '/commands')
    t.equal((body as unknown as unknown[]).length, 3, 'the refused submission left nothing behind')
    await server.kill()
    t.equal((await server.ended).signal, 'SIGKILL', 'it was the same process all the time')
  },
)

t.test(
  'the disk of the agent is full: it takes nothing new, the outcome waits and is reported when there is space',
  { buffered: true, ...aDisk },
  async (t) => {
    const disk = mountDisk(t)
    const { agent, api } = await system(t)
    const worker = agent('worker', [], [], disk.path)
    const running = await api.submit(visit(500), 'running')
    await api.eventually('the request', () => target.hits(running.commandId) === 1)
    disk.fill()
    await worker.logged(({ msg }) => msg === 'outcome not stored, it waits in memory')
    type AgentView = { mode: string; lastSeenAt: string }
    const seen = async () => ((await api.call('GET', '/agents')).body as unknown as AgentView[])[0]
    await api.eventually('that it says so', async () => (await seen())?.mode === 'paused')
    const later = await api.submit(visit(1), 'later')
    for (let sync = 0; sync < 5; sync += 1) {
      const before = (await seen())?.lastSeenAt
      await api.eventually('another sync', async () => (await seen())?.lastSeenAt !== before)
    }
    t.match(await api.get(later.commandId), { status: 'PENDING' })
    t.equal(target.hits(later.commandId), 0)
    t.match(await api.get(running.commandId), { status: 'RUNNING' })

    disk.free()
    for (const { commandId } of [running, later]) {
      t.match(await api.final(commandId), {
        status: 'COMPLETED',
        result: { body: { hit: 1 } },
        attempts: [{ attempt: 1 }],
      })
      t.equal(target.hits(commandId), 1)
    }
    t.equal((await api.get(running.commandId)).attempts.length, 1)
  },
)

t.test(
  'the agent dies while its disk is full: what it could not store is INTERRUPTED, and nothing is done twice',
  { buffered: true, ...aDisk },
  async (t) => {
    const disk = mountDisk(t)
    const { agent, api } = await system(t)
    const first = agent('worker', [], [], disk.path)
    const { commandId } = await api.submit(visit(300), 'running')
    await api.eventually('the request', () => target.hits(commandId) === 1)
    disk.fill()
    await first.logged(({ msg }) => msg === 'outcome not stored, it waits in memory')
    await first.kill()
    const refused = await agent('worker', [], [], disk.path).ended
    t.ok(
      refused.signal === null && refused.code !== EXIT.ok,
      `without space its next life ends by itself (${refused.code})`,
    )
    disk.free()
    agent('worker', [], [], disk.path)
    t.match(await api.final(commandId), { status: 'FAILED', error: { code: 'INTERRUPTED' }, attempts: { length: 1 } })
    t.equal(target.hits(commandId), 1)
  },
)

// ---- files

type Kind = {
  file: string
  launch: (dataDir: string) => Process
  /** Resolves when it has its file open. */
  isUp: (process: Process) => Promise<unknown>
}
const KINDS: Record<string, Kind> = {
  server: {
    file: 'commands.db',
    launch: (dataDir) => start('control-server/dist/src/server.js', ['--data-dir', dataDir, '--port', '0']),
    // An answer, because it says that it listens before it hears signals.
    isUp: async (process) => {
      const { address } = await process.logged(({ msg }) => msg === 'listening')
      await fetch(`${address}/livez`)
    },
  },
  agent: {
    file: 'idempotency.db',
    launch: (dataDir) => startAgent(dataDir, 9),
    isUp: (process) => process.logged(({ msg }) => msg === 'no answer'),
  },
}

/** The folder of a process that was started and stopped in order. */
const usedFolder = async (t: Test, kind: Kind, dataDir: string): Promise<string> => {
  const process = kind.launch(dataDir)
  t.teardown(process.kill)
  await kind.isUp(process)
  process.signal('SIGTERM')
  t.equal((await process.ended).code, EXIT.ok)
  return join(dataDir, kind.file)
}

const isRefused = async (t: Test, process: Process, code: number, file: string): Promise<void> => {
  t.teardown(process.kill)
  t.same(await process.ended, { code, signal: null })
  t.match(process.errors(), file, 'the file is named')
  t.notMatch(process.errors(), /^\s+at /m, 'a sentence, not a stack')
}

for (const [name, kind] of Object.entries(KINDS)) {
  t.test(`a read-only file is refused by the ${name}, and is as it was`, { buffered: true, ...aDisk }, async (t) => {
    const disk = mountDisk(t)
    const file = await usedFolder(t, kind, disk.path)
    const before = readFileSync(file)
    disk.mode('ro')
    await isRefused(t, kind.launch(disk.path), EXIT.config, file)
    t.ok(readFileSync(file).equals(before))
    disk.mode('rw')
    const again = kind.launch(disk.path)
    t.teardown(again.kill)
    await kind.isUp(again)
  })

  const damages: Record<string, (file: string) => void> = {
    'is no database': (file) =>
      writeFileSync(file, 'SELECT * FROM a_text_that_is_longer_than_the_header;\n'.repeat(40)),
    'was overwritten in the middle': (file) => {
      const bytes = readFileSync(file)
      bytes.fill(0xa5, 2 * 4096, 5 * 4096)
      writeFileSync(file, bytes)
    },
    'was cut': (file) => truncateSync(file, Math.floor(readFileSync(file).length / 8192) * 4096),
  }
  for (const [what, damage] of Object.entries(damages))
    t.test(`a file that ${what} is refused by the ${name}, and is as it was`, { buffered: true }, async (t) => {
      const dir = `${t.testdir()}/data`
      const file = await usedFolder(t, kind, dir)
      damage(file)
      const before = readFileSync(file)
      await isRefused(t, kind.launch(dir), EXIT.io, file)
      t.ok(readFileSync(file).equals(before))
    })

  t.test(`a second process cannot open the file of the ${name}`, { buffered: true }, async (t) => {
    const dir = `${t.testdir()}/data`
    const first = kind.launch(dir)
    t.teardown(first.kill)
    await kind.isUp(first)
    const second = kind.launch(dir)
    await isRefused(t, second, EXIT.config, join(dir, kind.file))
    t.match(second.errors(), 'in use by another process')
    first.signal('SIGTERM')
    t.equal((await first.ended).code, EXIT.ok, 'the first has gone on')
  })
}

t.test(
  'somebody else locks the database of the server: 503 STORE_BUSY, and nothing is half done; a reader is no hindrance',
  { buffered: true },
  async (t) => {
    // Looks of the sweeper would wait for the lock as well.
    const { dir, api } = await system(t, { flags: ['--sweep-ms', '60000'] })
    const other = new Database(`${dir}/server/commands.db`)
    t.teardown(() => other.close())
    const submission = { type: 'DELAY', payload: { ms: 1 } }
    const { commandId } = await api.submit(submission, 'before')

    other.exec('begin immediate')
    const refused = await api.call('POST', '/commands', submission, { 'idempotency-key': 'busy' })
    t.match(refused, { status: 503, body: { code: 'STORE_BUSY' } })
    t.match(refused.headers.get('retry-after'), /^[1-9]\d*$/)
    t.match(await api.call('POST', `/commands/${commandId}/cancel`), { status: 503, body: { code: 'STORE_BUSY' } })
    t.match(await api.get(commandId), { status: 'PENDING', cancelRequested: false }, 'reads work')
    other.exec('rollback')

    other.exec('begin')
    t.equal(other.prepare('select count(*) from commands').pluck().get(), 1)
    for (let number = 0; number < 20; number += 1) await api.submit(submission, `while-read-${number}`)
    t.equal(other.prepare('select count(*) from commands').pluck().get(), 1, 'the reader sees what it saw')
    other.exec('commit')
    await api.submit(submission, 'busy')
    t.equal(other.prepare('select count(*) from commands').pluck().get(), 22)
  },
)

t.test(
  'somebody else locks the journal of the agent: the outcome waits, the lease is kept, the command is run once',
  { buffered: true },
  async (t) => {
    const { dir, agent, api } = await system(t, { flags: ['--lease-ms', '3000'] })
    const worker = agent('worker')
    const { commandId } = await api.submit(visit(500), 'running')
    await api.eventually('the request', () => target.hits(commandId) === 1)
    const other = new Database(`${dir}/worker/idempotency.db`)
    t.teardown(() => other.close())
    other.exec('begin immediate')
    // Each try blocks the main thread for five seconds.
    const failures = () => worker.lines.filter(({ msg }) => msg === 'outcome not stored, it waits in memory').length
    await api.eventually('two tries', () => failures() === 2)
    const { attempts } = await api.get(commandId)
    t.match(attempts, [{ attempt: 1, state: 'RUNNING' }], 'longer than the lease, and not LOST')
    other.exec('rollback')
    t.match(await api.final(commandId), { status: 'COMPLETED', result: { body: { hit: 1 } }, attempts: { length: 1 } })
    t.equal(target.hits(commandId), 1)
  },
)

// ---- suspension

t.test(
  'an agent that is stopped for longer than its lease and goes on: LOST is shown, then the command completes, once',
  { buffered: true },
  async (t) => {
    const { agent, api } = await system(t, { flags: SHORT_LEASE })
    const worker = agent('worker')
    const get = await api.submit(visit(1000), 'get')
    const delay = await api.submit({ type: 'DELAY', payload: { ms: 1000 } }, 'delay')
    await api.eventually('the request', () => target.hits(get.commandId) === 1)
    await api.until(delay.commandId, ({ status }) => status === 'RUNNING')
    worker.signal('SIGSTOP')
    for (const { commandId } of [get, delay])
      await api.until(commandId, ({ attempts }) => attempts.at(-1)?.state === 'LOST')
    worker.signal('SIGCONT')
    for (const { commandId } of [get, delay])
      t.match(await api.final(commandId), { status: 'COMPLETED', attempts: [{ attempt: 1, state: 'SUCCEEDED' }] })
    t.equal(target.hits(get.commandId), 1)
  },
)

t.test(
  'with takeover a stopped agent is succeeded, and does no more for the command when it goes on',
  { buffered: true },
  async (t) => {
    const { agent, api } = await system(t, { flags: SHORT_LEASE })
    const worker = agent('worker')
    const retried = { retry: { maxAttempts: 5, backoff: { initialMs: 0 } }, takeover: 'auto' }
    const get = await api.submit({ ...visit(1000), ...retried }, 'get')
    const delay = await api.submit({ type: 'DELAY', payload: { ms: 8000 }, ...retried }, 'delay')
    await api.eventually('the request', () => target.hits(get.commandId) === 1)
    await api.until(delay.commandId, ({ status }) => status === 'RUNNING')
    worker.signal('SIGSTOP')
    agent('other')
    t.match(await api.final(get.commandId), { status: 'COMPLETED' })
    await api.until(delay.commandId, ({ attempts }) => attempts.at(-1)?.agentId === 'other')
    worker.signal('SIGCONT')
    const fenced = () => worker.lines.filter(({ msg, state }) => msg === 'finished' && state === 'INTERRUPTED').length
    await api.eventually('the fence', () => fenced() === 2)
    // A command that only it can take shows that it works on.
    const after = await api.submit({ ...visit(1), agentId: 'worker' }, 'after')
    t.match(await api.final(after.commandId), { status: 'COMPLETED' })
    for (const { commandId } of [get, delay]) {
      const command = await api.final(commandId)
      t.match(command, {
        status: 'COMPLETED',
        attempts: [{ state: 'EXPIRED', agentId: 'worker' }, { agentId: 'other' }],
      })
      fetchedOnceAnAttempt(t, command)
    }
  },
)

t.test(
  'a server that is stopped for longer than the leases and goes on: nothing is lost, and no two attempts overlap',
  { buffered: true },
  async (t) => {
    const { server, agent, api } = await system(t, { flags: SHORT_LEASE })
    const worker = agent('worker')
    const manual = await api.submit(visit(2000), 'manual')
    const auto = await api.submit(
      { ...visit(4000), retry: { maxAttempts: 5, backoff: { initialMs: 0 } }, takeover: 'auto' },
      'auto',
    )
    for (const { commandId } of [manual, auto]) await api.eventually('the request', () => target.hits(commandId) === 1)
    server.signal('SIGSTOP')
    const submitted = api.submit(visit(1), 'meanwhile')
    await worker.logged(({ msg }) => msg === 'the lease is over, stopping')
    await worker.logged(({ msg, commandId }) => msg === 'finished' && commandId === manual.commandId)
    await sleep(LEASE_OVER_MS)
    server.signal('SIGCONT')
    const meanwhile = await submitted
    for (const { commandId } of [manual, meanwhile]) {
      t.match(await api.final(commandId), {
        status: 'COMPLETED',
        result: { body: { hit: 1 } },
        attempts: { length: 1 },
      })
      t.equal(target.hits(commandId), 1)
    }
    const retried = await api.final(auto.commandId)
    t.equal(retried.status, 'COMPLETED')
    t.ok(retried.attempts.length > 1, 'the first attempt was cut')
    fetchedOnceAnAttempt(t, retried)
  },
)

// ---- the wall clock

const FAKETIME = ['x86_64', 'aarch64']
  .map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketimeMT.so.1`)
  .find(existsSync)
const aClock = needs('libfaketime', FAKETIME !== undefined)
const DELAY_MS = 4000

for (const where of ['server', 'agent'] as const)
  for (const step of ['+3600', '-3600'])
    t.test(
      `the wall clock of the ${where} is set by ${step} s: nothing is lost or expired, and a DELAY takes as long`,
      { buffered: true, ...aClock },
      async (t) => {
        const folder = mkdtempSync(join(tmpdir(), 'clock-'))
        t.teardown(() => rmSync(folder, { recursive: true }))
        const clock = join(folder, 'offset')
        writeFileSync(clock, '+0')
        const faked = [
          `LD_PRELOAD=${FAKETIME}`,
          `FAKETIME_TIMESTAMP_FILE=${clock}`,
          ...['FAKETIME_DONT_FAKE_MONOTONIC=1', 'FAKETIME_NO_CACHE=1'],
        ]
        const { agent, api } = await system(t, {
          flags: ['--lease-ms', '5000'],
          under: where === 'server' ? faked : [],
        })
        agent('worker', [], where === 'agent' ? faked : [])
        const inHalfAnHour = new Date(Date.now() + 1_800_000).toISOString()
        const waiting = await api.submit(
          { type: 'DELAY', payload: { ms: 1 }, labels: ['nobody'], expiresAt: inHalfAnHour, totalTimeoutMs: 1_800_000 },
          'waiting',
        )
        const notYet = await api.submit({ type: 'DELAY', payload: { ms: 1 }, notBefore: inHalfAnHour }, 'notYet')
        const get = await api.submit(visit(2000), 'get')
        // Where only the server's clock is set, no agent may lose what could be taken over either.
        const takeover = where === 'server' ? { retry: { maxAttempts: 2 }, takeover: 'auto' } : {}
        const beforeMs = performance.now()
        const delay = await api.submit({ type: 'DELAY', payload: { ms: DELAY_MS }, ...takeover }, 'delay')
        await api.eventually('the request', () => target.hits(get.commandId) === 1)
        await api.until(delay.commandId, ({ status }) => status === 'RUNNING')

        writeFileSync(clock, step)
        const after = await api.submit({ type: 'DELAY', payload: { ms: DELAY_MS } }, 'after')
        for (const { commandId } of [delay, after]) {
          const { status, result, attempts } = await api.final(commandId)
          t.match({ status, attempts }, { status: 'COMPLETED', attempts: [{ attempt: 1, state: 'SUCCEEDED' }] })
          const tookMs = Number(result?.tookMs)
          t.ok(Math.abs(tookMs - DELAY_MS) <= DELAY_MS * 0.2, `${DELAY_MS} ms took ${tookMs} by the agent's clock`)
          t.ok(performance.now() - beforeMs >= DELAY_MS * 0.8, 'and not less by ours')
        }
        t.match(await api.final(get.commandId), { status: 'COMPLETED', attempts: { length: 1 } })
        t.equal(target.hits(get.commandId), 1)
        for (const { commandId } of [waiting, notYet])
          t.match(await api.get(commandId), { status: 'PENDING', attempts: [] }, 'neither expired nor begun')
      },
    )

// ---- journals

t.test(
  'a journal that is deleted: after the old lease its agent is let in with a new one, and what ran is LOST, not run again',
  { buffered: true },
  async (t) => {
    const { dir, agent, api } = await system(t, { flags: [...SHORT_LEASE, '--lost-grace-ms', '0'] })
    const first = agent('worker')
    const { commandId } = await api.submit({ ...visit(5000), lostAfterMs: 1000 }, 'get')
    await api.eventually('the request', () => target.hits(commandId) === 1)
    await first.kill()
    const killedMs = performance.now()
    rmSync(`${dir}/worker`, { recursive: true })
    const second = agent('worker')
    await second.logged(({ msg }) => msg === 'registered')
    t.ok(performance.now() - killedMs > LEASE_MS, 'not before the old lease was over')
    const after = await api.submit(visit(1), 'after')
    t.match(await api.final(after.commandId), { status: 'COMPLETED' })
    const lost = await api.final(commandId)
    t.match(lost, { status: 'FAILED', error: { code: 'LOST' }, attempts: [{ attempt: 1, state: 'LOST' }] })
    t.equal(lost.attempts.length, 1)
    t.equal(target.hits(commandId), 1)
  },
)

t.test(
  'a journal that is copied to a second machine: one of the two works, the other is refused, and nothing is done twice',
  { buffered: true },
  async (t) => {
    const { dir, agent, api } = await system(t)
    const original = agent('worker')
    const ids: string[] = []
    const submit = async (ms: number) => {
      const { commandId } = await api.submit(visit(ms), `copied-${ids.length}`)
      ids.push(commandId)
      return commandId
    }
    await api.final(await submit(1))
    const running = await submit(3000)
    await api.eventually('the request', () => target.hits(running) === 1)
    cpSync(`${dir}/worker`, `${dir}/copy`, { recursive: true, filter: (path) => !path.endsWith('-shm') })
    const copy = agent('worker', [], [], `${dir}/copy`)
    await copy.logged(({ msg }) => msg === 'registered')
    t.equal((await original.ended).code, EXIT.superseded)
    const again = agent('worker')
    await again.logged(({ code }) => code === 'IDENTITY_CONFLICT')
    for (let number = 0; number < 5; number += 1) t.match(await api.final(await submit(1)), { status: 'COMPLETED' })
    // Fetched by the original; the copy knows that it was started and not how it ended.
    const { status, error, attempts } = await api.final(running)
    t.ok(status === 'COMPLETED' || error?.code === 'INTERRUPTED', status)
    t.equal(attempts.length, 1)
    t.notOk(again.lines.some(({ msg }) => msg === 'started'))
    for (const commandId of ids) t.equal(target.hits(commandId), 1)
  },
)

t.test(
  'a journal that is set back to an older copy: what it had accepted is not started a second time',
  { buffered: true },
  async (t) => {
    const { dir, agent, api } = await system(t, { flags: [...SHORT_LEASE, '--lost-grace-ms', '0'] })
    const accepting = agent('worker', ['--crash-at', 'accept.after-commit'])
    const done = await api.submit(visit(1), 'done')
    const running = await api.submit({ ...visit(5000), lostAfterMs: 1000 }, 'running')
    t.equal((await accepting.ended).signal, 'SIGKILL')
    cpSync(`${dir}/worker`, `${dir}/older`, { recursive: true })
    const second = agent('worker')
    t.match(await api.final(done.commandId), { status: 'COMPLETED' })
    await api.eventually('the request', () => target.hits(running.commandId) === 1)
    await second.kill()
    rmSync(`${dir}/worker`, { recursive: true })
    cpSync(`${dir}/older`, `${dir}/worker`, { recursive: true })
    const third = agent('worker')
    await third.logged(({ msg }) => msg === 'registered')
    t.match(await api.final(running.commandId), { status: 'FAILED', error: { code: 'LOST' }, attempts: { length: 1 } })
    const after = await api.submit(visit(1), 'after')
    t.match(await api.final(after.commandId), { status: 'COMPLETED' })
    for (const { commandId } of [done, running, after]) t.equal(target.hits(commandId), 1)
  },
)
