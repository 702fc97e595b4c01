// docs/features.md says of each row what is true, and names the test that proves it.
import { existsSync } from 'node:fs'
import { join, normalize } from 'node:path'
import t from 'tap'
import { readText, repository, tableRows } from '../../src/documents.ts'

const rows = tableRows(readText('docs/features.md')).filter(([id]) => /^[A-K]\d+$/.test(id ?? ''))

t.test('ids are unique and statuses are of three kinds', async (t) => {
  t.ok(rows.length > 0)
  t.equal(new Set(rows.map(([id]) => id)).size, rows.length)
  for (const [id = '', , status] of rows) t.match(status, /^(done|partly|planned)$/, id)
})

t.test('a row that is done, or partly, links the test that proves it, and a planned one none', async (t) => {
  for (const [id = '', , status, proof = ''] of rows) {
    const tests = [...proof.matchAll(/\]\((\S+?)\)/g)].map(([, link]) => normalize(join('docs', link as string)))
    if (status === 'planned') t.same(tests, [], id)
    else t.ok(tests.length > 0, `${id} has a proof`)
    for (const path of tests) t.ok(existsSync(join(repository, path)), `${id}: ${path}`)
  }
})
