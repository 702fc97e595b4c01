import { join } from 'node:path'
import type { CommandType, HeldAttempt, Offer, RegisterRequest, SyncRequest } from '@agent-executor/protocol'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import t, { type Test } from 'tap'
import { type AgentEnd, type AgentOptions, createAgent } from '../src/agent.ts'
import { createControlServer } from '../src/client/control-server.ts'
import type { Ending, Executor } from '../src/executors/executor.ts'
import { newLeaseMemory, sharedLease } from '../src/heartbeat/shared-lease.ts'
import { type Journal, openJournal, type Write } from '../src/journal/journal.ts'
import {
  type FakeControlServer,
  fakeControlServer,
  html,
  LEASE_MS,
  NEVER,
  RESET,
  Reply,
  refusal,
  until,
} from './client/fixtures/fake-control-server.ts'
import { offer } from './decide/fixtures/builders.ts'

const DONE: Ending = { ok: true, result: 'done' }

/** An executor that counts, and that a test ends by hand; it honours the abort. */
const countingExecutor = (type: CommandType, afterCrash: Executor['afterCrash']) => {
  const begun: string[] = []
  const aborted: string[] = []
  const ends = new Map<string, (ending: Ending) => void>()
  const executor: Executor = {
    type,
    afterCrash,
    run: ({ commandId, attempt }, signal) => {
      const attemptId = `${commandId}.${attempt}`
      begun.push(attemptId)
      return new Promise((resolve) => {
        ends.set(attemptId, resolve)
        signal.addEventListener('abort', () => {
          aborted.push(attemptId)
          resolve({ ok: false, error: { code: 'CANCELLED', message: 'aborted', retryable: false } })
        })
      })
    },
  }
  return { executor, begun, aborted, end: (attemptId: string, ending = DONE) => ends.get(attemptId)?.(ending) }
}

type LifeOptions = {
  dir?: string
  journal?: (journal: Journal) => Journal
  pollIntervalMs?: number
  options?: Partial<AgentOptions>
}

/** One life of an agent: a real journal, real HTTP, and clocks that a test may move. */
const live = (
  t: Test,
  server: FakeControlServer,
  { dir = t.testdir(), journal: wrap = (it) => it, pollIntervalMs = 20, options }: LifeOptions = {},
) => {
  const file = join(dir, 'idempotency.db')
  const journal = openJournal({ file, newAgentId: 'agent-1', newJournalId: 'journal-0001', nowMs: Date.now() })
  const client = createControlServer({ url: server.url, timeoutMs: 5000 })
  const http = countingExecutor('HTTP_GET_JSON', 'interrupted')
  const delay = countingExecutor('DELAY', 'resume')
  const lease = sharedLease(newLeaseMemory())
  const clock = { leaseMs: 1_000_000, wallAheadMs: 0 }
  const logged: string[] = []
  const fatal: unknown[] = []
  const log = (facts: object, message: string) => logged.push(`${message} ${JSON.stringify(facts)}`)
  let ids = 0
  const agent = createAgent({
    journal: wrap(journal),
    client,
    heartbeat: {
      registered: () => lease.forget(),
      renewed: lease.renewedByMain,
      leaseEndsMs: lease.endsMs,
      stop: async () => {},
    },
    executors: [http.executor, delay.executor],
    slots: { HTTP_GET_JSON: 10, DELAY: 100 },
    labels: [],
    version: '0.1.0',
    pollIntervalMs,
    retention: { ms: 86_400_000, rowsMax: 1000 },
    nowMs: () => Date.now() + clock.wallAheadMs,
    leaseClockMs: () => clock.leaseMs,
    random: Math.random,
    newId: () => `nonce-${process.pid}-${++ids}`,
    crashPoint: () => {},
    logger: { debug: log, info: log, warn: log, error: log },
    onFatal: (error) => {
      fatal.push(error)
      agent.stop()
      throw error
    },
    ...options,
  })
  const end = agent.run()
  const close = async (): Promise<AgentEnd> => {
    agent.stop()
    const why = await end
    await client.close()
    journal.close()
    return why
  }
  t.teardown(close)
  return { agent, journal, http, delay, lease, clock, logged, fatal, end, close, dir }
}

const phaseIn = ({ held }: SyncRequest, attemptId: string) => held.find((item) => item.attemptId === attemptId)?.phase
const itemOf = ({ held }: SyncRequest, attemptId: string): HeldAttempt | undefined =>
  held.find((item) => item.attemptId === attemptId)

/** The server offers these until the agent names them; the rest as untold. */
const offering =
  (...offers: Offer[]) =>
  ({ held, mode }: SyncRequest, more: object = {}) => ({
    ...(mode === 'ready'
      ? { offers: offers.filter(({ attemptId }) => !held.some((item) => item.attemptId === attemptId)) }
      : {}),
    ...more,
  })

/** A command that runs in the agent of this life. */
const running = async (t: Test, change: Partial<Offer> = {}, lifeOptions: LifeOptions = {}) => {
  const server = await fakeControlServer(t)
  const offered = offer('c1.1', change)
  let open = true
  server.script.sync = (request) => {
    const answer = open ? offering(offered)(request) : {}
    open &&= request.held.length === 0
    return answer
  }
  const life = live(t, server, lifeOptions)
  const executor = offered.type === 'DELAY' ? life.delay : life.http
  await until('the effect has begun', () => executor.begun.length === 1)
  await server.synced('that shows it running', (request) => phaseIn(request, 'c1.1') === 'running')
  return { server, executor, ...life }
}

const sqliteError = (code: string) => Object.assign(new Error(code), { code })
/** A journal whose writes of these types fail as long as `broken` says so. */
const failing =
  (broken: (writes: readonly Write[]) => string | false) =>
  (journal: Journal): Journal => ({
    ...journal,
    write: (writes) => {
      const code = broken(writes)
      if (code !== false) throw sqliteError(code)
      journal.write(writes)
    },
  })
const has = (writes: readonly Write[], type: Write['type']) => writes.some((write) => write.type === type)

t.test(
  'offer, accept, grant, effect, report, ack: each step is in the journal before it is said, and the effect happens once',
  async (t) => {
    const server = await fakeControlServer(t)
    const steps: string[] = []
    server.script.sync = (request) => {
      const said = phaseIn(request, 'c1.1') ?? 'nothing'
      if (said !== steps.at(-1)) steps.push(said)
      if (said === 'accepted') {
        t.equal(life.journal.get('c1.1')?.phase, 'ACCEPTED')
        t.same(life.http.begun, [], 'nothing begins before the grant')
      }
      if (said === 'nothing' && steps.length === 1) return offering(offer())(request)
      return {}
    }
    const life = live(t, server)
    await until('the effect has begun', () => life.http.begun.length === 1)
    t.equal(life.journal.get('c1.1')?.phase, 'STARTED')
    await server.synced('that shows it running', (request) => phaseIn(request, 'c1.1') === 'running')
    life.http.end('c1.1')
    await until('it is acknowledged', () => life.journal.get('c1.1')?.phase === 'ACKED')
    await until('it is named no more', () => steps.at(-1) === 'nothing')
    t.same(steps, ['nothing', 'accepted', 'running', 'finished', 'nothing'])
    const reported = itemOf(
      await server.synced('with the outcome', (request) => itemOf(request, 'c1.1')?.outcome !== undefined),
      'c1.1',
    )
    t.same(reported?.outcome, { state: 'SUCCEEDED', result: 'done', resultTruncated: false })
    t.equal(reported?.outcomeSha256, sha256(canonicalJson(reported?.outcome)))
    t.same(life.http.begun, ['c1.1'])
  },
)

t.test('it registers once, says what it can do, and numbers its syncs upwards', async (t) => {
  const server = await fakeControlServer(t)
  live(t, server)
  await until('some syncs', () => server.syncs.length > 3)
  t.equal(server.registrations.length, 1)
  t.match(server.registrations[0], {
    agentId: 'agent-1',
    journalId: 'journal-0001',
    previousNonces: [],
    previousIncarnation: 0,
    logSeq: 0,
    protocol: { min: 1, max: 1 },
    types: ['HTTP_GET_JSON', 'DELAY'],
    slots: { HTTP_GET_JSON: 10, DELAY: 100 },
  })
  for (const [index, request] of server.syncs.entries())
    t.match(request, {
      incarnation: 1,
      epoch: 'epoch-00001',
      seq: index + 1,
      mode: 'ready',
      want: { HTTP_GET_JSON: 10, DELAY: 100 },
      held: [],
    })
})

t.test('an offer and a grant that come again and again start nothing twice', async (t) => {
  const server = await fakeControlServer(t)
  server.script.sync = () => ({ offers: [offer(), offer()], grants: ['c1.1', 'c1.1'] })
  const { http, journal } = live(t, server)
  await until('the effect has begun', () => http.begun.length > 0)
  const seen = server.syncs.length
  await until('more answers of the same kind', () => server.syncs.length > seen + 5)
  http.end('c1.1')
  await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
  const acked = server.syncs.length
  await until('the offer came again, was answered by the outcome, and that was acknowledged', () =>
    server.syncs.slice(acked).some((request) => itemOf(request, 'c1.1')?.outcome !== undefined),
  )
  t.same(http.begun, ['c1.1'])
})

t.test('a grant that arrives after the lease it was given under is not started, but asked for again', async (t) => {
  const server = await fakeControlServer(t)
  let late = 2
  server.script.sync = (request) => {
    if (phaseIn(request, 'c1.1') === 'accepted' && late-- > 0) {
      t.same(life.http.begun, [])
      life.clock.leaseMs += LEASE_MS
      // What the heartbeat thread renewed meanwhile does not help: the lease may have been over in between.
      life.lease.renewedByThread(life.clock.leaseMs + LEASE_MS)
    }
    return request.held.length === 0 && life.journal.get('c1.1') === undefined ? { offers: [offer()] } : {}
  }
  const life = live(t, server)
  await until('the effect has begun', () => life.http.begun.length > 0)
  t.equal(late, -1, 'only the third grant was in time')
  t.same(life.http.begun, ['c1.1'])
})

t.test('an outcome is reported until it is acknowledged, always the same', async (t) => {
  const { server, http, journal } = await running(t)
  const reports: (HeldAttempt | undefined)[] = []
  const odd = [
    () => RESET,
    () => html(500),
    () => html(200),
    () => new Reply(204),
    () => ({ acks: [] }),
    () => ({}),
  ] as const
  server.script.sync = (request) => {
    if (itemOf(request, 'c1.1')?.outcome === undefined) return {}
    reports.push(itemOf(request, 'c1.1'))
    return odd[reports.length - 1]?.() ?? {}
  }
  http.end('c1.1')
  await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
  t.equal(reports.length, odd.length)
  t.equal(new Set(reports.map((item) => JSON.stringify(item))).size, 1)
  t.same(http.begun, ['c1.1'])
})

t.test('an answer that confirms a run which has just finished does not start it again', async (t) => {
  const { server, http, journal } = await running(t)
  server.script.sync = async (request) => {
    if (phaseIn(request, 'c1.1') !== 'running') return {}
    http.end('c1.1')
    await until('the outcome is in the journal', () => journal.get('c1.1')?.phase === 'FINISHED')
    return {}
  }
  await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
  t.same(http.begun, ['c1.1'])
})

// Broken before: the run was forgotten, the next answer confirmed the attempt as running, and it was run a second time.
t.test('an outcome that the journal refuses for a while is kept, and the effect does not happen again', async (t) => {
  let failures = 2
  const { server, http, journal } = await running(
    t,
    {},
    {
      journal: failing((writes) => has(writes, 'finish') && failures-- > 0 && 'SQLITE_BUSY'),
    },
  )
  http.end('c1.1')
  await server.synced('with the outcome', (request) => itemOf(request, 'c1.1')?.outcome !== undefined)
  t.equal(failures, -1)
  t.same(http.begun, ['c1.1'])
  await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
})

t.test('outcomes that come together', async (t) => {
  const ids = ['c1.1', 'c2.1', 'c3.1']
  const together = async (t: Test, lifeOptions: LifeOptions) => {
    const server = await fakeControlServer(t)
    server.script.sync = (request) =>
      request.held.length === 0 ? offering(...ids.map((id) => offer(id)))(request) : {}
    const life = live(t, server, lifeOptions)
    await until('all effects have begun', () => life.http.begun.length === ids.length)
    for (const id of ids) life.http.end(id)
    return life
  }

  t.test('share one commit', async (t) => {
    const commits: string[][] = []
    const { journal } = await together(t, {
      journal: failing((writes) => {
        const finished = writes.flatMap((write) => (write.type === 'finish' ? [write.attemptId] : []))
        if (finished.length > 0) commits.push(finished)
        return false
      }),
    })
    await until('they are acknowledged', () => ids.every((id) => journal.get(id)?.phase === 'ACKED'))
    t.same(commits, [ids])
  })

  t.test('do not wait for one among them that the journal refuses', async (t) => {
    let refused = true
    const { journal } = await together(t, {
      journal: failing(
        (writes) =>
          refused &&
          writes.some((write) => write.type === 'finish' && write.attemptId === 'c2.1') &&
          'SQLITE_CONSTRAINT',
      ),
    })
    await until('the others are acknowledged', () => ['c1.1', 'c3.1'].every((id) => journal.get(id)?.phase === 'ACKED'))
    t.equal(journal.get('c2.1')?.phase, 'STARTED')
    refused = false
    await until('it is acknowledged too', () => journal.get('c2.1')?.phase === 'ACKED')
  })
})

t.test('with a full disk', async (t) => {
  t.test('nothing new is taken and outcomes are still reported; when there is room again, work goes on', async (t) => {
    let full = false
    const { server, clock, http, journal } = await running(
      t,
      {},
      { journal: failing((writes) => full && has(writes, 'accept') && 'SQLITE_FULL') },
    )
    full = true
    http.end('c1.1')
    server.script.sync = (request) => (journal.get('c2.1') === undefined ? offering(offer('c2.1'))(request) : {})
    // Broken before: the offer came with every answer, failed every time, and took the acks with it.
    const paused = await server.synced('that declines', ({ mode }) => mode === 'paused')
    t.same(paused.want, {})
    await until('the outcome of the other is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.equal(journal.get('c2.1'), undefined)
    full = false
    clock.leaseMs += 6000
    await until('the offer is taken', () => http.begun.includes('c2.1'))
    t.same(http.begun, ['c1.1', 'c2.1'])
  })

  t.test('an outcome waits in memory', async (t) => {
    let full = true
    const { server, http, journal } = await running(
      t,
      {},
      { journal: failing((writes) => full && has(writes, 'finish') && 'SQLITE_FULL') },
    )
    http.end('c1.1')
    await server.synced('that declines new work', ({ mode }) => mode === 'paused')
    t.equal(journal.get('c1.1')?.phase, 'STARTED')
    full = false
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.same(http.begun, ['c1.1'])
  })

  t.test('a start that cannot be logged does not begin', async (t) => {
    const server = await fakeControlServer(t)
    let failures = 2
    server.script.sync = (request) => (life.journal.get('c1.1') === undefined ? offering(offer())(request) : {})
    const life = live(t, server, {
      journal: failing((writes) => has(writes, 'start') && failures-- > 0 && 'SQLITE_FULL'),
    })
    await until('the effect has begun', () => life.http.begun.length > 0)
    t.equal(failures, -1)
    t.equal(life.journal.get('c1.1')?.phase, 'STARTED')
    t.same(life.http.begun, ['c1.1'])
  })

  // Broken before: thrown in a timer, it ended the process with everything that was running.
  t.test('a journal that cannot be pruned ends nothing', async (t) => {
    const server = await fakeControlServer(t)
    const full = (): number => {
      throw sqliteError('SQLITE_FULL')
    }
    const { logged } = live(t, server, { journal: (journal) => ({ ...journal, prune: full }) })
    await until('it syncs', () => server.syncs.length > 1)
    t.ok(logged.some((line) => line.startsWith('journal not pruned')))
  })
})

t.test('an error of the disk ends the agent, wherever it shows', async (t) => {
  const broken: Record<string, (journal: Journal) => Partial<Journal>> = {
    'reading what is open': () => {
      let calls = 0
      return { open: () => (calls++ < 3 ? [] : raise('SQLITE_IOERR_READ')) }
    },
    'reading the identity': ({ identity }) => {
      let calls = 0
      return { identity: () => (calls++ < 3 ? identity() : raise('SQLITE_CORRUPT')) }
    },
    'writing an offer': () => ({ write: (writes) => (writes.length > 0 ? raise('SQLITE_IOERR_FSYNC') : undefined) }),
    'writing a nonce': () => ({ registering: () => raise('SQLITE_NOTADB') }),
    pruning: () => ({ prune: () => raise('SQLITE_IOERR') }),
  }
  const raise = (code: string): never => {
    throw sqliteError(code)
  }
  for (const [name, change] of Object.entries(broken))
    t.test(name, async (t) => {
      const server = await fakeControlServer(t)
      server.script.sync = (request) => offering(offer())(request)
      const dead: unknown[] = []
      const life = live(t, server, {
        journal: (journal) => ({ ...journal, ...change(journal) }),
        options: {
          // As in the process, where it does not return: nothing of this agent runs on.
          onFatal: (error) => {
            dead.push(error)
            life.agent.stop()
            return undefined as never
          },
        },
      })
      await until('it is fatal', () => dead.length > 0)
      t.same(life.http.begun, [])
    })
})

t.test('an executor that throws at once fails its own attempt and keeps no other from beginning', async (t) => {
  const server = await fakeControlServer(t)
  const begun: string[] = []
  const executor: Executor = {
    type: 'HTTP_GET_JSON',
    afterCrash: 'interrupted',
    run: ({ commandId }) => {
      begun.push(commandId)
      if (commandId === 'bad') throw new Error('bug')
      return Promise.resolve(DONE)
    },
  }
  server.script.sync = (request) =>
    life.journal.get('good.1') === undefined ? offering(offer('bad.1'), offer('good.1'))(request) : {}
  const life = live(t, server, { options: { executors: [executor] } })
  await until('both are acknowledged', () => ['bad.1', 'good.1'].every((id) => life.journal.get(id)?.phase === 'ACKED'))
  t.match(life.journal.outcome('bad.1'), { state: 'FAILED', error: { code: 'INTERNAL_ERROR' } })
  t.match(life.journal.outcome('good.1'), { state: 'SUCCEEDED' })
  t.same(begun, ['bad', 'good'])
})

// Broken before: such an attempt was renewed for ever and never ended.
t.test('an attempt of a type without executor is failed', async (t) => {
  const server = await fakeControlServer(t)
  server.script.sync = (request) => (life.journal.get('c1.1') === undefined ? offering(offer())(request) : {})
  const life = live(t, server, { options: { executors: [] } })
  await until('it is acknowledged', () => life.journal.get('c1.1')?.phase === 'ACKED')
  t.match(life.journal.outcome('c1.1'), { state: 'FAILED', error: { code: 'INTERNAL_ERROR' } })
})

t.test('a newer process of the same agent', async (t) => {
  t.test('ends this one: what it holds is left to the other, stopped and not reported', async (t) => {
    const { server, http, journal, end } = await running(t)
    server.script.sync = () => refusal(409, 'INCARNATION_SUPERSEDED')
    t.equal(await end, 'superseded')
    t.same(http.aborted, ['c1.1'])
    t.equal(journal.get('c1.1')?.phase, 'STARTED')
    const count = server.syncs.length
    t.same(http.begun, ['c1.1'])
    t.equal(server.syncs.length, count)
  })

  t.test('is not believed from a wait, which may belong to an earlier registration', async (t) => {
    const server = await fakeControlServer(t)
    server.script.wait = () => refusal(409, 'INCARNATION_SUPERSEDED')
    const { end } = live(t, server)
    await until('waits and syncs', () => server.waits.length > 2 && server.syncs.length > 5)
    t.equal(await Promise.race([end, 'alive']), 'alive')
  })
})

t.test(
  'an answer that belongs to another registration or another request is ignored, and not asked for again at once',
  async (t) => {
    const server = await fakeControlServer(t)
    const offered = { offers: [offer()], grants: ['c1.1'], drop: ['c1.1'], leaseMs: 3_600_000 }
    server.script.sync = ({ incarnation, seq }) => {
      if (server.syncs.length % 2 === 0) return { ...offered, incarnation: incarnation - 1 }
      return { ...offered, seq: seq - 1 }
    }
    const { journal, lease, clock, http } = live(t, server)
    await until('some answers', () => server.syncs.length > 3)
    t.equal(journal.get('c1.1'), undefined)
    t.ok(lease.endsMs() <= clock.leaseMs + LEASE_MS, 'the lease is what the registration gave')
    t.same(http.begun, [])
    // Broken before: asked again without any pause, thousands of times a second.
    const [count, fromMs] = [server.syncs.length, performance.now()]
    await until('a second', () => performance.now() > fromMs + 1000)
    t.ok(server.syncs.length - count <= 4, `${server.syncs.length - count} syncs in a second`)
  },
)

t.test('a server that was restored from a backup', async (t) => {
  t.test('is shown the whole journal, specs and acknowledged outcomes too, and what runs goes on', async (t) => {
    const { server, http, journal, clock, lease } = await running(t, { takeover: 'auto' })
    server.script.sync = (request) => (journal.get('c2.1') === undefined ? offering(offer('c2.1'))(request) : {})
    await until('another begins', () => http.begun.includes('c2.1'))
    http.end('c2.1')
    await until('and is acknowledged', () => journal.get('c2.1')?.phase === 'ACKED')
    Object.assign(server.state, { epoch: 'epoch-00002', rev: 1, recovery: true })
    const before = server.syncs.length
    server.script.sync = (request) => {
      if (request.epoch !== 'epoch-00002') return refusal(409, 'EPOCH_CHANGED')
      return { grants: [] }
    }
    await until('it registers again', () => server.registrations.length === 2)
    await server.synced('of the new epoch', ({ epoch }) => epoch === 'epoch-00002')
    const shown = server.syncs.slice(before).find(({ epoch }) => epoch === 'epoch-00002') as SyncRequest
    t.match(server.registrations[1], { previousIncarnation: 1, journalId: 'journal-0001' })
    t.match(shown, { incarnation: 2, seq: 1, revSeen: 1 })
    t.same(itemOf(shown, 'c1.1')?.offer, offer('c1.1', { takeover: 'auto' }))
    t.equal(phaseIn(shown, 'c1.1'), 'running')
    t.match(itemOf(shown, 'c2.1'), { phase: 'finished', offer: { attemptId: 'c2.1' }, outcome: { state: 'SUCCEEDED' } })
    server.state.recovery = false
    await server.synced(
      'after the recovery',
      (later) => later.epoch === 'epoch-00002' && later.held.every(({ offer }) => offer === undefined),
    )
    t.ok(lease.endsMs() > clock.leaseMs)
    t.same(http.aborted, [], 'nothing was fenced')
    t.same(http.begun, ['c1.1', 'c2.1'], 'nothing begun again')
  })

  // Broken before: without a registration nothing was fenced, however long the lease was over.
  t.test('and that does not answer any more does not keep takeover-able work alive', async (t) => {
    const { server, http, clock } = await running(t, { takeover: 'auto' })
    server.script.sync = () => refusal(409, 'EPOCH_CHANGED')
    server.script.register = () => html(502)
    await until('it tries to register', () => server.registrations.length > 1)
    t.same(http.aborted, [])
    clock.leaseMs += LEASE_MS
    await until('the work is fenced', () => http.aborted.length === 1)
  })

  // Broken before: `revSeen` was set back by the registration, so the rollback was never noticed.
  t.test('in the same epoch is found out by an agent that was restarted', async (t) => {
    const { server, close, dir } = await running(t)
    server.state.rev = 50
    await server.synced('that has seen it', ({ revSeen }) => revSeen === 50)
    server.script.sync = (request) => offering(offer('c2.1'))(request)
    await server.synced('with another command', (request) => phaseIn(request, 'c2.1') === 'running')
    await close()
    server.state.rev = 7
    const count = server.syncs.length
    live(t, server, { dir })
    await until('it syncs', () => server.syncs.length > count)
    t.equal(server.syncs[count]?.revSeen, 50)
  })
})

t.test('the revision of a grant is in the journal with the start', async (t) => {
  const server = await fakeControlServer(t)
  server.script.sync = (request) => {
    server.state.rev = phaseIn(request, 'c1.1') === 'accepted' ? 20 : 10
    return life.journal.get('c1.1') === undefined
      ? offering(offer())(request)
      : phaseIn(request, 'c1.1') === 'running'
        ? NEVER
        : {}
  }
  const life = live(t, server)
  await until('the effect has begun', () => life.http.begun.length === 1)
  // Broken before: a server set back to the moment before the grant was not found out by an agent that crashed now.
  t.equal(life.journal.identity().revSeen, 20)
})

t.test(
  'while the server is away nothing is lost: the work goes on, and the outbox is delivered in the end',
  async (t) => {
    const { server, http, journal } = await running(t)
    server.script.sync = () => RESET
    const count = server.syncs.length
    http.end('c1.1')
    await until('several syncs in vain', () => server.syncs.length > count + 3)
    t.equal(journal.get('c1.1')?.phase, 'FINISHED')
    server.script.sync = () => ({})
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.same(http.begun, ['c1.1'])
  },
)

t.test('a registration whose answer is lost is named by the next', async (t) => {
  const server = await fakeControlServer(t)
  const odd = [RESET, html(200), refusal(409, 'IDENTITY_CONFLICT')] as const
  server.script.register = () => odd[server.registrations.length - 1] ?? {}
  live(t, server)
  await until('it syncs', () => server.syncs.length > 0)
  const nonces = server.registrations.map(({ nonce }: RegisterRequest) => nonce)
  t.equal(new Set(nonces).size, 4)
  t.same(server.registrations[3]?.previousNonces, nonces.slice(0, 3))
})

t.test('the end of the lease', async (t) => {
  t.test('stops what may be taken over, and that alone', async (t) => {
    const server = await fakeControlServer(t)
    const offers = [offer('auto.1', { takeover: 'auto' }), offer('manual.1')]
    server.script.sync = (request) => (life.journal.get('auto.1') === undefined ? offering(...offers)(request) : {})
    const life = live(t, server)
    await until('both have begun', () => life.http.begun.length === 2)
    server.script.sync = () => RESET
    await until('the server is away', () => life.logged.some((line) => line.startsWith('no answer')))
    // The margin of a lease of 30 s: nothing happens before it, everything at it.
    life.clock.leaseMs = life.lease.endsMs() - 2001
    const beforeMs = performance.now()
    await until('the lease was looked at', () => performance.now() > beforeMs + 600)
    t.same(life.http.aborted, [])
    life.clock.leaseMs += 1
    await until('one is fenced', () => life.journal.get('auto.1')?.phase === 'FINISHED')
    t.match(life.journal.outcome('auto.1'), { state: 'INTERRUPTED', error: { code: 'INTERRUPTED' } })
    t.same(life.http.aborted, ['auto.1'])
    server.script.sync = () => ({})
    const item = itemOf(
      await server.synced('with the outcome', (request) => itemOf(request, 'auto.1')?.outcome !== undefined),
      'auto.1',
    )
    t.equal(item?.phase, 'interrupted')
    life.http.end('manual.1')
    await until('the other ends well', () => life.journal.get('manual.1')?.phase === 'ACKED')
    t.match(life.journal.outcome('manual.1'), { state: 'SUCCEEDED' })
  })

  // Broken before: the answer renewed the lease before anybody had looked, as after a suspension.
  t.test('is noticed also where the next answer brings a new lease at the same moment', async (t) => {
    const { server, http, clock, journal } = await running(t, { takeover: 'auto' })
    let once = true
    server.script.sync = () => {
      if (once) clock.leaseMs += LEASE_MS * 20
      once = false
      return {}
    }
    await until('the work is fenced', () => http.aborted.length === 1)
    await until('and reported', () => journal.get('c1.1')?.phase === 'ACKED')
    t.match(journal.outcome('c1.1'), { state: 'INTERRUPTED' })
  })
})

t.test('a cancel', async (t) => {
  const cancelling = (request: SyncRequest) => ({
    grants: [],
    desired:
      phaseIn(request, 'c1.1') === undefined || itemOf(request, 'c1.1')?.outcome
        ? []
        : [{ attemptId: 'c1.1', cancel: 'no need', graceMs: 0 }],
  })

  t.test('that comes before the start is reported without one', async (t) => {
    const server = await fakeControlServer(t)
    server.script.sync = (request) =>
      life.journal.get('c1.1') === undefined ? offering(offer())(request) : cancelling(request)
    const life = live(t, server)
    await until('it is acknowledged', () => life.journal.get('c1.1')?.phase === 'ACKED')
    t.match(life.journal.outcome('c1.1'), { state: 'CANCELLED', error: { code: 'CANCELLED', message: 'no need' } })
    t.same(life.http.begun, [])
  })

  t.test('stops what runs', async (t) => {
    const { server, http, journal } = await running(t)
    server.script.sync = cancelling
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.match(journal.outcome('c1.1'), { state: 'CANCELLED', error: { message: 'no need' } })
    t.same(http.aborted, ['c1.1'])
  })

  t.test('of work that is over leaves its result', async (t) => {
    const { server, http, journal } = await running(t)
    server.script.sync = async (request) => {
      if (phaseIn(request, 'c1.1') !== 'running') return {}
      http.end('c1.1')
      await until('the outcome is in the journal', () => journal.get('c1.1')?.phase === 'FINISHED')
      return { desired: [{ attemptId: 'c1.1', cancel: 'too late', graceMs: 0 }] }
    }
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.match(journal.outcome('c1.1'), { state: 'SUCCEEDED' })
  })
})

t.test('an executor whose effects outlive the agent', async (t) => {
  const outliving = (more: Partial<Executor> = {}) => {
    const counting = countingExecutor('RUN_AGENT', 'adopt')
    return { ...counting, executor: { ...counting.executor, ...more } }
  }
  /** An earlier life has started the attempt, and logged its container. */
  const started = (journal: Journal): Journal => {
    const attemptId = 'c1.1'
    journal.write([
      { type: 'accept', offer: offer(attemptId, { type: 'RUN_AGENT' }), atMs: Date.now() },
      { type: 'start', attemptId, atMs: Date.now() },
    ])
    journal.write([{ type: 'container', attemptId, containerId: 'of-an-earlier-life' }])
    return journal
  }

  t.test('goes on where the server confirms it, and knows the container', async (t) => {
    const server = await fakeControlServer(t)
    const ids: (string | null)[] = []
    const agents = outliving()
    const executor: Executor = {
      ...agents.executor,
      run: (work, signal, container) => {
        ids.push(container.id)
        return agents.executor.run(work, signal, container)
      },
    }
    const options = { executors: [executor], slots: { RUN_AGENT: 1 } }
    const { journal } = live(t, server, { journal: started, options })
    await until('it is taken up', () => agents.begun.length === 1)
    agents.end('c1.1')
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.same(ids, ['of-an-earlier-life'])
    t.match(journal.outcome('c1.1'), { state: 'SUCCEEDED' })
  })

  t.test('is taken up to be stopped where the cancel came meanwhile, and only then reported', async (t) => {
    const server = await fakeControlServer(t)
    server.script.sync = (request) =>
      phaseIn(request, 'c1.1') === 'running' ? { desired: [{ attemptId: 'c1.1', cancel: 'enough', graceMs: 5 }] } : {}
    const agents = outliving()
    const causes: unknown[] = []
    let settle = () => {}
    const executor: Executor = {
      ...agents.executor,
      run: (work, signal) => {
        agents.begun.push(work.commandId)
        signal.addEventListener('abort', () => causes.push(signal.reason))
        return new Promise((resolve) => {
          settle = () => resolve({ ok: false, error: { code: 'CANCELLED', message: 'over', retryable: false } })
        })
      },
    }
    const options = { executors: [executor], slots: { RUN_AGENT: 1 } }
    const { journal } = live(t, server, { journal: started, options })
    await until('it is told to stop', () => causes.length === 1)
    t.same(causes, [{ type: 'cancel', reason: 'enough', graceMs: 5 }])
    const count = server.syncs.length
    await until('later syncs', () => server.syncs.length > count + 5)
    t.equal(journal.get('c1.1')?.phase, 'STARTED', 'nothing is said before it is over')
    settle()
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.match(journal.outcome('c1.1'), { state: 'CANCELLED', error: { message: 'enough' } })
    t.same(agents.begun, ['c1'])
  })

  t.test('is asked to clean up at the start and after each ack, and told what may go', async (t) => {
    const server = await fakeControlServer(t)
    const states: string[][] = []
    const agents = outliving({
      reconcile: async (stateOf) => {
        states.push(['c1.1', 'unknown.1'].map(stateOf))
      },
    })
    const options = { executors: [agents.executor], slots: { RUN_AGENT: 1 } }
    live(t, server, { journal: started, options })
    await until('it is taken up', () => agents.begun.length === 1)
    agents.end('c1.1')
    await until('it may go', () => states.at(-1)?.[0] === 'acknowledged')
    t.same(states[0], ['open', 'unknown'])
    t.same(states.at(-1), ['acknowledged', 'unknown'])
  })

  t.test('is offered only while it is ready', async (t) => {
    const server = await fakeControlServer(t)
    let ready = false
    const agents = outliving({ ready: () => ready })
    const { agent } = live(t, server, { options: { executors: [agents.executor], slots: { RUN_AGENT: 2 } } })
    await server.synced('that wants none', ({ want }) => want.RUN_AGENT === 0)
    ready = true
    agent.readyChanged()
    await server.synced('that wants two', ({ want }) => want.RUN_AGENT === 2)
    t.same(server.registrations[0]?.types, ['RUN_AGENT'])
  })
})

t.test('a drop', async (t) => {
  t.test('stops what runs and reports nothing', async (t) => {
    const { server, http, journal } = await running(t)
    const count = server.syncs.length
    server.script.sync = ({ held }) => ({ drop: held.map(({ attemptId }) => attemptId) })
    await until('it is stopped', () => http.aborted.length === 1 && journal.get('c1.1')?.phase === 'ACKED')
    await until('later syncs', () => server.syncs.length > count + 5)
    t.ok(server.syncs.slice(count).every((request) => itemOf(request, 'c1.1')?.outcome === undefined))
    t.match(journal.outcome('c1.1'), { state: 'INTERRUPTED' }, 'the journal says that it may have run')
    // And an old offer of it does not start it again.
    server.script.sync = (request) => (itemOf(request, 'c1.1') ? {} : { offers: [offer()], grants: ['c1.1'] })
    await server.synced('that answers the offer', (request) => phaseIn(request, 'c1.1') === 'interrupted')
    t.same(http.begun, ['c1.1'])
  })

  t.test('of what is accepted forgets it, and it runs where it is offered and granted anew', async (t) => {
    const server = await fakeControlServer(t)
    let dropped = false
    server.script.sync = (request) => {
      const item = itemOf(request, 'c1.1')
      if (item === undefined && life.http.begun.length === 0) return { offers: [offer()] }
      if (item?.phase !== 'accepted' || dropped) return {}
      dropped = true
      return { drop: ['c1.1'], grants: ['c1.1'] }
    }
    const life = live(t, server)
    await until('the effect has begun', () => life.http.begun.length > 0)
    t.ok(dropped)
    t.equal(life.journal.get('c1.1')?.phase, 'STARTED')
  })
})

t.test('a restart', async (t) => {
  const left = (t: Test, writes: Write[]) => {
    const dir = t.testdir()
    const journal = openJournal({
      file: join(dir, 'idempotency.db'),
      newAgentId: 'agent-1',
      newJournalId: 'journal-0001',
      nowMs: 1,
    })
    journal.write(writes)
    journal.registered({ incarnation: 4, epoch: 'epoch-00001', rev: 1 })
    journal.close()
    return dir
  }
  const atMs = Date.now()
  const accepted = (change: Partial<Offer> = {}): Write => ({ type: 'accept', offer: offer('c1.1', change), atMs })
  const started: Write = { type: 'start', attemptId: 'c1.1', atMs }

  t.test('of an accepted attempt asks for its grant again', async (t) => {
    const server = await fakeControlServer(t)
    const { http } = live(t, server, { dir: left(t, [accepted()]) })
    await until('the effect has begun', () => http.begun.length === 1)
    t.equal(server.registrations[0]?.previousIncarnation, 4)
    t.equal(phaseIn(server.syncs[0] as SyncRequest, 'c1.1'), 'accepted')
  })

  t.test('of a fetch that was logged as started names it interrupted and does not run it', async (t) => {
    const server = await fakeControlServer(t)
    const { http, journal } = live(t, server, { dir: left(t, [accepted(), started]) })
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.match(itemOf(server.syncs[0] as SyncRequest, 'c1.1'), { phase: 'interrupted', outcome: { state: 'INTERRUPTED' } })
    t.same(http.begun, [])
    // Broken before: what recovery wrote let an older copy of the journal catch up with what the server had seen.
    t.equal(server.registrations[0]?.logSeq, 1, 'it registers with the journal as it was found')
    t.equal(server.syncs[0]?.logSeq, 1, 'and that alone does not count')
  })

  // Broken before: a journal that was set back caught up with what the server had seen, one life after the other, and an
  // attempt that had run was granted to it once more.
  t.test('again and again before it registers does not make its journal look newer', async (t) => {
    const dir = left(t, [accepted(), started])
    for (let life = 0; life < 3; life++) {
      const server = await fakeControlServer(t)
      server.script.register = () => RESET
      const { close } = live(t, server, { dir })
      await until('it has tried to register', () => server.registrations.length > 0)
      t.equal(server.registrations[0]?.logSeq, 1)
      await close()
    }
  })

  t.test('of a delay resumes it once the server has confirmed it, and once', async (t) => {
    const server = await fakeControlServer(t)
    let confirmed = false
    server.script.sync = () => {
      if (server.syncs.length < 3) return RESET
      t.same(life.delay.begun.length, confirmed ? 1 : 0)
      confirmed = true
      return {}
    }
    const life = live(t, server, { dir: left(t, [accepted({ type: 'DELAY', payload: { ms: 60_000 } }), started]) })
    await until('it runs', () => life.delay.begun.length === 1)
    const seen = server.syncs.length
    await until('more confirmations', () => server.syncs.length > seen + 3)
    t.same(life.delay.begun, ['c1.1'])
  })

  // Broken before: the lease was looked at before a start only, so that the old attempt went on next to the one that had
  // taken it over while the confirmation was under way.
  t.test('of a delay is not resumed by a confirmation that arrives after the lease', async (t) => {
    const server = await fakeControlServer(t)
    let late = 2
    server.script.sync = () => {
      t.same(life.delay.begun, [])
      if (late-- > 0) life.clock.leaseMs += LEASE_MS
      return {}
    }
    const life = live(t, server, {
      dir: left(t, [accepted({ type: 'DELAY', payload: { ms: 60_000 }, takeover: 'auto' }), started]),
      pollIntervalMs: 60_000,
    })
    await until('it runs', () => life.delay.begun.length === 1)
    t.equal(late, -1, 'only the third confirmation was in time, and each was asked for at once')
  })

  t.test('of a delay that the server dropped or cancelled does not resume it', async (t) => {
    for (const answer of [{ drop: ['c1.1'] }, { desired: [{ attemptId: 'c1.1', cancel: 'x', graceMs: 0 }] }]) {
      const server = await fakeControlServer(t)
      server.script.sync = ({ seq }) => (seq === 1 ? answer : {})
      const { delay, journal } = live(t, server, {
        dir: left(t, [accepted({ type: 'DELAY', payload: { ms: 60_000 } }), started]),
      })
      await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
      t.same(delay.begun, [])
    }
  })

  t.test('of a finished attempt reports the stored outcome', async (t) => {
    const server = await fakeControlServer(t)
    const outcome = { state: 'SUCCEEDED', result: 'kept' } as const
    const finished: Write = {
      type: 'finish',
      attemptId: 'c1.1',
      outcome,
      outcomeSha256: sha256(canonicalJson(outcome)),
      atMs,
    }
    const { http, journal } = live(t, server, { dir: left(t, [accepted(), started, finished]) })
    await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
    t.same(itemOf(server.syncs[0] as SyncRequest, 'c1.1')?.outcome, outcome)
    t.same(http.begun, [])
  })
})

t.test('drain', async (t) => {
  t.test('takes nothing new, finishes, reports, ends', async (t) => {
    const { server, agent, http, journal, end } = await running(t)
    server.script.sync = () => ({ offers: [offer('c2.1')] })
    const drained = agent.drain(10_000)
    await server.synced('that says so', ({ mode, want }) => mode === 'draining' && Object.keys(want).length === 0)
    http.end('c1.1')
    await drained
    t.equal(await end, 'drained')
    t.equal(journal.get('c1.1')?.phase, 'ACKED')
    t.equal(journal.get('c2.1'), undefined)
  })

  t.test('with a server that is down ends with the grace, and the outcome is in the journal', async (t) => {
    const { server, agent, http, journal, end } = await running(t)
    server.script.sync = () => html(503)
    http.end('c1.1')
    const beganMs = performance.now()
    await agent.drain(700)
    t.equal(await end, 'drained')
    const tookMs = performance.now() - beganMs
    t.ok(tookMs >= 700 && tookMs < 3000, `${tookMs} ms`)
    t.equal(journal.get('c1.1')?.phase, 'FINISHED')
  })

  // Broken before: the call in flight was waited for, up to its own deadline of 30 s.
  t.test('with a server that hangs ends with the grace too', async (t) => {
    const { server, agent, end } = await running(t)
    const count = server.syncs.length
    server.script.sync = () => NEVER
    await until('a sync hangs', () => server.syncs.length > count)
    const beganMs = performance.now()
    await agent.drain(300)
    t.equal(await end, 'drained')
    t.ok(performance.now() - beganMs < 3000)
  })

  t.test('before the server was ever reached ends soon', async (t) => {
    const server = await fakeControlServer(t)
    server.script.register = () => RESET
    const { agent, end } = live(t, server)
    await agent.drain(10_000)
    t.equal(await end, 'drained')
  })

  t.test(
    'waits for a delay that ends within the grace, counted from its start, and leaves a longer one to the next life',
    async (t) => {
      const server = await fakeControlServer(t)
      const offers = ['short.1', 'long.1'].map((id) => offer(id, { type: 'DELAY', payload: { ms: 60_000 } }))
      server.script.sync = (request) => (life.journal.get('long.1') === undefined ? offering(...offers)(request) : {})
      const starts: Record<string, number> = { 'short.1': Date.now() - 58_000 }
      const life = live(t, server, {
        // The one began 58 s ago.
        journal: (journal) => {
          const aged = <E extends { attemptId: string; startedAtMs: number | null }>(entry: E): E => ({
            ...entry,
            startedAtMs: entry.startedAtMs === null ? null : (starts[entry.attemptId] ?? entry.startedAtMs),
          })
          return { ...journal, open: () => journal.open().map(aged) }
        },
      })
      await until('both have begun', () => life.delay.begun.length === 2)
      let over = false
      const drained = life.agent.drain(8000).then(() => {
        over = true
      })
      const count = server.syncs.length
      await until('it goes on while the short one runs', () => server.syncs.length > count + 3)
      t.notOk(over)
      life.delay.end('short.1')
      const beganMs = performance.now()
      await drained
      t.equal(await life.end, 'drained')
      t.ok(performance.now() - beganMs < 3000, 'and not for the long one')
      t.equal(life.journal.get('short.1')?.phase, 'ACKED')
      t.equal(life.journal.get('long.1')?.phase, 'STARTED')
    },
  )
})

t.test('stop ends at once, whatever is under way, and leaves what runs to the next life', async (t) => {
  const { server, agent, http, journal, end } = await running(t)
  const count = server.syncs.length
  server.script.sync = () => NEVER
  await until('a sync hangs', () => server.syncs.length > count)
  const beganMs = performance.now()
  agent.stop()
  t.equal(await end, 'drained')
  t.ok(performance.now() - beganMs < 2000)
  t.same(http.aborted, ['c1.1'])
  t.equal(journal.get('c1.1')?.phase, 'STARTED')
})

t.test('a protocol without a common version ends the agent', async (t) => {
  const server = await fakeControlServer(t)
  server.script.register = () => refusal(426, 'PROTOCOL_UNSUPPORTED')
  t.equal(await live(t, server).end, 'unsupported')
})

t.test('a server that does not know the registration any more is told who this is', async (t) => {
  const server = await fakeControlServer(t)
  server.script.sync = ({ incarnation }) => (incarnation === 1 ? refusal(409, 'NOT_REGISTERED') : {})
  live(t, server)
  await server.synced('of the new registration', ({ incarnation }) => incarnation === 2)
  t.equal(server.registrations[1]?.previousIncarnation, 1)
})

t.test('Retry-After is honoured, up to ten seconds', async (t) => {
  const server = await fakeControlServer(t)
  const atMs: number[] = []
  server.script.sync = () => {
    atMs.push(performance.now())
    return atMs.length === 1 ? refusal(503, 'NO_SPACE', { 'retry-after': '1' }) : {}
  }
  live(t, server)
  await until('the next sync', () => atMs.length > 1)
  t.ok((atMs[1] ?? 0) - (atMs[0] ?? 0) >= 900)
})

t.test('news from the wait brings a sync at once', async (t) => {
  const server = await fakeControlServer(t)
  const { http, journal } = live(t, server, { pollIntervalMs: 60_000 })
  await until('a wait', () => server.waits.length === 1)
  server.script.sync = (request) => (journal.get('c1.1') === undefined ? offering(offer())(request) : {})
  server.state.rev += 1
  server.wake()
  await until('the effect has begun', () => http.begun.length === 1)
  await until('the next wait, for what comes after', () => server.waits.at(-1)?.rev === server.state.rev)
  http.end('c1.1')
  await until('it is acknowledged', () => journal.get('c1.1')?.phase === 'ACKED')
})

// Broken before: a server that was stopping answered each wait at once, and was asked again at once.
for (const [name, reply] of Object.entries({
  '204': new Reply(204),
  '200, although nothing changed': new Reply(200, { rev: 99 }, { 'content-type': 'application/json' }),
  '404': refusal(404, 'NOT_FOUND'),
  HTML: html(200),
  'a reset': RESET,
} as const))
  t.test(`a server that answers every wait at once with ${name} is not asked in a hot loop`, async (t) => {
    const server = await fakeControlServer(t)
    server.script.wait = () => reply
    live(t, server, { pollIntervalMs: 60_000 })
    await until('a wait', () => server.waits.length > 0)
    const fromMs = performance.now()
    await until('two seconds', () => performance.now() > fromMs + 2000)
    t.ok(server.waits.length >= 3 && server.waits.length <= 12, `${server.waits.length} waits`)
    t.ok(server.syncs.length <= 13, `${server.syncs.length} syncs`)
  })

t.test('an outbox that does not fit one request', async (t) => {
  const full = (t: Test, count: number) => {
    const dir = t.testdir()
    const journal = openJournal({
      file: join(dir, 'idempotency.db'),
      newAgentId: 'agent-1',
      newJournalId: 'journal-0001',
      nowMs: 1,
    })
    const outcome = { state: 'SUCCEEDED', result: 'x'.repeat(1_000_000) } as const
    const ids = Array.from({ length: count }, (_, index) => `c${index}.1`)
    for (const id of ids)
      journal.write([
        { type: 'accept', offer: offer(id), atMs: 1 },
        { type: 'finish', attemptId: id, outcome, outcomeSha256: sha256(canonicalJson(outcome)), atMs: 1 },
      ])
    journal.close()
    return { dir, ids }
  }
  const reported = (request: SyncRequest) => request.held.filter(({ outcome }) => outcome !== undefined).length

  t.test('goes in several, one right after the other', async (t) => {
    const server = await fakeControlServer(t)
    const { dir, ids } = full(t, 20)
    const { journal } = live(t, server, { dir, pollIntervalMs: 60_000 })
    await until('all are acknowledged', () => journal.open().length === 0)
    t.same(server.syncs.slice(0, 3).map(reported), [8, 8, 4])
    t.ok(ids.every((id) => journal.get(id)?.phase === 'ACKED'))
  })

  t.test('goes in smaller parts to a server that takes less', async (t) => {
    const server = await fakeControlServer(t)
    const { dir } = full(t, 6)
    server.script.sync = (request) => (reported(request) > 2 ? refusal(413, 'BODY_TOO_LARGE') : {})
    const { journal } = live(t, server, { dir, pollIntervalMs: 60_000 })
    await until('all are acknowledged', () => journal.open().length === 0)
  })

  // Broken before: said again without any pause.
  t.test('is not sent in a hot loop to a server that acknowledges nothing', async (t) => {
    const server = await fakeControlServer(t)
    const { dir } = full(t, 10)
    server.script.sync = () => ({ acks: [] })
    live(t, server, { dir, pollIntervalMs: 60_000 })
    await until('a sync', () => server.syncs.length > 0)
    const fromMs = performance.now()
    await until('a second', () => performance.now() > fromMs + 1000)
    t.equal(server.syncs.length, 1)
  })
})
