import t from 'tap'
import { createDemultiplexer, type StreamName } from '../../src/docker/demultiplexer.ts'
import { seeded } from '../decide/fixtures/builders.ts'

const frame = (stream: number, content: Buffer): Buffer => {
  const header = Buffer.alloc(8)
  header[0] = stream
  header.writeUInt32BE(content.length, 4)
  return Buffer.concat([header, content])
}

t.test('whatever way the stream is cut, every byte arrives once and in order', async (t) => {
  const random = seeded(11)
  const upTo = (most: number) => Math.floor(random() * most)
  for (let round = 0; round < 300; round++) {
    const sent = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }
    const frames = Array.from({ length: upTo(8) }, () => {
      const content = Buffer.from(Array.from({ length: upTo(40) }, () => upTo(256)))
      const name: StreamName = random() < 0.5 ? 'stdout' : 'stderr'
      sent[name] = Buffer.concat([sent[name], content])
      return frame(name === 'stdout' ? 1 : 2, content)
    })
    const got = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }
    const demultiplexer = createDemultiplexer((name, bytes) => {
      got[name] = Buffer.concat([got[name], bytes])
    })
    let rest = Buffer.concat(frames)
    while (rest.length > 0) {
      const chunk = rest.subarray(0, 1 + upTo(12))
      demultiplexer.push(chunk)
      rest = rest.subarray(chunk.length)
    }
    t.same(got, sent)
    t.ok(demultiplexer.whole())
  }
})

t.test('an end in the middle of a frame is told from one between two', async (t) => {
  const demultiplexer = createDemultiplexer(() => {})
  t.ok(demultiplexer.whole())
  const whole = frame(1, Buffer.from('abc'))
  demultiplexer.push(whole.subarray(0, 5))
  t.notOk(demultiplexer.whole())
  demultiplexer.push(whole.subarray(5, 9))
  t.notOk(demultiplexer.whole())
  demultiplexer.push(whole.subarray(9))
  t.ok(demultiplexer.whole())
})

t.test('what is no stream of frames is refused', async (t) => {
  t.throws(() => createDemultiplexer(() => {}).push(Buffer.from('plain text')), /a frame of stream/)
})
