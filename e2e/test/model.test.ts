// The model of the hand-over (docs/model): its properties hold, and each guard taken out gives a counter-example.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import t from 'tap'
import { repository } from '../src/documents.ts'

/** Eighty seconds of one core; a machine that does other things as well takes several times as long. */
const TIMEOUT_MS = 20 * 60_000
t.setTimeout(TIMEOUT_MS)

const onPath = (tool: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, tool)))
const missing = ['spin', 'gcc'].filter((tool) => !onPath(tool))
// Where the tools are a matter of course, their absence is a failure and not a pass.
const skip = missing.length > 0 && process.env.CI !== 'true' ? `not on the PATH: ${missing.join(', ')}` : false
if (skip) process.stderr.write(`model.test: the quick list of docs/model/check.mjs was not run, ${skip}\n`)

t.test('the quick list of docs/model/check.mjs has no surprise', { skip, timeout: TIMEOUT_MS }, async (t) => {
  t.same(missing, [], 'spin and gcc are on the PATH')
  if (missing.length > 0) return
  // `env` replaces itself by node, so that the test runner's loader stays out.
  const check = spawn('/usr/bin/env', [process.execPath, join(repository, 'docs/model/check.mjs')])
  let table = ''
  let errors = ''
  check.stdout.setEncoding('utf8').on('data', (text: string) => {
    table += text
  })
  check.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  t.teardown(() => check.kill())
  const [code] = await once(check, 'close')
  t.equal(code, 0, `exit code; ${errors}`)
  const rows = table.split('\n').filter((line) => / \| (ok|SURPRISE) \|$/.test(line))
  t.ok(rows.length > 0, 'rows were checked')
  for (const row of rows) t.match(row, / \| ok \|$/, row)
  t.comment(table.trim().split('\n').at(-1) ?? '')
})
