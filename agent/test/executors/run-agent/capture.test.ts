import t from 'tap'
import { createCapture } from '../../../src/executors/run-agent/capture.ts'
import { seeded } from '../../decide/fixtures/builders.ts'

const captured = (bytesMax: number, ...chunks: (string | Buffer)[]) => {
  const capture = createCapture(bytesMax)
  for (const chunk of chunks) capture.push(Buffer.from(chunk))
  return capture.text()
}

t.test('what fits is kept as it is', async (t) => {
  t.same(captured(10), { text: '', bytes: 0, truncated: false })
  t.same(captured(10, ''), { text: '', bytes: 0, truncated: false })
  t.same(captured(10, '12345'), { text: '12345', bytes: 5, truncated: false })
  t.same(captured(10, '12345', '67890'), { text: '1234567890', bytes: 10, truncated: false })
})

t.test('of more, the beginning and the end, and how much is not there', async (t) => {
  t.same(captured(10, '12345678901'), { text: '12345\n[... 1 bytes left out ...]\n78901', bytes: 11, truncated: true })
  t.same(captured(4, 'ab', 'x'.repeat(1000), 'yz'), {
    text: 'ab\n[... 1000 bytes left out ...]\nyz',
    bytes: 1004,
    truncated: true,
  })
})

t.test('however it comes, it is the same', async (t) => {
  const random = seeded(5)
  const upTo = (most: number) => Math.floor(random() * most)
  for (let round = 0; round < 500; round++) {
    const text = Array.from({ length: upTo(200) }, () => String.fromCharCode(97 + upTo(26))).join('')
    const bytesMax = 2 + 2 * upTo(30)
    const capture = createCapture(bytesMax)
    for (let at = 0; at < text.length; ) {
      const length = 1 + upTo(90)
      capture.push(Buffer.from(text.slice(at, at + length)))
      at += length
    }
    const half = bytesMax / 2
    const leftOut = text.length - bytesMax
    const expected =
      leftOut <= 0 ? text : `${text.slice(0, half)}\n[... ${leftOut} bytes left out ...]\n${text.slice(-half)}`
    t.same(capture.text(), { text: expected, bytes: text.length, truncated: leftOut > 0 })
  }
})

t.test('a character is not cut in two', async (t) => {
  for (const character of ['é', '€', '👍'])
    for (let shift = 0; shift < 4; shift++) {
      const text = 'a'.repeat(shift) + character.repeat(40)
      const { text: kept, truncated, bytes } = captured(32, text)
      t.ok(truncated)
      t.equal(bytes, Buffer.byteLength(text))
      t.notMatch(kept, '\ufffd', `${character} after ${shift}`)
      const [, gap] = /\[\.\.\. (\d+) bytes left out \.\.\.\]/.exec(kept) ?? []
      const keptBytes = Buffer.byteLength(kept.replace(/\n\[\.\.\. \d+ bytes left out \.\.\.\]\n/, ''))
      t.equal(keptBytes + Number(gap), bytes, 'nothing is miscounted')
    }
})

t.test('binary becomes text of a known length, and is counted in bytes', async (t) => {
  const binary = Buffer.alloc(1_000_000, 0x80)
  const { bytes, truncated, text } = captured(100, binary)
  t.equal(bytes, 1_000_000)
  t.ok(truncated && text.length < 200)
})

t.test('a flood costs no more memory than what is kept', async (t) => {
  const capture = createCapture(65_536)
  const chunk = Buffer.alloc(65_536, 'x')
  const before = process.memoryUsage().arrayBuffers
  for (let index = 0; index < 2000; index++) capture.push(chunk)
  t.ok(process.memoryUsage().arrayBuffers - before < 2 * 2 ** 20)
  t.match(capture.text(), { bytes: 2000 * 65_536, truncated: true })
})
