// Spools on a real disk: what is there after a crash at any byte, and what is taken up again from Docker's log.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { framesIn } from '../../src/logs/frames.ts'
import { GAP_MARK } from '../../src/logs/spooled-stream.ts'
import { openSpools, type Reading, type Spool } from '../../src/logs/spools.ts'
import { createTail } from '../../src/logs/tail.ts'

const KIB = 1024
const limits = { headBytesMax: 256 * KIB, tailBytesMax: 64 * KIB }
const secrets = ['s3cret-value']

const openIn = async (t: Test, dir: string, change: Partial<typeof limits> = {}) => {
  const warned: string[] = []
  const spools = await openSpools({
    dir,
    limits: { ...limits, ...change },
    onCommitted: () => {},
    warn: (_facts, message) => warned.push(message),
  })
  t.teardown(() => Promise.all(spools.all().map((spool) => spool.close())))
  return Object.assign(spools, { warned })
}

const contentOf = async ({ streams }: Spool, stream: 'stdout' | 'stderr' = 'stdout'): Promise<Buffer> => {
  const pieces: Buffer[] = []
  for (let at = 0; at < streams[stream].bytes(); at += 1000) pieces.push(await streams[stream].content(at, 1000))
  return Buffer.concat(pieces)
}

/** As `kill -9` would leave it: a copy of what is on the disk now. */
const crashed = (dir: string, to: string, attemptId: string, fileBytes?: number): string => {
  mkdirSync(join(to, attemptId), { recursive: true })
  for (const name of readdirSync(join(dir, attemptId))) {
    copyFileSync(join(dir, attemptId, name), join(to, attemptId, name))
    if (fileBytes !== undefined && name === 'stdout.spool') truncateSync(join(to, attemptId, name), fileBytes)
  }
  return to
}

t.test('what is pushed is there, redacted, and the end says so', async (t) => {
  const spools = await openIn(t, t.testdir())
  const spool = await spools.take('a.1')
  const reading = spool.begin(secrets)
  reading.write('stdout', Buffer.from('one s3cret-'))
  reading.write('stderr', Buffer.from('err'))
  reading.write('stdout', Buffer.from('value two \0\xff'))
  await spool.end(true)
  t.equal((await contentOf(spool)).toString(), 'one [redacted] two \0\u00ff')
  t.equal((await contentOf(spool, 'stderr')).toString(), 'err')
  t.equal(spool.streams.stdout.ended(), 'complete')
})

t.test("crashed at any byte of its file, a spool goes on from Docker's log without gap or repetition", async (t) => {
  const root = t.testdir()
  const dir = join(root, 'first')
  const raw = Buffer.from(Array.from({ length: 40 }, (_, index) => `line ${index} s3cret-value\n`).join(''))
  const expected = raw.toString().replaceAll('s3cret-value', '[redacted]')
  const spools = await openIn(t, dir)
  const spool = await spools.take('a.1')
  let reading: Reading = spool.begin(secrets)
  for (let at = 0; at < raw.length; at += 97) {
    reading.write('stdout', raw.subarray(at, Math.min(raw.length - 50, at + 97)))
    if (at % 3 !== 0) continue
    await spool.close()
    reading = spool.resume(secrets)
    reading.write('stdout', raw.subarray(0, Math.min(raw.length - 50, at + 97)))
  }
  await spool.close()
  const file = readFileSync(join(dir, 'a.1', 'stdout.spool'))
  t.ok(framesIn(file).frames.length > 3, 'several frames')
  let wrong = 0
  for (let bytes = 0; bytes <= file.length; bytes += 13) {
    const next = await openIn(t, crashed(dir, join(root, `cut-${bytes}`), 'a.1', bytes))
    const again = await next.take('a.1')
    const resumption = again.resume(secrets)
    for (let at = 0; at < raw.length; at += 61) resumption.write('stdout', raw.subarray(at, at + 61))
    if (resumption.isLost()) wrong += 1
    await again.end(true)
    if ((await contentOf(again)).toString() !== expected || again.streams.stdout.ended() !== 'complete') wrong += 1
  }
  t.equal(wrong, 0)
})

t.test('however often it crashes, and however the output is cut, the spool is the output', async (t) => {
  const root = t.testdir()
  let runs = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('x', 's3cret', '-value', 's3cret-value', '\n'), { minLength: 1, maxLength: 40 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 40 }),
      async (words, stops, step) => {
        const raw = Buffer.from(words.join(''))
        let dir = join(root, `run-${++runs}`)
        for (const [life, stop] of [...stops, raw.length].entries()) {
          const spools = await openIn(t, dir)
          const spool = await spools.take('a.1')
          const resumption = spool.resume(secrets)
          const until = life === stops.length ? raw.length : stop % (raw.length + 1)
          for (let at = 0; at < until; at += step)
            resumption.write('stdout', raw.subarray(at, Math.min(until, at + step)))
          if (life === stops.length) {
            await spool.end(true)
            const kept = (await contentOf(spool)).toString()
            return (
              kept === raw.toString().replaceAll('s3cret-value', '[redacted]') &&
              spool.streams.stdout.ended() === 'complete'
            )
          }
          await spool.close()
          dir = crashed(dir, join(root, `run-${runs}-${life}`), 'a.1')
        }
        return false
      },
    ),
    { numRuns: 60 },
  )
})

t.test("a gap is marked where Docker's log does not reach back", async (t) => {
  const spools = await openIn(t, t.testdir())
  const spool = await spools.take('a.1')
  spool.begin(secrets).write('stdout', Buffer.from('the beginning\n'))
  const first = spool.resume(secrets)
  first.write('stdout', Buffer.from('something else, longer than the beginning\n'))
  t.ok(first.isLost())
  const second = spool.resume(secrets)
  second.write('stdout', Buffer.from('something else, longer than the beginning\n'))
  second.write('stderr', Buffer.from('err'))
  await spool.end(true)
  t.equal((await contentOf(spool)).toString(), `the beginning\n${GAP_MARK}something else, longer than the beginning\n`)
  t.equal(spool.streams.stdout.ended(), 'cut')
  t.equal(spool.streams.stderr.ended(), 'complete')
})

t.test('a reading that was overtaken says nothing any more', async (t) => {
  const spools = await openIn(t, t.testdir())
  const spool = await spools.take('a.1')
  const old = spool.begin(secrets)
  old.write('stdout', Buffer.from('ab'))
  const next = spool.resume(secrets)
  old.write('stdout', Buffer.from('cd'))
  next.write('stdout', Buffer.from('abcd'))
  await spool.end(true)
  t.equal((await contentOf(spool)).toString(), 'abcd')
})

t.test('of a flood the beginning and the end are kept, and what is between is counted', async (t) => {
  const spools = await openIn(t, t.testdir())
  const spool = await spools.take('a.1')
  const reading = spool.begin(secrets)
  const chunk = Buffer.alloc(64 * KIB, 'x')
  const before = process.memoryUsage().rss
  for (let sent = 0; sent < 1024; sent++) {
    reading.write('stdout', chunk)
    if (sent % 64 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  reading.write('stdout', Buffer.from('the last words'))
  await spool.end(true)
  const text = (await contentOf(spool)).toString()
  const leftOut = 64 * KIB * KIB + 14 - 256 * KIB - 64 * KIB
  t.equal(text.length, 256 * KIB + `\n[... ${leftOut} bytes left out ...]\n`.length + 64 * KIB)
  t.ok(text.includes(`\n[... ${leftOut} bytes left out ...]\n`))
  t.ok(text.endsWith('xthe last words'))
  t.equal(spool.streams.stdout.ended(), 'cut')
  t.ok(process.memoryUsage().rss - before < 64 * 2 ** 20, 'of 64 MiB next to nothing stays in memory')
})

t.test('what is longer than the head and fits with the tail is whole', async (t) => {
  const spools = await openIn(t, t.testdir())
  const spool = await spools.take('a.1')
  const content = Buffer.from(Array.from({ length: 300 * KIB }, (_, index) => index % 251))
  const reading = spool.begin(secrets)
  for (let at = 0; at < content.length; at += 7777) reading.write('stdout', content.subarray(at, at + 7777))
  await spool.end(true)
  t.ok((await contentOf(spool)).equals(content))
  t.equal(spool.streams.stdout.ended(), 'complete')
})

t.test('an end is an end, also for the next life', async (t) => {
  const root = t.testdir()
  const spool = await (await openIn(t, join(root, 'first'))).take('a.1')
  spool.begin(secrets).write('stdout', Buffer.from('all'))
  await spool.end(true)
  const again = await (await openIn(t, crashed(join(root, 'first'), join(root, 'next'), 'a.1'))).take('a.1')
  again.resume(secrets).write('stdout', Buffer.from('all and more'))
  await again.end(false)
  t.equal((await contentOf(again)).toString(), 'all')
  t.equal(again.streams.stdout.ended(), 'complete')
})

t.test('the tail is the newest bytes, however they came', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 12 }),
      (max, chunks) => {
        const tail = createTail(max)
        for (const chunk of chunks) tail.push(Buffer.from(chunk))
        const all = Buffer.concat(chunks)
        return tail.bytes() === all.length && tail.content().equals(all.subarray(Math.max(0, all.length - max)))
      },
    ),
    { numRuns: 2000 },
  )
})
