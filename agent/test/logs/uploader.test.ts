// The uploader against a server that loses answers, is set back, and refuses.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { AttemptState } from '../../src/executors/executor.ts'
import { openSpools } from '../../src/logs/spools.ts'
import { createLogUploader, type LogClient } from '../../src/logs/uploader.ts'
import { createTrigger } from '../../src/trigger.ts'

type Fault = 'none' | 'lost request' | 'lost answer' | 'set back'

/** As `PUT /attempts/:attemptId/logs/:stream` behaves; `faults` are used up one a call. */
const fakeServer = (faults: Fault[] = [], bytesMax = Number.POSITIVE_INFINITY) => {
  const stored = new Map<string, { content: Buffer; complete: boolean | null }>()
  let calls = 0
  let refusal: string | null = null
  const uploadLog: LogClient['uploadLog'] = async ({ attemptId, stream }, _uploader, part) => {
    calls += 1
    const fault = faults.shift() ?? 'none'
    if (fault === 'lost request') throw new Error('no answer')
    if (refusal !== null) return { type: 'refused', code: refusal }
    const name = `${attemptId} ${stream}`
    const known = stored.get(name) ?? { content: Buffer.alloc(0), complete: null }
    stored.set(name, known)
    if (fault === 'set back' && known.complete === null)
      known.content = known.content.subarray(0, known.content.length / 2)
    const committed = known.content.length
    const answer = (() => {
      if ('content' in part) {
        if (part.offset > committed) return { type: 'rewind' as const, committed }
        const fresh = part.content.subarray(committed - part.offset)
        if (fresh.length > 0 && known.complete !== null) return { type: 'refused' as const, code: 'LOG_ENDED' }
        if (committed + fresh.length > bytesMax) return { type: 'refused' as const, code: 'LOG_FULL' }
        known.content = Buffer.concat([known.content, fresh])
        return { type: 'taken' as const, committed: known.content.length }
      }
      if (part.bytes > committed) return { type: 'rewind' as const, committed }
      const isSame = createHash('sha256').update(known.content).digest('hex') === part.sha256
      known.complete ??= part.complete && isSame && part.bytes === committed
      return { type: 'taken' as const, committed }
    })()
    if (fault === 'lost answer') throw new Error('no answer')
    return answer
  }
  return {
    stored,
    uploadLog,
    calls: () => calls,
    refuse: (code: string | null) => {
      refusal = code
    },
  }
}

const world = async (t: Test, dir: string, server: ReturnType<typeof fakeServer>, state: AttemptState = 'open') => {
  const news = createTrigger()
  const warned: string[] = []
  const spools = await openSpools({
    dir,
    limits: { headBytesMax: 8 * 2 ** 20, tailBytesMax: 1024 },
    onCommitted: news.ring,
    warn: (_facts, message) => warned.push(message),
  })
  const facts = { state, registration: { agentId: 'a', incarnation: 1, epoch: 'epoch-1' } as object | null }
  const uploader = createLogUploader({
    spools,
    client: server,
    registration: () => facts.registration as never,
    stateOf: () => facts.state,
    news,
    random: () => 0,
    warn: (_facts, message) => warned.push(message),
  })
  t.teardown(uploader.stop)
  return { spools, uploader, facts, news, warned }
}

const until = async (holds: () => boolean): Promise<void> => {
  for (let left = 1000; !holds(); left--) {
    if (left === 0) throw new Error('never happened')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

t.test('what is lost, repeated or set back on the way: the server has it all, once', async (t) => {
  const root = t.testdir()
  let runs = 0
  const fault = fc.constantFrom<Fault>('none', 'none', 'lost request', 'lost answer', 'set back')
  await fc.assert(
    fc.asyncProperty(fc.array(fault, { maxLength: 6 }), fc.integer({ min: 0, max: 900_000 }), async (faults, bytes) => {
      const server = fakeServer(faults)
      const { spools, uploader } = await world(t, `${root}/${++runs}`, server)
      const content = Buffer.alloc(bytes, `run ${runs} `)
      const spool = await spools.take('c.1')
      const reading = spool.begin([])
      for (let at = 0; at < bytes; at += 100_000) reading.write('stdout', content.subarray(at, at + 100_000))
      await spool.end(true)
      await until(() => spools.all().length === 0)
      await uploader.stop()
      const { content: uploaded, complete } = server.stored.get('c.1 stdout') ?? {}
      return (
        uploaded?.equals(content) === true && complete === true && server.stored.get('c.1 stderr')?.complete === true
      )
    }),
    { numRuns: 25 },
  )
})

t.test('it goes up while it is written, and the spool goes when all is there', async (t) => {
  const server = fakeServer()
  const { spools } = await world(t, t.testdir(), server)
  const spool = await spools.take('c.1')
  const reading = spool.begin([])
  reading.write('stdout', Buffer.from('one'))
  await until(() => server.stored.get('c.1 stdout')?.content.toString() === 'one')
  reading.write('stdout', Buffer.from(' two'))
  await until(() => server.stored.get('c.1 stdout')?.content.toString() === 'one two')
  t.equal(server.stored.get('c.1 stdout')?.complete, null)
  await spool.end(true)
  await until(() => spools.all().length === 0)
  t.equal(server.stored.get('c.1 stdout')?.complete, true)
})

t.test('a server that keeps no more gets an end that says so', async (t) => {
  const server = fakeServer([], 300_000)
  const { spools } = await world(t, t.testdir(), server)
  const spool = await spools.take('c.1')
  spool.begin([]).write('stdout', Buffer.alloc(600_000, 'x'))
  await until(() => server.stored.get('c.1 stdout')?.complete === false)
  t.equal(server.stored.get('c.1 stdout')?.content.length, 262_144)
  await spool.end(true)
  await until(() => spools.all().length === 0)
})

t.test('what the server does not know is kept while the attempt is open, and goes after it', async (t) => {
  const server = fakeServer()
  const { spools, facts, news } = await world(t, t.testdir(), server)
  server.refuse('ATTEMPT_NOT_FOUND')
  const spool = await spools.take('c.1')
  spool.begin([]).write('stdout', Buffer.from('x'))
  await spool.end(true)
  await until(() => server.calls() > 2)
  t.equal(spools.all().length, 1)
  facts.state = 'acknowledged'
  news.ring()
  await until(() => spools.all().length === 0)
})

t.test('nothing is sent without a registration; a spool that nobody will end is cut', async (t) => {
  const server = fakeServer()
  const { spools, facts, news } = await world(t, t.testdir(), server)
  facts.registration = null
  const spool = await spools.take('c.1')
  spool.begin([]).write('stdout', Buffer.from('half'))
  await spool.close()
  news.ring()
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(server.calls(), 0)
  facts.registration = { agentId: 'a', incarnation: 2, epoch: 'epoch-1' }
  facts.state = 'acknowledged'
  news.ring()
  await until(() => spools.all().length === 0)
  t.match(server.stored.get('c.1 stdout'), { content: Buffer.from('half'), complete: false })
})
