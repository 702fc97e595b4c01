import t from 'tap'
import { canonicalJson, checkJson, sha256, storableJson } from '../src/index.ts'

const roomy = { bytesMax: 100_000, depthMax: 8 }

function nested(depth: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = i % 2 ? { a: value } : [value]
  return value
}

t.test('canonical JSON is equal for equal values and differs for different ones', async (t) => {
  t.equal(canonicalJson({ b: [{ y: 1, x: null }], a: 'é' }), '{"a":"é","b":[{"x":null,"y":1}]}')
  t.equal(canonicalJson({ 10: 1, 9: 2, a: 3 }), canonicalJson({ a: 3, 9: 2, 10: 1 }))
  t.not(canonicalJson([1, 2]), canonicalJson([2, 1]))
  t.equal(canonicalJson(JSON.parse('{"__proto__":{"b":1,"a":2}}')), '{"__proto__":{"a":2,"b":1}}')
  t.throws(() => canonicalJson(undefined), TypeError)
  t.equal(sha256('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
})

t.test('checkJson finds what no database takes, and where', async (t) => {
  t.equal(checkJson({ a: ['x', 1, null, { b: '😀' }] }, { depthMax: 3, keysMax: 2 }), null)
  t.strictSame(checkJson(nested(4), { depthMax: 3 }), { path: '/a/0/a', message: 'is nested deeper than 3 levels' })
  t.equal(checkJson(nested(3), { depthMax: 3 }), null)
  t.equal(checkJson('text', { depthMax: 0 }), null)
  t.match(checkJson({ 'a/b~c': ['ok', 'x\ud800'] }, { depthMax: 3 }), { path: '/a~1b~0c/1', message: /lone surrogate/ })
  t.match(checkJson({ a: { '\udc00': 1 } }, { depthMax: 3 }), { path: '/a', message: /key with a lone surrogate/ })
  t.match(checkJson({ a: { b: 1, c: 2 } }, { depthMax: 3, keysMax: 2 }), { message: /2 allowed/ })
  t.match(checkJson(JSON.parse('['.repeat(5000) + ']'.repeat(5000)), { depthMax: 32 }), { path: '/0'.repeat(32) })
  const deepest = nested(1_000_000)
  t.match(checkJson(deepest, { depthMax: 2_000_000, keysMax: 10 }), { message: /10 allowed/ }, 'no stack overflows')
})

t.test('a value that is fit already is stored unchanged', async (t) => {
  const shared = { c: '' }
  const value = { a: [1, 'é😀', null, true], b: Array.from({ length: 20 }, () => shared) }
  t.strictSame(storableJson(value, roomy), { value, changed: false, truncated: false })
})

t.test('what JSON or a database cannot hold is replaced', async (t) => {
  const date = new Date(0)
  const given = { 'k\0': 'a\0b\ud800', list: [undefined, () => 1, 1n, Number.NaN, Number.POSITIVE_INFINITY], date }
  t.strictSame(storableJson(given, roomy), {
    value: { 'k\ufffd': 'a\ufffdb\ufffd', list: [null, null, null, null, null], date: date.toJSON() },
    changed: true,
    truncated: false,
  })
  t.strictSame(storableJson(undefined, roomy).value, null)
  t.strictSame(storableJson(new Array(1), roomy).value, [null])
  const proto = storableJson(JSON.parse('{"__proto__":{"a":"\\u0000"}}'), roomy).value
  t.equal(JSON.stringify(proto), '{"__proto__":{"a":"\ufffd"}}')
})

t.test('nesting below the limit becomes its JSON text, a cycle a remark', async (t) => {
  const cycle: Record<string, unknown> = { n: 1 }
  cycle.self = cycle
  t.strictSame(storableJson({ a: [{ b: '\0' }] }, { ...roomy, depthMax: 2 }), {
    value: { a: ['{"b":"\\u0000"}'] },
    changed: true,
    truncated: false,
  })
  t.strictSame(storableJson({ a: cycle }, roomy).value, { a: { n: 1, self: '[too deep]' } })
  t.strictSame(storableJson([[cycle]], { ...roomy, depthMax: 2 }).value, [['[too deep]']])
  t.strictSame(storableJson(nested(100_000), { ...roomy, depthMax: 1 }).value, { a: '[too deep]' })
})

t.test('what is too large becomes the beginning of its text, cut between characters, and then fits', async (t) => {
  const value = { text: '"\\é😀\n'.repeat(20), list: [1, 2, 3] }
  const whole = JSON.stringify(value)
  const size = Buffer.byteLength(whole)
  t.equal(storableJson(value, { ...roomy, bytesMax: size }).truncated, false)
  for (let bytesMax = 2; bytesMax < size; bytesMax++) {
    const stored = storableJson(value, { ...roomy, bytesMax })
    const bytes = Buffer.byteLength(JSON.stringify(stored.value))
    if (!stored.truncated || !stored.changed) return t.fail(`not truncated at ${bytesMax}`)
    if (typeof stored.value !== 'string' || !whole.startsWith(stored.value))
      return t.fail(`no beginning at ${bytesMax}`)
    if (bytes > bytesMax || bytes < bytesMax - 3) return t.fail(`${bytes} bytes at ${bytesMax}`)
    if (checkJson(stored.value, { depthMax: 0 })) return t.fail(`cut through a character at ${bytesMax}`)
  }
})

t.test('whatever throws while it is read does not throw', async (t) => {
  const hostile = [
    { get a() { throw new Error('no') } },
    { toJSON() { throw new Error('no') } },
    { toJSON() { return this } },
    new Proxy({}, { ownKeys() { throw new Error('no') } }),
  ] // biome-ignore format: one a line
  for (const value of hostile) t.match(storableJson(value, roomy), { changed: true, truncated: false })
  t.equal(storableJson(hostile[0], roomy).value, '[unreadable]')
})
