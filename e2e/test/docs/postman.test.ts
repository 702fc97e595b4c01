// The Postman collection runs green, twice in a row, against a real server.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import t from 'tap'
import { repository } from '../../src/documents.ts'
import { freePort, startServer } from '../../src/processes.ts'

const newman = createRequire(import.meta.url).resolve('newman/bin/newman.js')

const runCollection = async (port: number): Promise<{ code: number; output: string }> => {
  const flags = ['run', join(repository, 'postman_collection.json'), '--env-var', `baseUrl=http://127.0.0.1:${port}`]
  const child = spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', process.execPath, newman, ...flags, '--color', 'off'])
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const [code] = (await once(child, 'close')) as [number]
  return { code, output }
}

t.test('the collection passes against a fresh server, and again against the used one', async (t) => {
  const port = await freePort()
  const server = await startServer(t.testdir(), port)
  t.teardown(server.kill)
  for (const run of ['fresh', 'used']) {
    const { code, output } = await runCollection(port)
    t.equal(code, 0, run)
    if (code !== 0) t.comment(output)
  }
})
