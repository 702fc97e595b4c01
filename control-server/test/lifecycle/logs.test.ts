import t from 'tap'
import { type LogFacts, settlesAtMs, takeChunk, takeEnd } from '../../src/lifecycle/logs.ts'
import { agent, running } from './builders.ts'

const UPLOADER = { agentId: 'a', incarnation: 1, epoch: 'epoch-one' }
const command = running('c', { agentId: 'a' })
const attempt = command.attempts[0] ?? null
const facts = (change: Partial<LogFacts> = {}): LogFacts => ({
  epoch: 'epoch-one',
  agent: agent('a'),
  hasCommand: true,
  attempt,
  stream: null,
  attemptBytes: 0,
  ...change,
})
const stored = (bytes: number, change: object = {}) => ({ bytes, end: null, changedAtMs: 0, ...change })
const chunk = (firstByte: number, text: string) => ({ firstByte, content: Buffer.from(text) })

t.test('a log grows at its end and nowhere else', async (t) => {
  const rows: [number, number, string, object, string | undefined][] = [
    [0, 0, 'abc', { fits: true, committed: 3 }, 'abc'],
    [3, 3, 'de', { fits: true, committed: 5 }, 'de'],
    [3, 1, 'bcde', { fits: true, committed: 5 }, 'de'],
    [3, 0, 'abc', { fits: true, committed: 3 }, undefined],
    [3, 0, 'a', { fits: true, committed: 3 }, undefined],
    [3, 4, 'e', { fits: false, committed: 3 }, undefined],
  ]
  for (const [bytes, firstByte, text, answer, added] of rows) {
    const decision = takeChunk(facts({ stream: stored(bytes) }), UPLOADER, chunk(firstByte, text), 100)
    t.match(decision.answer, { ok: true, ...answer }, `${text} at ${firstByte}, ${bytes} stored`)
    t.equal(decision.append && Buffer.from(decision.append).toString(), added)
  }
})

t.test('after its end a stream takes repetitions only', async (t) => {
  const ended = facts({ stream: stored(3, { end: { sha256: 'x', complete: true } }) })
  t.match(takeChunk(ended, UPLOADER, chunk(0, 'abc'), 100), { answer: { ok: true, fits: true, committed: 3 } })
  t.match(takeChunk(ended, UPLOADER, chunk(0, 'abcd'), 100), { answer: { ok: false, code: 'LOG_ENDED' } })
  const end = { bytes: 3, sha256: 'y', complete: false, storedSha256: 'x' }
  t.same(takeEnd(ended, UPLOADER, end), { answer: { ok: true, fits: true, committed: 3 } }, 'the first end stays')
})

t.test('the limit counts both streams', async (t) => {
  const full = facts({ stream: stored(3), attemptBytes: 99 })
  t.match(takeChunk(full, UPLOADER, chunk(3, 'd'), 100), { answer: { ok: true, committed: 4 } })
  t.match(takeChunk(full, UPLOADER, chunk(3, 'de'), 100), { answer: { ok: false, code: 'LOG_FULL' } })
})

t.test('a log is called complete where size and hash are those of the agent', async (t) => {
  const end = (change: object) =>
    takeEnd(facts({ stream: stored(3) }), UPLOADER, {
      ...{ bytes: 3, sha256: 'x', complete: true, storedSha256: 'x' },
      ...change,
    })
  t.match(end({}), { end: { sha256: 'x', complete: true } })
  t.match(end({ complete: false }), { end: { complete: false } })
  t.match(end({ sha256: 'y' }), { end: { sha256: 'x', complete: false } })
  t.match(end({ bytes: 2 }), { end: { complete: false } })
  t.same(end({ bytes: 4 }), { answer: { ok: true, fits: false, committed: 3 } })
})

t.test('who may upload: the registration that counts now, of the agent that was granted the attempt', async (t) => {
  const rows: [Partial<LogFacts>, object, string][] = [
    [{ agent: null }, {}, 'NOT_REGISTERED'],
    [{}, { incarnation: 2 }, 'NOT_REGISTERED'],
    [{}, { incarnation: 0 }, 'INCARNATION_SUPERSEDED'],
    [{}, { epoch: 'epoch-two' }, 'EPOCH_CHANGED'],
    [{ epoch: 'epoch-two' }, { epoch: 'epoch-two' }, 'EPOCH_CHANGED'],
    [{ hasCommand: false, attempt: null }, {}, 'COMMAND_NOT_FOUND'],
    [{ attempt: null }, {}, 'ATTEMPT_NOT_FOUND'],
    [{ attempt: attempt && { ...attempt, agentId: 'b' } }, {}, 'NOT_YOUR_ATTEMPT'],
    [{ attempt: attempt && { ...attempt, grantedAtMs: null } }, {}, 'NOT_YOUR_ATTEMPT'],
  ]
  for (const [change, uploader, code] of rows) {
    const decision = takeChunk(facts(change), { ...UPLOADER, ...uploader }, chunk(0, 'a'), 100)
    t.match(decision, { answer: { ok: false, code } }, code)
    t.equal(decision.append, undefined)
  }
})

t.test('the end of a log is waited for after the last news', async (t) => {
  if (attempt === null) return t.fail('no attempt')
  t.equal(settlesAtMs(attempt, [], 10), Number.POSITIVE_INFINITY, 'as long as the attempt runs')
  const over = { ...attempt, finishedAtMs: 1000 }
  t.equal(settlesAtMs(over, [null, null], 10), 1010)
  t.equal(settlesAtMs(over, [stored(1, { changedAtMs: 1005 }), null], 10), 1015)
})
