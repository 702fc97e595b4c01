// The uploader of files against a server that loses answers, forgets parts, and refuses.
import { createHash } from 'node:crypto'
import type { Artifact } from '@agent-executor/protocol'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { BringAnswer } from '../../src/decide/bring.ts'
import { afterBringAnswer, NEW_BRINGING, nextBringStep } from '../../src/decide/bring.ts'
import type { AttemptState } from '../../src/executors/executor.ts'
import { openArtifactSpools } from '../../src/files/spools.ts'
import { type ArtifactClient, createArtifactUploader } from '../../src/files/uploader.ts'
import { createTrigger } from '../../src/trigger.ts'

const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex')

type Fault = 'none' | 'lost request' | 'lost answer' | 'restarted'

/** As the two routes behave; `faults` are used up one a call. */
const fakeServer = (faults: Fault[] = []) => {
  const stored = new Map<string, Buffer>()
  const parts = new Map<string, Buffer>()
  const listed = new Map<string, { sha256: string; bytes: number; lost: boolean }>()
  let refusal: string | null = null
  let calls = 0
  const answered = async (body: () => BringAnswer): Promise<BringAnswer> => {
    calls += 1
    await new Promise(setImmediate)
    const fault = faults.shift() ?? 'none'
    if (fault === 'restarted') parts.clear()
    if (fault === 'lost request') throw new Error('no answer')
    const answer: BringAnswer = refusal === null ? body() : { type: 'refused', code: refusal }
    if (fault === 'lost answer') throw new Error('no answer')
    return answer
  }
  const client: ArtifactClient = {
    listArtifacts: (_attemptId, _uploader, artifacts) =>
      answered(() => {
        for (const { name, ...artifact } of artifacts) listed.set(name, artifact)
        const wanted = artifacts.filter((each) => !each.lost && !stored.has(each.sha256)).map((each) => each.sha256)
        return { type: 'wanted', wanted: [...new Set(wanted)] }
      }),
    uploadPart: (_attemptId, _uploader, part) =>
      answered(() => {
        if (stored.has(part.sha256)) return { type: 'taken', committed: part.bytes }
        const there = parts.get(part.sha256) ?? Buffer.alloc(0)
        if (part.offset > there.length) return { type: 'rewind', committed: there.length }
        const now = Buffer.concat([there.subarray(0, part.offset), part.content])
        parts.set(part.sha256, now)
        if (now.length < part.bytes) return { type: 'taken', committed: now.length }
        parts.delete(part.sha256)
        if (sha256(now) !== part.sha256) return { type: 'refused', code: 'CONTENT_MISMATCH' }
        stored.set(part.sha256, now)
        return { type: 'taken', committed: part.bytes }
      }),
  }
  return {
    ...{ client, stored, listed, calls: () => calls },
    refuse: (code: string | null) => {
      refusal = code
    },
  }
}

const world = async (t: Test, dir: string, server: ReturnType<typeof fakeServer>) => {
  const news = createTrigger()
  const warned: string[] = []
  const warn = (_facts: object, message: string) => void warned.push(message)
  const spools = await openArtifactSpools({ dir, bytesMax: 1e9, onFinished: news.ring, warn })
  const facts = { state: 'open' as AttemptState }
  const uploader = createArtifactUploader({
    ...{ spools, client: server.client, news, warn },
    registration: () => ({ agentId: 'a', incarnation: 1, epoch: 'epoch-1' }),
    stateOf: () => facts.state,
    random: () => 0,
  })
  t.teardown(uploader.stop)
  const leave = async (contents: Record<string, Buffer>): Promise<void> => {
    const intake = spools.begin('c.1')
    for (const [name, content] of Object.entries(contents))
      await intake.add(
        name,
        content.length,
        (async function* () {
          yield content
        })(),
      )
    await intake.finish({ skipped: { count: 0, files: [] }, missing: null })
  }
  return { spools, facts, news, warned, leave, uploader }
}

const until = async (holds: () => boolean): Promise<void> => {
  for (let left = 1000; !holds(); left--) {
    if (left === 0) throw new Error('never happened')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

t.test('whatever is lost on the way, the server has it all in the end, and the spool goes', async (t) => {
  const root = t.testdir()
  let runs = 0
  const fault = fc.constantFrom<Fault>('none', 'none', 'lost request', 'lost answer', 'restarted')
  await fc.assert(
    fc.asyncProperty(
      fc.array(fault, { maxLength: 5 }),
      fc.integer({ min: 0, max: 2_500_000 }),
      async (faults, bytes) => {
        const server = fakeServer(faults)
        const { spools, leave, uploader } = await world(t, `${root}/${++runs}`, server)
        const contents = { large: Buffer.alloc(bytes, `run ${runs} `), small: Buffer.from('s'), same: Buffer.from('s') }
        await leave(contents)
        await until(() => spools.all().length === 0)
        await uploader.stop()
        return Object.values(contents).every((content) => server.stored.get(sha256(content))?.equals(content) === true)
      },
    ),
    { numRuns: 15 },
  )
})

t.test('what the server does not know is kept while the attempt is open, and goes after it', async (t) => {
  const server = fakeServer()
  const { spools, facts, news, leave } = await world(t, t.testdir(), server)
  server.refuse('ATTEMPT_NOT_FOUND')
  await leave({ a: Buffer.from('a') })
  await until(() => server.calls() > 0)
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.ok(server.calls() <= 2, 'not again and again')
  t.equal(spools.all().length, 1)
  facts.state = 'acknowledged'
  news.ring()
  await until(() => spools.all().length === 0)
})

t.test('what cannot be read back is called lost', async (t) => {
  const server = fakeServer()
  server.refuse('EPOCH_CHANGED')
  const { spools, news, leave, warned } = await world(t, t.testdir(), server)
  await leave({ a: Buffer.from('a'), b: Buffer.from('b') })
  const spool = spools.get('c.1')
  const read = spool?.read
  Object.assign(spool as object, {
    read: async (name: string, ...rest: [number, number]) =>
      name === sha256(Buffer.from('a')) ? Buffer.alloc(0) : read?.(name, ...rest),
  })
  server.refuse(null)
  news.ring()
  await until(() => spools.all().length === 0)
  t.same([server.listed.get('a')?.lost, server.listed.get('b')?.lost], [true, false])
  t.equal(server.stored.get(sha256(Buffer.from('b')))?.toString(), 'b')
  t.match(warned, ['a file of an attempt cannot be read back'])
})

t.test('what is sent next', async (t) => {
  const kept: (Artifact & { lost: boolean })[] = [{ name: 'a', bytes: 10, sha256: 'A', lost: false }]
  const asked = { wanted: ['A'], committed: 4, done: false }
  t.same(nextBringStep(NEW_BRINGING, kept), { type: 'list' })
  t.same(nextBringStep(asked, kept), { type: 'part', sha256: 'A', bytes: 10, offset: 4 })
  t.same(
    nextBringStep(asked, [{ ...kept[0], lost: true } as (typeof kept)[number]]),
    { type: 'list' },
    'given up since',
  )
  t.same(nextBringStep({ ...asked, done: true }, kept), { type: 'nothing' })
  const step = nextBringStep(asked, kept)
  t.same(afterBringAnswer(asked, step, { type: 'taken', committed: 7 }, 'open'), { ...asked, committed: 7 })
  t.match(afterBringAnswer(asked, step, { type: 'taken', committed: 10 }, 'open'), { done: true })
  t.same(afterBringAnswer(asked, step, { type: 'rewind', committed: 0 }, 'open'), { ...asked, committed: 0 })
  for (const [code, state, after] of [
    ['ATTEMPT_NOT_FOUND', 'open', asked],
    ['ATTEMPT_NOT_FOUND', 'unknown', { done: true }],
    ['NOT_YOUR_ATTEMPT', 'acknowledged', { done: true }],
    ['ARTIFACT_NOT_FOUND', 'open', NEW_BRINGING],
    ['EPOCH_CHANGED', 'acknowledged', asked],
  ] as const)
    t.match(afterBringAnswer(asked, step, { type: 'refused', code }, state), after, code)
  t.match(afterBringAnswer(NEW_BRINGING, { type: 'list' }, { type: 'wanted', wanted: [] }, 'open'), { done: true })
})
