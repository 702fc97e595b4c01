import t from 'tap'
import { templateNames } from '../../src/templates/template-names.ts'

const names: Record<string, string[]> = {
  '': [],
  'no variable {# {{ at }} all #}': [],
  '{{ b }}{{ a }}{{ a }}': ['a', 'b'],
  '{{ a.b["c"][d] }}': ['a', 'd'],
  '{{ a | upper | replace("x", b) }}': ['a', 'b'],
  '{{ a is defined and b is divisibleby }}': ['a', 'b'],
  '{{ "yes" if a else b }}': ['a', 'b'],
  '{{ [a, {"k": b, c: d}] }}': ['a', 'b', 'c', 'd'],
  '{% if a %}{{ b }}{% elif c %}{{ d }}{% else %}{{ e }}{% endif %}': ['a', 'b', 'c', 'd', 'e'],
  '{% for x in all %}{{ x.name }} {{ loop.index }}{{ own }}{% else %}{{ none_left }}{% endfor %}{{ x }}': [
    ...['all', 'none_left', 'own', 'x'],
  ],
  '{% for k, v in pairs.items() %}{{ k }}={{ v }}{% endfor %}': ['pairs'],
  '{% for x in all if x.good and wanted %}{{ x }}{% endfor %}': ['all', 'wanted'],
  '{% set x = a %}{{ x }}': ['a'],
  '{{ x }}{% set x = 1 %}': ['x'],
  '{% set x %}{{ a }}{% endset %}{{ x }}': ['a'],
  '{% set ns = namespace(n=a) %}{% set ns.n = b %}{{ ns.n }}': ['a', 'b'],
  '{% macro m(p, q=a) %}{{ p }}{{ q }}{{ b }}{{ caller() }}{% endmacro %}{{ m(c, q=d) }}': ['a', 'b', 'c', 'd'],
  '{% call m() %}{{ a }}{% endcall %}': ['a', 'm'],
  '{% filter upper %}{{ a }}{% endfilter %}': ['a'],
  '{{ range(n) }}{{ true }}{{ none }}{{ raise_exception(why) }}': ['n', 'why'],
  '{{ a and not b or c ~ d }}': ['a', 'b', 'c', 'd'],
  '{{ constructor }}{{ range.constructor("x")() }}': ['constructor'],
}

for (const [text, expected] of Object.entries(names))
  t.test(`the variables of ${text || 'nothing'}`, async (t) => {
    t.same(templateNames(text), [...expected].sort())
  })

t.test('what is no template throws', async (t) => {
  for (const text of ['{{', '{% if %}', '{% for x in %}{% endfor %}', '{% endif %}', '{{ a b }}', '{% unknown %}'])
    t.throws(() => templateNames(text), text)
})
