// Patterns of artifacts: what each means, that `find` is always given at least as much, and that none takes long.
import fc from 'fast-check'
import t from 'tap'
import { absolute, findPattern, globOf } from '../../src/decide/glob.ts'

const CASES: readonly [pattern: string, matches: string[], not: string[]][] = [
  ['/output/**', ['/output/a', '/output/a/b', '/output/.a'], ['/output2/a', '/workspace/a', 'output/a']],
  ['/a/*', ['/a/b', '/a/.b', '/a/*'], ['/a/b/c', '/b/a']],
  ['/a/**/z', ['/a/z', '/a/b/z', '/a/b/c/z'], ['/a/zz', '/z', '/a/z/b']],
  ['/a/**/*.md', ['/a/x.md', '/a/b/.md'], ['/a/x.mdx', '/x.md']],
  ['/a/x?z', ['/a/xyz', '/a/x😀z'], ['/a/xz', '/a/xyyz', '/a/x/z']],
  ['/a/[a-c]x', ['/a/ax', '/a/cx'], ['/a/dx', '/a/x', '/a/[a-c]x']],
  ['/a/[!a-c]x', ['/a/dx'], ['/a/ax']],
  ['/a/[]-]', ['/a/]', '/a/-'], ['/a/[]-]']],
  ['/a/[x', ['/a/[x'], ['/a/x']],
  ['/a/b{c,d}', ['/a/b{c,d}'], ['/a/bc']],
  ['/a/(b|c)+.$^', ['/a/(b|c)+.$^'], ['/a/b']],
  ['/a/*b*c*', ['/a/bc', '/a/xbxbxcx'], ['/a/cb', '/a/b/c']],
  ['/a/b\\*', ['/a/b\\x'], ['/a/b*']],
  ['/**/a/**', ['/a', '/a/b', '/x/a/y'], ['/b']],
]

t.test('what patterns mean', async (t) => {
  for (const [pattern, matches, not] of CASES) {
    const { matches: hits } = globOf(pattern)
    for (const path of matches) t.ok(hits(path), `${pattern} is ${path}`)
    for (const path of not) t.notOk(hits(path), `${pattern} is not ${path}`)
  }
  t.same([absolute('a/*'), absolute('/output/a')], ['/workspace/a/*', '/output/a'])
})

/** As `find -path` has it: `*` takes slashes too. */
const found = (pattern: string, path: string): boolean =>
  new RegExp(`^${pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '[\\s\\S]*')}$`, 'u').test(path)

t.test('find is given at least what a pattern means', async (t) => {
  for (const [pattern, matches] of CASES)
    for (const path of matches) t.ok(found(findPattern(pattern), path), `${findPattern(pattern)} finds ${path}`)
  t.equal(findPattern('/a/**/*.md'), '/a/*.md')
  t.equal(findPattern('/a/**/b/c'), '/a/*b/c')
  t.equal(findPattern('/a/b'), '/a/b')
  const piece = fc.constantFrom('a', 'b', '/', '*', '**', '?', '[a]', '[!b]', '\\', '.')
  const letter = fc.constantFrom('a', 'b', '/', '.', '\\')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), fc.array(letter, { maxLength: 6 }), (pieces, letters) => {
      const [pattern, path] = [`/${pieces.join('')}`, `/${letters.join('')}`]
      // A pattern with an empty part is refused at submit.
      fc.pre(!pattern.includes('//'))
      return !globOf(pattern).matches(path) || found(findPattern(pattern), path)
    }),
    { numRuns: 3000 },
  )
})

t.test('a hostile pair of pattern and name takes no time', async (t) => {
  const beginsMs = performance.now()
  t.notOk(globOf(`/output/${'*a'.repeat(200)}b`).matches(`/output/${'a'.repeat(900)}`))
  t.notOk(globOf(`/output/${'**/'.repeat(100)}b`).matches(`/output/${'a/'.repeat(450)}`))
  t.ok(performance.now() - beginsMs < 1000)
})
