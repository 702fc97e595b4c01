// docs/errors.md and protocol/src/errors.ts name the same codes.
import { API_ERRORS, FAILURE_CODES } from '@agent-executor/protocol'
import t from 'tap'
import { readText, tableRows } from '../../src/documents.ts'

const rows = tableRows(readText('docs/errors.md'))
const documented = (pattern: RegExp) => rows.filter(([, second]) => pattern.test(second ?? '')).map(([first]) => first)
const quoted = (codes: object) => Object.keys(codes).map((code) => `\`${code}\``)

t.test('every code of the API is documented, and every documented one exists', async (t) => {
  t.same(documented(/^\d{3}$/).sort(), quoted(API_ERRORS).sort())
})

t.test('every failure code of a command is documented, and every documented one exists', async (t) => {
  t.same(documented(/^(yes|no)$/).sort(), quoted(FAILURE_CODES).sort())
})

t.test('codes that the documents mention exist', async (t) => {
  const known = new Set([...Object.keys(API_ERRORS), ...Object.keys(FAILURE_CODES)])
  // A status before the code, or `code` around it, is how the documents mention one.
  for (const path of [
    'README.md',
    'docs/protocol.md',
    'docs/operations.md',
    'docs/reliability.md',
    'docs/command-lifecycle.md',
  ])
    for (const [, code] of readText(path).matchAll(/\b(?:4\d\d|5\d\d|code) `([A-Z][A-Z_]+)`/g))
      t.ok(known.has(code as string), `${path}: ${code}`)
})
