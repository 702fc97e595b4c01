import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Outcome } from '@agent-executor/protocol'
import Database from 'better-sqlite3'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type Entry, openJournal, type Write } from '../../src/journal/journal.ts'
import { offer } from '../decide/fixtures/builders.ts'

const CHILD = fileURLToPath(new URL('./fixtures/journal-child.js', import.meta.url))
const OUTCOME: Outcome = { state: 'SUCCEEDED', result: { body: 'grüße 😀' } }
const SHA = 'b'.repeat(64)

const fileOf = (dir: string) => join(dir, 'idempotency.db')
const openAt = (dir: string, newAgentId = 'agent-1') =>
  openJournal({ file: fileOf(dir), newAgentId, newJournalId: 'journal-0001', nowMs: 1 })

const opened = (t: Test) => {
  const dir = t.testdir()
  const journal = openAt(dir)
  t.teardown(() => journal.close())
  return { dir, journal }
}

const accept = (id = 'c1.1', atMs = 1): Write => ({ type: 'accept', offer: offer(id), atMs })
const start = (attemptId = 'c1.1', atMs = 2): Write => ({ type: 'start', attemptId, atMs })
const finish = (attemptId = 'c1.1', atMs = 3): Write => ({
  type: 'finish',
  attemptId,
  outcome: OUTCOME,
  outcomeSha256: SHA,
  atMs,
})
const ack = (attemptId = 'c1.1', atMs = 4): Write => ({ type: 'ack', attemptId, verdict: 'accepted', atMs })

/** A process that opens the journal, writes, and dies at the crash point. */
const child = (file: string, writes: Write[] = [], crashAt = '') =>
  new Promise<{ output: string; signal: string | null }>((resolve) => {
    const args = ['-u', 'NODE_OPTIONS', process.execPath, CHILD, file, JSON.stringify(writes), crashAt]
    const running = spawn('/usr/bin/env', args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    running.stdout.on('data', (chunk) => {
      output += chunk
    })
    running.on('close', (_code, signal) => resolve({ output, signal }))
  })

/** The connection that the journal writes through. */
const connectionOf = (body: () => void): Database.Database => {
  const { pragma } = Database.prototype
  let connection: Database.Database | undefined
  Database.prototype.pragma = function (this: Database.Database, ...args: Parameters<typeof pragma>) {
    if (String(args[0]).startsWith('synchronous')) connection = this
    return pragma.apply(this, args)
  }
  try {
    body()
  } finally {
    Database.prototype.pragma = pragma
  }
  return connection as Database.Database
}

/** Everything a journal knows. */
const stateOf = (dir: string, ids: string[]) => {
  const journal = openAt(dir)
  try {
    return {
      identity: journal.identity(),
      open: journal.open(),
      entries: ids.map((id) => journal.get(id)),
      outcomes: ids.map((id) => journal.outcome(id)),
    }
  } finally {
    journal.close()
  }
}

t.test('an entry goes from accepted to acknowledged and keeps the offer and the outcome as they were', async (t) => {
  const { journal } = opened(t)
  const phase = () => journal.get('c1.1')?.phase
  t.equal(phase(), undefined)
  journal.write([accept()])
  t.same(journal.get('c1.1')?.offer, offer('c1.1'))
  t.equal(phase(), 'ACCEPTED')
  journal.write([start()])
  t.match(journal.get('c1.1'), { phase: 'STARTED', startedAtMs: 2, outcomeState: null, outcomeBytes: 0 })
  journal.write([finish()])
  t.match(journal.get('c1.1'), { phase: 'FINISHED', outcomeState: 'SUCCEEDED', outcomeSha256: SHA })
  t.equal(journal.get('c1.1')?.outcomeBytes, Buffer.byteLength(JSON.stringify(OUTCOME)), 'bytes, not characters')
  t.same(journal.outcome('c1.1'), OUTCOME)
  t.equal(journal.open().length, 1)
  journal.write([ack()])
  t.equal(phase(), 'ACKED')
  t.same(journal.open(), [])
  t.same(journal.outcome('c1.1'), OUTCOME, 'kept as a tombstone')
})

t.test('what is known of open entries is what is in the file, whatever was written before', async (t) => {
  const dir = t.testdir()
  const ids = ['a.1', 'b.1', 'b.2', 'c.1']
  const step = fc.record({
    id: fc.constantFrom(...ids),
    type: fc.constantFrom('accept', 'start', 'container', 'finish', 'ack', 'reopen'),
  })
  const writeOf = ({ id, type }: { id: string; type: string }): Write => {
    if (type === 'reopen') return { type, attemptId: id }
    if (type === 'container') return { type, attemptId: id, containerId: `container of ${id}` }
    return type === 'accept' ? accept(id) : type === 'start' ? start(id) : type === 'finish' ? finish(id) : ack(id)
  }
  let journals = 0
  fc.assert(
    fc.property(fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { maxLength: 20 }), (commits) => {
      const folder = join(dir, String(++journals))
      const journal = openAt(folder)
      for (const steps of commits)
        try {
          journal.write(steps.map(writeOf))
        } catch {
          // Refused as a whole: nothing of it may be known.
        }
      const known = { open: journal.open(), entries: ids.map((id) => journal.get(id)) }
      journal.close()
      const { open, entries } = stateOf(folder, ids)
      assert.deepEqual(known, { open, entries })
    }),
    { numRuns: 300 },
  )
})

t.test('phases only go forward', async (t) => {
  const { journal } = opened(t)
  journal.write([accept(), start()])
  t.throws(
    () => journal.write([accept()]),
    { message: 'the journal only goes forward' },
    'started is not accepted again',
  )
  t.throws(() => journal.write([start('c1.1', 99)]), /cannot be started/, 'nor started again')
  t.equal(journal.get('c1.1')?.startedAtMs, 2)

  journal.write([finish()])
  t.throws(() => journal.write([accept()]), { message: 'the journal only goes forward' })
  t.throws(() => journal.write([start()]), /cannot be started/)
  journal.write([{ ...finish('c1.1', 50), outcome: { state: 'FAILED' }, outcomeSha256: 'c'.repeat(64) } as Write])
  t.same(journal.outcome('c1.1'), OUTCOME, 'an outcome does not change')

  journal.write([ack()])
  t.throws(() => journal.write([accept()]), { message: 'the journal only goes forward' })
  t.throws(() => journal.write([start()]), /cannot be started/)
  t.throws(() => journal.write([start('unknown.1')]), /cannot be started/)
})

t.test('the container of an attempt is logged once, while it is started', async (t) => {
  const { dir, journal } = opened(t)
  const container = (containerId: string): Write => ({ type: 'container', attemptId: 'c1.1', containerId })
  t.throws(() => journal.write([container('x')]), /waits for a container/)
  journal.write([accept()])
  t.throws(() => journal.write([container('x')]), /waits for a container/)
  journal.write([start()])
  t.equal(journal.get('c1.1')?.containerId, null)
  journal.write([container('one')])
  t.match(journal.get('c1.1'), { phase: 'STARTED', containerId: 'one' })
  t.throws(() => journal.write([container('two')]), /waits for a container/)
  const other = new Database(fileOf(dir))
  t.teardown(() => other.close())
  t.throws(() => other.exec("UPDATE entries SET container_id = 'two'"), { message: 'the journal only goes forward' })
  t.throws(() => other.exec('UPDATE entries SET container_id = NULL'), { message: 'the journal only goes forward' })
  journal.write([finish(), ack()])
  t.match(journal.get('c1.1'), { phase: 'ACKED', containerId: 'one' })
  t.throws(() => journal.write([container('three')]), /waits for a container/)
})

t.test('the file itself refuses to go back, whoever writes', async (t) => {
  const { dir, journal } = opened(t)
  journal.write([accept('a.1'), accept('b.1'), start('b.1'), accept('c.1'), start('c.1'), finish('c.1')])
  const other = new Database(fileOf(dir))
  t.teardown(() => other.close())
  const forward = { message: 'the journal only goes forward' }
  t.throws(() => other.exec("UPDATE entries SET phase = 'ACCEPTED' WHERE attempt_id = 'b.1'"), forward)
  t.throws(() => other.exec("UPDATE entries SET phase = 'ACCEPTED' WHERE attempt_id = 'c.1'"), forward)
  t.throws(() => other.exec("UPDATE entries SET outcome_sha256 = 'other' WHERE attempt_id = 'c.1'"), forward)
  t.throws(
    () =>
      other.exec(
        "UPDATE entries SET outcome = NULL, outcome_state = NULL, outcome_sha256 = NULL WHERE attempt_id = 'c.1'",
      ),
    forward,
  )
  t.throws(
    () => other.exec("UPDATE entries SET phase = 'FINISHED' WHERE attempt_id = 'a.1'"),
    /CHECK constraint/,
    'no end without an outcome',
  )
  t.throws(
    () => other.exec("UPDATE entries SET phase = 'STARTED' WHERE attempt_id = 'a.1'"),
    /CHECK constraint/,
    'no start without a time',
  )
})

t.test('a write is one commit: where one part of it fails, nothing of it is there', async (t) => {
  const { journal } = opened(t)
  journal.write([accept('a.1')])
  const before = journal.identity()
  t.throws(() =>
    journal.write([accept('b.1'), finish('a.1'), ack('a.1'), { type: 'seen', rev: 9 }, start('unknown.1')]),
  )
  t.same(journal.identity(), before)
  t.equal(journal.get('b.1'), undefined)
  t.equal(journal.get('a.1')?.phase, 'ACCEPTED')
})

t.test('every commit is synced: synchronous is FULL on the connection that writes, in WAL mode', async (t) => {
  const dir = t.testdir()
  let journal: ReturnType<typeof openAt> | undefined
  const connection = connectionOf(() => {
    journal = openAt(dir)
  })
  t.teardown(() => journal?.close())
  journal?.write([accept()])
  t.equal(connection.name, fileOf(dir))
  t.equal(connection.pragma('synchronous', { simple: true }), 2)
  t.equal(connection.pragma('journal_mode', { simple: true }), 'wal')
})

t.test('a second process on the same journal is refused, and served when the first is gone', async (t) => {
  const dir = t.testdir()
  const journal = openAt(dir)
  t.same(await child(fileOf(dir), [accept()]), { output: 'SqliteFileLockedError', signal: null })
  t.same(journal.open(), [], 'it wrote nothing')
  journal.close()
  t.same(await child(fileOf(dir), [accept()]), { output: 'written', signal: null })
})

t.test('the identity is made once and kept, whatever a later start would have chosen', async (t) => {
  const dir = t.testdir()
  const first = openAt(dir, 'agent-a')
  t.same(first.identity(), {
    agentId: 'agent-a',
    journalId: 'journal-0001',
    incarnation: 0,
    epoch: null,
    revSeen: 0,
    logSeq: 0,
    nonces: [],
  })
  first.close()
  const second = openJournal({ file: fileOf(dir), newAgentId: 'agent-b', newJournalId: 'journal-0002', nowMs: 2 })
  t.teardown(() => second.close())
  t.match(second.identity(), { agentId: 'agent-a', journalId: 'journal-0001' })
})

t.test('logSeq grows with every write and does not go back when the journal is reopened', async (t) => {
  const dir = t.testdir()
  let last = 0
  for (const writes of [
    [accept('a.1')],
    [accept('b.1'), start('a.1')],
    [{ type: 'seen', rev: 3 }],
    [finish('a.1')],
    [ack('a.1')],
  ] as Write[][]) {
    const journal = openAt(dir)
    t.equal(journal.identity().logSeq, last)
    journal.write(writes)
    last += 1
    t.equal(journal.identity().logSeq, last)
    journal.write([])
    t.equal(journal.identity().logSeq, last, 'nothing written, nothing counted')
    journal.registered({ incarnation: last, epoch: 'epoch-00001', rev: 1 })
    t.equal(journal.identity().logSeq, last)
    journal.close()
  }
})

t.test('nonces of unanswered registrations are kept in order, the last 16, until one is answered', async (t) => {
  const { dir, journal } = opened(t)
  const nonces = Array.from({ length: 40 }, (_, index) => `nonce-${String(99 - index)}`)
  for (const nonce of nonces) journal.registering(nonce)
  t.same(journal.identity().nonces, nonces.slice(-16))
  journal.close()
  const again = openAt(dir)
  t.teardown(() => again.close())
  t.same(again.identity().nonces, nonces.slice(-16))
  again.registered({ incarnation: 4, epoch: 'epoch-00001', rev: 17 })
  t.match(again.identity(), { nonces: [], incarnation: 4, epoch: 'epoch-00001', revSeen: 17 })
})

t.test('the highest revision seen is kept within an epoch and forgotten in the next', async (t) => {
  const { journal } = opened(t)
  const seen = () => journal.identity().revSeen
  journal.registered({ incarnation: 1, epoch: 'epoch-00001', rev: 10 })
  journal.write([{ type: 'seen', rev: 30 }])
  journal.write([{ type: 'seen', rev: 20 }])
  t.equal(seen(), 30, 'it does not go back')
  // Broken before: a restart of the agent hid that the server had been set back.
  journal.registered({ incarnation: 2, epoch: 'epoch-00001', rev: 12 })
  t.equal(seen(), 30, 'nor by a registration with a server that was set back')
  journal.registered({ incarnation: 3, epoch: 'epoch-00002', rev: 12 })
  t.equal(seen(), 12, 'a new epoch counts anew')
})

t.test('an attempt that was dropped before it started is accepted again, as it is offered now', async (t) => {
  const { journal } = opened(t)
  journal.write([accept(), { type: 'ack', attemptId: 'c1.1', verdict: 'dropped', atMs: 2 }])
  t.match(journal.get('c1.1'), { phase: 'ACKED', outcomeState: null })
  // Broken before: the first offer's timeout stayed, although less of `totalTimeoutMs` was left.
  journal.write([{ type: 'accept', offer: offer('c1.1', { timeoutMs: 5 }), atMs: 3 }])
  t.match(journal.get('c1.1'), { phase: 'ACCEPTED', offer: { timeoutMs: 5 } })
  journal.write([start(), finish(), ack()])
  t.equal(journal.get('c1.1')?.phase, 'ACKED')
})

t.test('an attempt that is cancelled before it started gets its outcome without a start', async (t) => {
  const { journal } = opened(t)
  journal.write([accept(), finish()])
  t.match(journal.get('c1.1'), { phase: 'FINISHED', startedAtMs: null, outcomeState: 'SUCCEEDED' })
})

t.test('reopen brings back an acknowledged outcome, and nothing that has none', async (t) => {
  const { journal } = opened(t)
  journal.write([accept('a.1'), start('a.1'), finish('a.1'), ack('a.1'), accept('b.1'), ack('b.1'), accept('c.1')])
  journal.write(['a.1', 'b.1', 'c.1', 'unknown.1'].map((attemptId): Write => ({ type: 'reopen', attemptId })))
  t.equal(journal.get('a.1')?.phase, 'FINISHED')
  t.same(journal.outcome('a.1'), OUTCOME)
  t.equal(journal.get('b.1')?.phase, 'ACKED')
  t.equal(journal.get('c.1')?.phase, 'ACCEPTED')
})

t.test('reopenAll brings back every acknowledged outcome and leaves the rest as it is', async (t) => {
  const { journal } = opened(t)
  for (const id of ['a.1', 'b.1']) journal.write([accept(id), start(id), finish(id), ack(id)])
  journal.write([accept('c.1'), ack('c.1'), accept('d.1'), start('d.1'), accept('e.1')])
  journal.reopenAll()
  t.same(
    ['a.1', 'b.1', 'c.1', 'd.1', 'e.1'].map((id) => journal.get(id)?.phase),
    ['FINISHED', 'FINISHED', 'ACKED', 'STARTED', 'ACCEPTED'],
  )
  journal.write([ack('a.1', 9)])
  t.equal(journal.get('a.1')?.phase, 'ACKED', 'acknowledged again')
})

t.test('tombstones', async (t) => {
  const withTombstones = (t: Test, count: number) => {
    const { journal } = opened(t)
    const ids = Array.from({ length: count }, (_, index) => `c${String(index).padStart(3, '0')}.1`)
    journal.write(ids.flatMap((id, index) => [accept(id), finish(id), ack(id, 1000 + index)]))
    journal.write([accept('live.1'), accept('done.1'), finish('done.1', 0)])
    const left = () => ids.filter((id) => journal.get(id) !== undefined)
    return { journal, ids, left }
  }

  t.test('are kept for as long as they are young and few', async (t) => {
    const { journal, left } = withTombstones(t, 20)
    t.equal(journal.prune(1000, 20, 100), 0)
    t.equal(left().length, 20)
  })

  t.test('are pruned by age, to the millisecond, in batches', async (t) => {
    const { journal, ids, left } = withTombstones(t, 20)
    t.equal(journal.prune(1010, 1000, 4), 4)
    t.equal(journal.prune(1010, 1000, 4), 4)
    t.equal(journal.prune(1010, 1000, 4), 2)
    t.equal(journal.prune(1010, 1000, 4), 0)
    t.same(left(), ids.slice(10))
  })

  t.test('are pruned by count, the oldest first, in batches', async (t) => {
    const { journal, ids, left } = withTombstones(t, 20)
    let pruned = 0
    for (let batch = journal.prune(0, 7, 4); batch > 0; batch = journal.prune(0, 7, 4)) {
      t.ok(batch <= 4)
      pruned += batch
    }
    t.equal(pruned, 13)
    t.same(left(), ids.slice(13))
  })

  t.test('what is not acknowledged is never pruned', async (t) => {
    const { journal } = withTombstones(t, 3)
    while (journal.prune(Number.MAX_SAFE_INTEGER, 0, 10) > 0);
    t.same(
      journal.open().map(({ attemptId }: Entry) => attemptId),
      ['done.1', 'live.1'],
    )
  })
})

t.test('killed before the commit nothing of a write is there, killed after it all of it is', async (t) => {
  const ids = ['c1.1', 'c2.1']
  const both = (step: (id: string) => Write): Write[] => ids.map(step)
  const history: [string, Write[]][] = [
    ['accept', both((id) => accept(id))],
    ['start', both((id) => start(id))],
    ['finish', both((id) => finish(id))],
    ['ack', [...both((id) => ack(id)), { type: 'seen', rev: 5 }]],
  ]
  const dir = t.testdir({
    now: {},
    ...Object.fromEntries(
      history.flatMap(([step]) => [
        [`${step}-before`, {}],
        [`${step}-after`, {}],
      ]),
    ),
  })
  const now = join(dir, 'now')
  openAt(now).close()
  for (const [step, writes] of history) {
    const copies = ['before', 'after'].map((side) => {
      const copy = join(dir, `${step}-${side}`)
      cpSync(now, copy, { recursive: true })
      return { copy, side }
    })
    const deaths = await Promise.all(
      copies.map(({ copy, side }) => child(fileOf(copy), writes, `${step}.${side}-commit`)),
    )
    for (const death of deaths) t.same(death, { output: '', signal: 'SIGKILL' })
    const before = stateOf(now, ids)
    const journal = openAt(now)
    journal.write(writes)
    journal.close()
    const after = stateOf(now, ids)
    t.notSame(before, after)
    t.same(stateOf(join(dir, `${step}-before`), ids), before, `${step}: as before`)
    t.same(stateOf(join(dir, `${step}-after`), ids), after, `${step}: as after`)
  }
})
