// One word, one thing: what the glossary says we never say is not in the code.
import t from 'tap'
import { filesBelow, readText, tableRows } from '../../src/documents.ts'

const neverSaid = tableRows(readText('docs/glossary.md')).flatMap(([, , never = '']) =>
  [...never.matchAll(/`([a-z]+)`/g)].map(([, word]) => word as string),
)

/** The words of all identifiers: comments and texts may speak as they like. */
const wordsOf = (source: string): string[] =>
  (source.replace(/\/\*[\s\S]*?\*\/|\/\/.*|'[^'\n]*'/g, ' ').match(/[A-Za-z]+/g) ?? []).flatMap((identifier) =>
    identifier
      .replace(/([a-z])([A-Z])/g, '$1 $2')
      .toLowerCase()
      .split(' '),
  )

t.test('the glossary has words that we never say', async (t) => {
  t.ok(neverSaid.length >= 5)
})

for (const workspace of ['protocol', 'runtime', 'gateway', 'control-server', 'agent'])
  t.test(`${workspace} uses none of them as an identifier`, async (t) => {
    for (const path of filesBelow(`${workspace}/src`, '.ts')) {
      const words = new Set(wordsOf(readText(path)))
      t.same(
        neverSaid.filter((word) => words.has(word) || words.has(`${word}s`)),
        [],
        path,
      )
    }
  })
