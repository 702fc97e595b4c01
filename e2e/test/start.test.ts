// `npm start` as a user meets it, without the build.
import t from 'tap'
import { createApi } from '../src/api.ts'
import { freePort, start } from '../src/processes.ts'

t.test(
  'npm start brings up server and agent, prints a line to try, survives kill -9 of each, and drains',
  async (t) => {
    const port = await freePort()
    const dir = t.testdir()
    // The two data folders have one name in the environment, so each part gets its own by file name.
    const both = start('scripts/start.mjs', [], { PORT: String(port), DATA_DIR: dir, POLL_INTERVAL: '100' })
    t.teardown(both.kill)
    await both.logged(({ msg }) => msg.includes(`curl -s http://127.0.0.1:${port}/commands -H`))
    const api = createApi(port)
    const { commandId } = await api.submit({ type: 'DELAY', payload: { ms: 1500 } }, 'one')
    await api.until(commandId, ({ status }) => status === 'RUNNING')

    const pidOf = (name: string, msg: string) =>
      both.lines.findLast((line) => line.name === name && line.msg === msg)?.pid as number
    process.kill(pidOf('agent', 'registered'), 'SIGKILL')
    process.kill(pidOf('control-server', 'listening'), 'SIGKILL')
    t.match(await api.final(commandId), { status: 'COMPLETED', attempts: { length: 1 } })

    both.signal('SIGINT')
    t.same(await both.ended, { code: 0, signal: null })
    for (const msg of ['agent stopped', 'stopped'])
      t.ok(
        both.lines.some((line) => line.msg === msg),
        msg,
      )
  },
)
