// The real process: what a hostile template does costs that process, never the server.
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createRenderer, type Rendered } from '../../src/templates/renderer.ts'

const rendererOf = (t: Test, options: Parameters<typeof createRenderer>[0] = {}) => {
  const renderer = createRenderer(options)
  t.teardown(renderer.close)
  return renderer
}
const valueIn = <Value>(answer: Rendered<Value>): Value | string => (answer.ok ? answer.value : answer.code)

/** The longest time for which the event loop did nothing, while `during` went on. */
const longestPauseMs = async (during: Promise<unknown>): Promise<number> => {
  let longest = 0
  let before = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    longest = Math.max(longest, now - before)
    before = now
  }, 5)
  await during
  clearInterval(timer)
  return longest
}

t.test('renders with plain values', async (t) => {
  const renderer = rendererOf(t)
  const text =
    '{% for x in list %}{{ loop.index }}:{{ x | upper }} {% endfor %}{{ n + 1 }}{{ missing }}{% if on %}!{% endif %}'
  const values = { list: ['a', 'b'], n: 1, on: true }
  t.same(valueIn(await renderer.render([text, 'plain'], values)), ['1:A 2:B 2!', 'plain'])
  t.same(valueIn(await renderer.names([text, ''])), [['list', 'missing', 'n', 'on'], []])
  t.same(
    valueIn(
      await renderer.matches([
        { pattern: 'a|b', text: 'b' },
        { pattern: 'a|b', text: 'ab' },
      ]),
    ),
    [true, false],
  )
  t.same(valueIn(await renderer.render([], {})), [])
})

t.test('questions that come together are answered each with its own', async (t) => {
  const renderer = rendererOf(t)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => renderer.render(['{{ n }}'], { n })))
  t.same(
    answers.map(valueIn),
    Array.from({ length: 20 }, (_, n) => [String(n)]),
  )
})

t.test('a failure of a template is its own, and the next one is rendered', async (t) => {
  const renderer = rendererOf(t)
  for (const text of ['{{', '{{ a() }}', "{{ raise_exception('no') }}", '{% for x in 5 %}{% endfor %}'])
    t.equal(valueIn(await renderer.render([text], { a: 1 })), 'TEMPLATE_FAILED', text)
  t.same(valueIn(await renderer.render(['fine'], {})), ['fine'])
})

t.test('a template cannot reach the language under it', async (t) => {
  const renderer = rendererOf(t)
  const payloads = [
    "{{ range.constructor('return process.version')() }}",
    "{{ ''.constructor.constructor('return process')() }}",
    '{{ values.__proto__.polluted }}{{ values.constructor.prototype }}',
    '{{ [].__class__.__mro__ }}',
    "{{ namespace.constructor('return globalThis')() }}",
    '{% set ns = namespace() %}{% set ns.__proto__ = 1 %}{{ ns.polluted }}',
    "{{ raise_exception.constructor('return 1')() }}",
    "{{ 'x'.replace.constructor }}",
    '{{ self }}{{ process }}{{ require }}{{ globalThis }}{{ env }}',
  ]
  for (const text of payloads) {
    const answer = await renderer.render([text], { values: { a: 1 } })
    if (answer.ok) t.notMatch(answer.value[0], /v\d+\.\d+|function|native code|\[object/, text)
    else t.equal(answer.code, 'TEMPLATE_FAILED', text)
  }
})

t.test('loops, deep nesting and hungry templates end within their limits, and the event loop goes on', async (t) => {
  const renderer = rendererOf(t, { timeMs: 400 })
  t.same(valueIn(await renderer.render(['warm'], {})), ['warm'])
  const hungry = {
    'a long loop': '{% for i in range(3000000) %}{% endfor %}',
    'loops in loops': '{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}',
    'a macro that calls itself': '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}',
    'text that doubles':
      '{% set ns = namespace(x="xxxxxxxx") %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x | upper }}',
    'text that doubles up to the longest that there is':
      '{% set ns = namespace(x="xxxxxxxx") %}{% for i in range(25) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x | upper | length }}',
    'a long range': '{{ range(100000000) }}',
    'lists that grow':
      '{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = ns.l + ns.l %}{% endfor %}',
    'too much text': '{% for i in range(300000) %}x{% endfor %}',
    brackets: `{{ ${'('.repeat(20_000)}1${')'.repeat(20_000)} }}`,
    'ifs in ifs': `${'{% if a %}'.repeat(5000)}${'{% endif %}'.repeat(5000)}`,
    'a large number of spaces': `{{ "${' '.repeat(60_000)}" | trim }}`,
  }
  for (const [name, text] of Object.entries(hungry)) {
    const startedMs = performance.now()
    const answer = renderer.render([text], { a: true })
    const pauseMs = await longestPauseMs(answer)
    const tookMs = performance.now() - startedMs
    const value = valueIn(await answer)
    t.comment(
      `${name}: ${typeof value === 'string' ? value : 'rendered'} in ${Math.round(tookMs)} ms, pause ${Math.round(pauseMs)} ms`,
    )
    t.ok(typeof value !== 'string' || value.startsWith('TEMPLATE_'), name)
    t.ok(tookMs < 15_000, `${name}: ${Math.round(tookMs)} ms`)
    t.ok(pauseMs < 350, `${name}: the event loop was busy for ${Math.round(pauseMs)} ms`)
    t.same(valueIn(await renderer.render(['{{ 1 + 1 }}'], {})), ['2'], `after ${name} the next one is rendered`)
  }
})

t.test('a pattern that never comes to an end is stopped', async (t) => {
  const renderer = rendererOf(t, { timeMs: 300 })
  const check = { pattern: '(a+)+b', text: 'a'.repeat(60) }
  t.equal(valueIn(await renderer.matches([check])), 'TEMPLATE_LIMIT')
  t.same(valueIn(await renderer.matches([{ pattern: 'a', text: 'a' }])), [true])
})

t.test('no more wait than there is place for, and those that wait behind a slow one are answered', async (t) => {
  const renderer = rendererOf(t, { timeMs: 300 })
  const slow = renderer.render(['{% for i in range(3000000) %}{% endfor %}'], {})
  const others = await Promise.all(Array.from({ length: 60 }, () => renderer.render(['x'], {})))
  t.equal(valueIn(await slow), 'TEMPLATE_LIMIT')
  const refused = others.filter((answer) => valueIn(answer) === 'OVERLOADED').length
  t.ok(refused > 0 && refused < 40, `${refused} of 60 were refused`)
  for (const answer of others) t.ok(answer.ok || answer.code === 'OVERLOADED')
})

t.test('an idle process is given up, and there is a new one when it is needed', async (t) => {
  const renderer = rendererOf(t, { idleMs: 20 })
  t.same(valueIn(await renderer.render(['a'], {})), ['a'])
  await sleep(100)
  t.same(valueIn(await renderer.render(['b'], {})), ['b'])
})

t.test('close answers whoever waits', async (t) => {
  const renderer = rendererOf(t)
  const waiting = [1, 2].map(() => renderer.render(['{% for i in range(3000000) %}{% endfor %}'], {}))
  await renderer.close()
  t.same((await Promise.all(waiting)).map(valueIn), ['OVERLOADED', 'OVERLOADED'])
  t.equal(valueIn(await renderer.render(['x'], {})), 'OVERLOADED')
})
