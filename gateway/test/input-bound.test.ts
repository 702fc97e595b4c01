// How much input is reserved for before anybody has counted it: never less than a provider can count, and not much more.
import fc from 'fast-check'
import t from 'tap'
import { createInputBounds } from '../src/input-bound.ts'
import { WIRES } from '../src/wire/index.ts'
import { IMAGE_TOKENS_MAX, INPUT_TOKENS_MAX, type JsonObject } from '../src/wire/wire.ts'

const wire = WIRES['anthropic-messages']
const EPHEMERAL = { cache_control: { type: 'ephemeral' } }

/** A provider that counts each part by itself: from nothing to a token for each byte, the same whenever it comes again. */
const counted = (body: JsonObject): number => {
  const ofText = (text: string): number => {
    const bytes = Buffer.from(text)
    const density = bytes.reduce((sum, byte) => (sum * 31 + byte) % 101, 7) / 100
    return Math.floor(bytes.length * Math.min(1, density))
  }
  return Object.values(body)
    .flatMap((value) => (Array.isArray(value) ? (value as JsonObject[]) : [value]))
    .reduce<number>((sum, part) => {
      const text = typeof part === 'string' ? part : JSON.stringify((part as JsonObject)?.content ?? part)
      return sum + ofText(text)
    }, 0)
}

const message = fc.record({
  role: fc.constantFrom('user', 'assistant'),
  content: fc.string({ maxLength: 200, unit: 'grapheme' }),
})
const step = fc.record({
  added: fc.array(message, { maxLength: 3 }),
  dropped: fc.nat({ max: 2 }),
  system: fc.constantFrom('Be short.', 'Be long, and say why in every single case.'),
  isNewAttempt: fc.boolean(),
  marked: fc.boolean(),
})

t.test('whatever a conversation is made of, no request has more tokens than it is bounded to', async () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const bounds = createInputBounds()
      let attempt = bounds.ofAttempt()
      let messages: JsonObject[] = []
      for (const { added, dropped, system, isNewAttempt, marked } of steps) {
        if (isNewAttempt) attempt = bounds.ofAttempt()
        messages = [...messages.slice(0, messages.length - dropped), ...added]
        const sent = messages.map((each, at) =>
          marked && at === messages.length - 1 ? { ...each, ...EPHEMERAL } : each,
        )
        const body = { model: 'm', system, messages: sent }
        const request = bounds.request(wire, 'm', body)
        const most = attempt.of(request)
        const tokens = counted(body)
        if (tokens > most) throw new Error(`${tokens} of ${most}`)
        if (most > Buffer.byteLength(JSON.stringify(body))) throw new Error('more than a token a byte')
        attempt.learn(request, tokens)
      }
    }),
    { numRuns: 1000 },
  )
})

const system = 'You are an agent. '.repeat(1000)
const hello = { role: 'user', content: 'Hello, who is there?' }
const bodyOf = (...messages: JsonObject[]): JsonObject => ({ model: 'm', messages, system, tools: [{ name: 'Bash' }] })

t.test('what comes again counts as it was counted, and only what is new by its bytes', async (t) => {
  const bounds = createInputBounds()
  const attempt = bounds.ofAttempt()
  const first = bounds.request(wire, 'm', bodyOf({ ...hello, ...EPHEMERAL }))
  t.ok(attempt.of(first) >= system.length, 'nobody knows better')
  attempt.learn(first, 4000)
  t.equal(attempt.of(first), 4000)
  const answer = { role: 'assistant', content: 'x'.repeat(500) }
  const more = attempt.of(bounds.request(wire, 'm', bodyOf(hello, { ...answer, ...EPHEMERAL })))
  t.ok(more > 4500 && more < 4700, `${more}: also where the mark of the cache has moved on`)
  t.ok(attempt.of(bounds.request(wire, 'other', bodyOf(hello))) >= system.length, 'of this model')

  const next = bounds.ofAttempt()
  const begun = next.of(bounds.request(wire, 'm', bodyOf({ role: 'user', content: 'Another prompt.' })))
  t.ok(begun < 4200, `${begun}: what an engine says at its beginning is known to the attempts that follow`)
  next.learn(bounds.request(wire, 'm', bodyOf()), 3900)
  const doubled = { ...bodyOf(hello, hello, hello), system: 'another' }
  t.ok(next.of(bounds.request(wire, 'm', doubled)) >= 3 * hello.content.length, 'each as often as it was there')
})

t.test('nothing that is counted passes for a mark of the cache', async (t) => {
  const bounds = createInputBounds()
  const attempt = bounds.ofAttempt()
  const tool = (text: string) => ({ tools: [{ name: 'a', cache_control: { type: text } }] })
  attempt.learn(bounds.request(wire, 'm', tool('ephemeral')), 10)
  const long = 'z'.repeat(5000)
  t.ok(attempt.of(bounds.request(wire, 'm', tool(long))) > 5000)
  t.ok(attempt.of(bounds.request(wire, 'm', tool(`ephemeral"},{"${long}`))) > 5000)
})

t.test('an image, a document and a sound have tokens without bytes, and a text about them has not', async (t) => {
  const bounds = createInputBounds()
  const source = { type: 'base64', media_type: 'image/png', data: 'AA==' }
  const rows: [keyof typeof WIRES, JsonObject, number][] = [
    ['anthropic-messages', { messages: [{ content: [{ type: 'image', source }] }] }, IMAGE_TOKENS_MAX],
    ['anthropic-messages', { messages: [{ content: [{ type: 'document', source }] }] }, INPUT_TOKENS_MAX],
    ['openai-chat', { messages: [{ content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }] }, 50_000],
    ['openai-chat', { messages: [{ content: [{ type: 'input_audio' }] }] }, INPUT_TOKENS_MAX],
    ['openai-responses', { input: [{ content: [{ type: 'input_image' }] }, { type: 'input_image' }] }, 100_000],
    ['openai-responses', { input: [{ content: [{ type: 'input_file' }] }] }, INPUT_TOKENS_MAX],
    ['gemini', { contents: [{ parts: [{ inlineData: { mimeType: 'image/png', data: '' } }] }] }, IMAGE_TOKENS_MAX],
    ['gemini', { contents: [{ parts: [{ inline_data: { data: 'AA', mime_type: 'image/png' } }] }] }, IMAGE_TOKENS_MAX],
    ['gemini', { contents: [{ parts: [{ inlineData: { data: 'AA', mimeType: 'video/mp4' } }] }] }, INPUT_TOKENS_MAX],
  ]
  for (const [name, body, tokens] of rows) {
    const most = bounds.ofAttempt().of(bounds.request(WIRES[name], 'm', body))
    t.ok(most >= tokens && most < tokens + 300, `${name} ${JSON.stringify(body)}: ${most}`)
    const told = { messages: [{ content: JSON.stringify(body) }] }
    t.ok(bounds.ofAttempt().of(bounds.request(WIRES[name], 'm', told)) < 300, `${name}: as a text`)
  }
})

t.test('what is remembered of a request is small, however many items it has', async (t) => {
  const bounds = createInputBounds()
  const many = Array.from({ length: 200_000 }, (_, at) => at)
  t.equal(bounds.request(wire, 'm', { messages: many, model: 'm' }).pieces.length, 2)
})
