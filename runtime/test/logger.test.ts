import { once } from 'node:events'
import { readFileSync, renameSync, symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createLogger } from '../src/index.ts'
import { firstLine, run, start } from './fixtures/run.ts'

function linesOf(file: string): Record<string, unknown>[] {
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

t.test('a line has ISO time, name and process id, and no credential at any of three levels', async (t) => {
  const file = join(t.testdir(), 'new', 'folder', 'test.log')
  const log = createLogger({ name: 'test', level: 'info', file })
  const credentials = { password: 'canary', token: 'canary', secret: 'canary', apiKey: 'canary' }
  const headers = {
    authorization: 'canary',
    cookie: 'canary',
    'set-cookie': ['canary'],
    'x-api-key': 'canary',
    accept: '*',
  }
  log.info({ ...credentials, ...headers, req: { ...credentials, headers }, engine: { key: credentials } }, 'message')
  log.child({ token: 'canary' }).info('from a child')
  log.debug('below the level')
  await turn()

  const [line, child, ...more] = linesOf(file)
  t.match(line, { name: 'test', pid: process.pid, msg: 'message', req: { headers: { accept: '*' } } })
  t.match(line?.time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  t.match(child, { msg: 'from a child', token: '[Redacted]' })
  t.strictSame(more, [])
  t.notMatch(readFileSync(file, 'utf8'), /canary/)
  t.equal(headers.authorization, 'canary', 'what was logged is left as it was')
})

t.test('no warning is lost when the process is killed right after, and no line of an earlier turn', async (t) => {
  const file = join(t.testdir(), 'test.log')
  t.equal((await run('log', file)).signal, 'SIGKILL')
  t.match(linesOf(file), [{ msg: 'first' }, { msg: 'last' }])
})

t.test('SIGHUP opens the file anew, so that it can be moved away', async (t) => {
  const file = join(t.testdir(), 'test.log')
  const child = start('log', file, 'until SIGHUP')
  const closed = once(child, 'close')
  t.equal(await firstLine(child), 'ready')
  renameSync(file, `${file}.1`)
  child.kill('SIGHUP')
  await closed
  t.match(linesOf(`${file}.1`), [{ msg: 'first' }])
  t.match(linesOf(file), [{ msg: 'second' }])
})

t.test('a full disk ends nothing, and what was logged meanwhile is written once there is room', async (t) => {
  const file = join(t.testdir(), 'test.log')
  symlinkSync('/dev/full', file)
  const child = start('log', file, 'until SIGHUP')
  const closed = once(child, 'close')
  t.equal(await firstLine(child), 'ready')
  unlinkSync(file)
  child.kill('SIGHUP')
  await closed
  t.match(linesOf(file), [{ msg: 'first' }, { msg: 'second' }])
})
