// Links in the documents lead somewhere, the ADRs are numbered without a gap, and the map of docs/ is complete.
import { existsSync, statSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
import t from 'tap'
import { filesBelow, readText, repository } from '../../src/documents.ts'

const documents = filesBelow('', '.md')

/** The anchors that GitHub gives to the headings of a document. */
const anchorsOf = (path: string): string[] =>
  [...readText(path).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    (heading as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

/** Targets of `[text](target)` outside code. */
const linksOf = (path: string): string[] =>
  [
    ...readText(path)
      .replace(/```[\s\S]*?```/g, '')
      .replace(/`[^`\n]*`/g, '')
      .matchAll(/\]\(([^)\s]+)\)/g),
  ].map(([, target]) => target as string)

for (const path of documents)
  t.test(`links of ${path} resolve`, async (t) => {
    for (const link of linksOf(path)) {
      if (/^(https?|mailto):/.test(link)) continue
      const [target = '', anchor] = link.split('#')
      const file = target === '' ? path : normalize(join(dirname(path), target))
      if (!t.ok(existsSync(join(repository, file)), link) || anchor === undefined) continue
      if (statSync(join(repository, file)).isFile()) t.ok(anchorsOf(file).includes(anchor), `${link} has its heading`)
    }
  })

t.test('the map of docs/ links every document beside it', async (t) => {
  const linked = new Set(linksOf('docs/README.md').map((link) => normalize(join('docs', link.split('#')[0] ?? ''))))
  for (const path of filesBelow('docs', '.md')) if (path !== 'docs/README.md') t.ok(linked.has(path), path)
})

t.test('ADRs are numbered from 0001 without a gap and have the same parts', async (t) => {
  const adrs = filesBelow('docs/adr', '.md').sort()
  t.same(
    adrs.map((path) => basename(path).slice(0, 4)),
    adrs.map((_, index) => String(index + 1).padStart(4, '0')),
  )
  for (const path of adrs) {
    const text = readText(path)
    const number = basename(path).slice(0, 4)
    t.match(
      text,
      new RegExp(
        `^# ${number}: .+\\n\\nDate: \\d{4}-\\d{2}-\\d{2}\\n\\nStatus: (Accepted|Proposed|Superseded by .+)\\n`,
      ),
      path,
    )
    t.same(
      [...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading),
      ['Context', 'Decision', 'Consequences'],
      path,
    )
  }
})

t.test('the documents speak of this repository alone', async (t) => {
  for (const path of [...documents, 'postman_collection.json', '.env.example'])
    t.notMatch(readText(path), /\/work\/|\/root\/|\/home\/|localhost:4873/, path)
})
