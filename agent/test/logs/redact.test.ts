import fc from 'fast-check'
import t from 'tap'
import { createRedactor, MASK, SECRET_BYTES_MIN } from '../../src/logs/redact.ts'

/** At each place the longest secret that begins there. */
const expected = (bytes: Buffer, secrets: readonly string[]): Buffer => {
  const wanted = secrets.map((secret) => Buffer.from(secret)).filter(({ length }) => length >= SECRET_BYTES_MIN)
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const found = wanted
      .filter((secret) => bytes.subarray(at, at + secret.length).equals(secret))
      .sort((a, b) => b.length - a.length)[0]
    pieces.push(found === undefined ? bytes.subarray(at, at + 1) : MASK)
    at += found?.length ?? 1
  }
  return Buffer.concat(pieces)
}

const chunked = (bytes: Buffer, cuts: readonly number[]): Buffer[] => {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return places.slice(1).map((to, index) => bytes.subarray(places[index], to))
}

// Of few letters, so that secrets overlap, repeat themselves and begin within one another.
const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'ü'), maxLength: 60 })
const secrets = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'ü'), minLength: 1, maxLength: 9 }), {
  maxLength: 4,
})

t.test('wherever a stream is cut, the same is taken out of it', async () => {
  fc.assert(
    fc.property(letters, secrets, fc.array(fc.nat(), { maxLength: 10 }), (text, wanted, cuts) => {
      const bytes = Buffer.from(text)
      const redactor = createRedactor(wanted)
      const taken = [...chunked(bytes, cuts).map(redactor.push), redactor.end()]
      const redacted = Buffer.concat(taken.map((each) => each.redacted))
      const raw = Buffer.concat(taken.map((each) => each.raw))
      return redacted.equals(expected(bytes, wanted)) && raw.equals(bytes)
    }),
    { numRuns: 5000 },
  )
})

t.test('a new redactor goes on after what the last one has given out', async () => {
  fc.assert(
    fc.property(letters, secrets, fc.array(fc.nat(), { minLength: 1, maxLength: 10 }), (text, wanted, cuts) => {
      const bytes = Buffer.from(text)
      const redacted: Buffer[] = []
      let at = 0
      for (const chunk of chunked(bytes, cuts)) {
        // What the last one held back comes again, as it does from Docker's log.
        const until = chunk.byteOffset + chunk.length - bytes.byteOffset
        const taken = createRedactor(wanted).push(bytes.subarray(at, until))
        redacted.push(taken.redacted)
        at += taken.raw.length
      }
      redacted.push(createRedactor(wanted).push(bytes.subarray(at)).redacted)
      const last = createRedactor(wanted)
      const tail = Buffer.concat([last.push(bytes.subarray(at)).redacted, last.end().redacted])
      return Buffer.concat([...redacted.slice(0, -1), tail]).equals(expected(bytes, wanted))
    }),
    { numRuns: 3000 },
  )
})

t.test('only what may be the beginning of a secret is held back', async (t) => {
  const redactor = createRedactor(['s3cret-token'])
  t.equal(redactor.push(Buffer.from('prompt> ')).redacted.toString(), 'prompt> ')
  t.equal(redactor.push(Buffer.from('my s3c')).redacted.toString(), 'my ')
  t.equal(redactor.push(Buffer.from('ond!')).redacted.toString(), 's3cond!')
  t.equal(redactor.push(Buffer.from('s3cret-toke')).redacted.toString(), '')
  t.equal(redactor.push(Buffer.from('n!')).redacted.toString(), '[redacted]!')
})

t.test('ten megabytes of the beginnings of secrets take no time to speak of', async (t) => {
  const redactor = createRedactor([`${'a'.repeat(4000)}b`, `${'ab'.repeat(2000)}c`])
  const chunk = Buffer.alloc(65_536, 'a')
  const beganMs = performance.now()
  let bytes = 0
  for (let sent = 0; sent < 10 * 2 ** 20; sent += chunk.length) bytes += redactor.push(chunk).redacted.length
  bytes += redactor.end().redacted.length
  t.equal(bytes, 10 * 2 ** 20)
  t.ok(performance.now() - beganMs < 5000)
})
