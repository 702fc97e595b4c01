// The lines of an engine on their way to its parser: whole, bounded, whatever comes.
import type { EngineParser } from '@agent-executor/engines'
import { EVENTS_MAX } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import { ANSWER_CHARACTERS_MAX, createEngineReader } from '../../../src/executors/run-agent/engine-reader.ts'

/** Says each line that it has got as a message, and answers with all of them. */
const echo = () => {
  const lines: string[] = []
  const parser: EngineParser = {
    take(line) {
      lines.push(line)
      return [{ type: 'message', text: line }]
    },
    outcome: () => ({ answer: lines.join('\n'), sessionId: null, failure: null }),
  }
  return { lines, parser }
}

t.test('however the bytes are cut, the parser gets the same lines', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', '').trimEnd())),
      fc.array(fc.nat({ max: 40 }), { minLength: 1 }),
      (lines, cuts) => {
        const whole = Buffer.from(lines.join('\n'))
        const { lines: got, parser } = echo()
        const reader = createEngineReader(parser)
        for (let at = 0, cut = 0; at < whole.length; cut++) {
          const length = 1 + (cuts[cut % cuts.length] ?? 0)
          reader.push(whole.subarray(at, at + length))
          at += length
        }
        reader.end()
        return JSON.stringify(got) === JSON.stringify(lines.filter((line) => line !== ''))
      },
    ),
  )
})

t.test('a line without end is passed over, and what comes after it is read', async (t) => {
  const { lines, parser } = echo()
  const reader = createEngineReader(parser, 1000)
  reader.push(Buffer.from('first\n'))
  for (let count = 0; count < 100; count++) reader.push(Buffer.alloc(100, 'x'))
  reader.push(Buffer.from(`\n${'y'.repeat(1000)}\n${'z'.repeat(1001)}\nlast`))
  reader.end()
  t.same(lines, ['first', 'y'.repeat(1000), 'last'])
})

t.test('the first events are kept, all are counted, an answer has an end', async (t) => {
  const { parser } = echo()
  const reader = createEngineReader(parser)
  for (let count = 0; count < EVENTS_MAX + 5; count++) reader.push(Buffer.from(`${count} ${'w'.repeat(1000)}\n`))
  reader.end()
  t.equal(reader.events().count, EVENTS_MAX + 5)
  t.equal(reader.events().items.length, EVENTS_MAX)
  t.match(reader.events().items[0], { text: /^0 / })
  t.equal(reader.outcome(0).answer?.length, ANSWER_CHARACTERS_MAX)
})
