import type { ProfileVariable, VariableValue } from '@agent-executor/protocol'
import t from 'tap'
import { declarationProblems, patternChecks, valueProblems } from '../../src/profiles/variables.ts'

const faultsOf = (variable: ProfileVariable, name = 'x') =>
  declarationProblems(name, variable, '/v').map(({ path, message }) => `${path} ${message}`)

t.test('each type takes its own values and no other', async (t) => {
  const good: Record<ProfileVariable['type'], VariableValue[]> = {
    string: ['', 'a', '5'],
    integer: [0, -3, Number.MAX_SAFE_INTEGER],
    float: [0.5, -1, 1e300],
    boolean: [true, false],
    enum: ['a', 'b'],
    list: [[], ['a'], ['b', 'a', 'a']],
    secret: ['s'],
  }
  const bad: Record<ProfileVariable['type'], VariableValue[]> = {
    string: [1, true, ['a']],
    integer: ['5', 1.5, 2 ** 53, Number.NaN, true],
    float: ['0.5', Number.POSITIVE_INFINITY, Number.NaN, false],
    boolean: ['true', 1, 0],
    enum: ['c', '', 'A', 1, ['a']],
    list: ['a', 1, ['c']],
    secret: [1, true, ['s']],
  }
  for (const type of Object.keys(good) as ProfileVariable['type'][]) {
    const variable = { type, ...(type === 'enum' || type === 'list' ? { values: ['a', 'b'] } : {}) }
    t.same(faultsOf(variable), [], type)
    for (const value of good[type]) t.same(valueProblems(variable, value), [], `${type} takes ${JSON.stringify(value)}`)
    for (const value of bad[type])
      t.equal(valueProblems(variable, value).length, 1, `${type} refuses ${JSON.stringify(value)}`)
  }
})

t.test('min and max limit numbers, characters and items', async (t) => {
  const limits = { min: 2, max: 3 }
  for (const type of ['integer', 'float'] as const) {
    t.same(valueProblems({ type, ...limits }, 2), [])
    t.match(valueProblems({ type, ...limits }, 1), [/at least 2/])
    t.match(valueProblems({ type, ...limits }, 4), [/at most 3/])
  }
  t.same(valueProblems({ type: 'string', ...limits }, '👍👍👍'), [], 'characters, not code units')
  t.match(valueProblems({ type: 'string', ...limits }, 'a'), [/at least 2/])
  t.match(valueProblems({ type: 'list', ...limits }, ['a', 'b', 'c', 'd']), [/at most 3/])
})

t.test('what means nothing for a type is refused, so that a typo does not open a limit', async (t) => {
  t.match(faultsOf({ type: 'boolean', min: 1 }), [/^\/v\/min means nothing for type boolean/])
  t.match(faultsOf({ type: 'integer', pattern: 'a' }), [/^\/v\/pattern/])
  t.match(faultsOf({ type: 'string', values: ['a'] }), [/^\/v\/values/])
  t.match(faultsOf({ type: 'secret', default: 'hunter2' }), [/^\/v\/default means nothing for type secret/])
})

t.test('a declaration that no value could meet, or that says two things, is refused', async (t) => {
  t.match(faultsOf({ type: 'enum' }), [/^\/v\/values is required/])
  t.match(faultsOf({ type: 'integer', min: 5, max: 4 }), [/^\/v\/min must not be above max/])
  t.match(faultsOf({ type: 'string', min: -1 }), [/^\/v\/min must be a whole number/])
  t.match(faultsOf({ type: 'list', max: 1.5 }), [/counts items/])
  t.match(faultsOf({ type: 'string', pattern: '(' }), [/^\/v\/pattern is not a regular expression/])
  t.match(faultsOf({ type: 'integer', default: 'five' }), [/^\/v\/default must be a whole number/])
  t.match(faultsOf({ type: 'integer', default: 6, max: 5 }), [/^\/v\/default must be at most 5/])
  t.match(faultsOf({ type: 'string', required: true, default: 'a' }), [/^\/v\/required/])
})

t.test('a pattern cannot be closed from within', async (t) => {
  for (const pattern of ['a)|(b', 'a)(', ')', 'a)|.*(?:'])
    t.match(faultsOf({ type: 'string', pattern }), [/not a regular expression/], pattern)
  t.same(faultsOf({ type: 'string', pattern: 'a|b' }), [])
})

t.test('names that templates or objects use otherwise are refused', async (t) => {
  for (const name of ['loop', 'range', 'namespace', 'caller', 'true', 'constructor', 'toString', 'raise_exception'])
    t.match(faultsOf({ type: 'string' }, name), [/^\/v has a name/], name)
})

t.test('a value that has to match a pattern is handed on, each item of a list for itself', async (t) => {
  t.same(patternChecks({ type: 'string' }, 'a', '/x'), [])
  t.same(patternChecks({ type: 'secret', pattern: '[a-z]+' }, 'a', '/x'), [
    { path: '/x', pattern: '[a-z]+', text: 'a' },
  ])
  t.same(
    patternChecks({ type: 'list', pattern: 'b' }, ['a', 'b'], '/x').map(({ path, text }) => `${path} ${text}`),
    ['/x/0 a', '/x/1 b'],
  )
})

t.test('no message shows the value of a secret', async (t) => {
  for (const value of ['hunter2', 'x'.repeat(100)])
    t.notMatch(valueProblems({ type: 'secret', min: 20, max: 50 }, value).join(' '), value)
})
