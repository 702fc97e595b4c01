import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createLeaseClock } from '@agent-executor/runtime'
import t, { type Test } from 'tap'
import { startHeartbeat } from '../../src/heartbeat/heartbeat.ts'
import { newLeaseMemory, sharedLease } from '../../src/heartbeat/shared-lease.ts'
import { fakeControlServer, html, NEVER, RESET, refusal, until } from '../client/fixtures/fake-control-server.ts'

const BLOCKED_MAIN = fileURLToPath(new URL('./fixtures/blocked-main.js', import.meta.url))
const EPOCH = 'epoch-00001'

// They wait for most of their time.
t.jobs = 4

/** The real thread, up and running, against a server; registered as incarnation 1 and not yet renewed. */
const beating = async (t: Test, leaseMs: number) => {
  const server = await fakeControlServer(t)
  server.state.leaseMs = leaseMs
  const clockMs = createLeaseClock()
  const heartbeat = startHeartbeat({
    serverUrl: server.url,
    agentId: 'agent-1',
    leaseClockMs: clockMs,
    onError: (error) => {
      throw error
    },
  })
  t.teardown(() => heartbeat.stop())
  heartbeat.registered({ incarnation: 1, epoch: EPOCH, leaseMs })
  await until('the thread is up', () => {
    const endsMs = clockMs() + leaseMs / 2
    if (heartbeat.leaseEndsMs() > endsMs) return true
    heartbeat.renewed(endsMs, leaseMs / 3)
    return false
  })
  heartbeat.registered({ incarnation: 1, epoch: EPOCH, leaseMs })
  server.heartbeats.length = 0
  const renew = (nextSyncMs = leaseMs / 3) => heartbeat.renewed(clockMs() + leaseMs, nextSyncMs)
  return { server, clockMs, heartbeat, renew }
}

t.test('the shared lease ends with the later of what both threads were granted', async (t) => {
  const lease = sharedLease(newLeaseMemory())
  t.equal(lease.endsMs(), 0)
  lease.renewedByMain(100.9, 10)
  t.equal(lease.endsMs(), 100)
  lease.renewedByThread(250)
  lease.renewedByMain(200, 10)
  t.equal(lease.endsMs(), 250)
  lease.forget()
  t.equal(lease.endsMs(), 0)
})

t.test('nothing is sent while the main thread renews; the thread steps in when it does not', async (t) => {
  const { server, renew, heartbeat } = await beating(t, 6000)
  renew()
  const untilMs = performance.now() + 1200
  while (performance.now() < untilMs) {
    renew()
    await sleep(20)
  }
  t.same(server.heartbeats, [])
  const endsMs = heartbeat.leaseEndsMs()
  await until('the lease is renewed by the thread', () => heartbeat.leaseEndsMs() > endsMs)
  t.same(server.heartbeats[0], { incarnation: 1, epoch: EPOCH })
})

t.test('the thread waits longer where the server wants the next sync later', async (t) => {
  const { server, clockMs, heartbeat, renew } = await beating(t, 3000)
  const arrivedMs: number[] = []
  server.script.heartbeat = () => {
    arrivedMs.push(clockMs())
    return {}
  }
  renew(2000)
  const renewedMs = clockMs()
  const endsMs = heartbeat.leaseEndsMs()
  await until('the lease is renewed by the thread', () => heartbeat.leaseEndsMs() > endsMs)
  t.ok((arrivedMs[0] ?? 0) - renewedMs > 2000, 'after that sync is overdue')
})

t.test('nothing is sent before the first registration, nor before its lease is known', async (t) => {
  const { server, renew } = await beating(t, 3000)
  await sleep(400)
  t.same(server.heartbeats, [])
  renew()
  await until('a heartbeat', () => server.heartbeats.length > 0)
})

t.test('a lease is counted from the sending of the heartbeat, not from its answer', async (t) => {
  const leaseMs = 3000
  const { server, clockMs, heartbeat, renew } = await beating(t, leaseMs)
  const arrivedMs: number[] = []
  server.script.heartbeat = async () => {
    arrivedMs.push(clockMs())
    await sleep(300)
    return {}
  }
  renew()
  const endsMs = heartbeat.leaseEndsMs()
  await until('the lease is renewed by the thread', () => heartbeat.leaseEndsMs() > endsMs)
  // Broken before: the thread's clock was ahead, so that the lease ended later than it was granted for.
  t.ok(heartbeat.leaseEndsMs() <= (arrivedMs[0] ?? 0) + leaseMs, 'never after arrival + lease')
  t.ok(heartbeat.leaseEndsMs() > (arrivedMs[0] ?? 0) + leaseMs - 1000, 'and not long before')
})

t.test('no answer renews the lease but the right one', async (t) => {
  const { server, heartbeat, renew } = await beating(t, 9000)
  const answers = [
    () => refusal(409, 'INCARNATION_SUPERSEDED'),
    () => ({ incarnation: 2 }),
    () => html(200),
    () => RESET,
  ] as const
  let sent = 0
  const ends: number[] = []
  server.script.heartbeat = () => {
    ends.push(heartbeat.leaseEndsMs())
    return answers[sent++]?.() ?? {}
  }
  renew()
  const endsMs = heartbeat.leaseEndsMs()
  await until('the lease is renewed by the thread', () => heartbeat.leaseEndsMs() > endsMs)
  t.equal(sent, answers.length + 1)
  t.same(new Set(ends), new Set([endsMs]))
})

t.test(
  'after a new registration it speaks for that one only, and an answer to the one before does not count',
  async (t) => {
    const { server, clockMs, heartbeat, renew } = await beating(t, 3000)
    let release = () => {}
    const held = new Promise<object>((resolve) => {
      release = () => resolve({})
    })
    server.script.heartbeat = () => held
    renew()
    await until('a heartbeat', () => server.heartbeats.length === 1)
    const ends: number[] = []
    server.script.heartbeat = () => {
      ends.push(heartbeat.leaseEndsMs())
      return {}
    }
    heartbeat.registered({ incarnation: 2, epoch: 'epoch-00002', leaseMs: 3000 })
    t.equal(heartbeat.leaseEndsMs(), 0, 'what was granted before is forgotten')
    const renewedMs = clockMs() + 3000
    heartbeat.renewed(renewedMs, 1000)
    release()
    await until('a heartbeat of the new registration', () => ends.length > 0)
    t.equal(ends[0], renewedMs, 'the late answer to incarnation 1 renewed nothing')
    t.same(server.heartbeats[1], { incarnation: 2, epoch: 'epoch-00002' })
  },
)

// Broken before: after a suspension or an outage the thread could be faster than the main thread's look at the lease,
// which then never learned that it had been over, and work that the server had taken away went on.
t.test('a lease that is over is not brought back by the thread, only by the main thread', async (t) => {
  const { server, clockMs, heartbeat, renew } = await beating(t, 2000)
  let release = () => {}
  const held = new Promise<object>((resolve) => {
    release = () => resolve({})
  })
  server.script.heartbeat = () => held
  renew()
  const endsMs = heartbeat.leaseEndsMs()
  await until('the lease is over', () => server.heartbeats.length > 0 && clockMs() > endsMs + 100)
  server.script.heartbeat = () => ({})
  release()
  const count = server.heartbeats.length
  await sleep(600)
  t.equal(heartbeat.leaseEndsMs(), endsMs, 'the answer came too late')
  t.equal(server.heartbeats.length, count, 'and no other is asked for')
  renew()
  const renewedMs = heartbeat.leaseEndsMs()
  await until('the lease is renewed by the thread', () => heartbeat.leaseEndsMs() > renewedMs)
})

t.test('a server that never answers does not end the heartbeats', async (t) => {
  const { server, heartbeat, renew } = await beating(t, 9000)
  server.script.heartbeat = () => (server.heartbeats.length < 2 ? NEVER : {})
  renew()
  const endsMs = heartbeat.leaseEndsMs()
  await until('the lease is renewed by the thread', () => heartbeat.leaseEndsMs() > endsMs)
  t.equal(server.heartbeats.length, 2)
})

t.test(
  'while the main thread is blocked for several leases, heartbeats arrive and the lease is alive afterwards',
  async (t) => {
    const server = await fakeControlServer(t)
    server.state.leaseMs = 1200
    const args = ['-u', 'NODE_OPTIONS', process.execPath, BLOCKED_MAIN, server.url, '1200', '4000']
    const child = spawn('/usr/bin/env', args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    const code = await new Promise((resolve) => child.on('close', resolve))
    t.equal(code, 0)
    const { renewedUntilMs, nowMs, endsMs, errors } = JSON.parse(output) as Record<string, number>
    t.same(errors, [])
    t.ok((nowMs ?? 0) > (renewedUntilMs ?? 0) + 2000, "the main thread's own lease was long over")
    t.ok((endsMs ?? 0) > (nowMs ?? 0), 'the lease is not')
    t.ok(server.heartbeats.length >= 4, `${server.heartbeats.length} heartbeats`)
    for (const beat of server.heartbeats) t.same(beat, { incarnation: 1, epoch: EPOCH })
  },
)
