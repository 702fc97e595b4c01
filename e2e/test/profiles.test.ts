// What was acknowledged of profiles and templates is there after a kill -9, and what was not is there whole or not at all.
import t from 'tap'
import { createApi, type Json } from '../src/api.ts'
import { freePort, startServer } from '../src/processes.ts'

const WRITERS = 4
const ROUNDS = 5

t.test('a change that was answered outlives a kill -9 right after it', async (t) => {
  const port = await freePort()
  const dir = t.testdir()
  const api = createApi(port)
  let version = 0
  for (let round = 0; round < ROUNDS; round++) {
    const server = await startServer(dir, port)
    t.teardown(server.kill)
    const profile = { description: `round ${round}`, agent: { engine: 'shell' } }
    const { status, body } = await api.call(
      'PUT',
      '/profiles/kept',
      { profile },
      version === 0 ? {} : { 'if-match': '*' },
    )
    await server.kill()
    t.match({ status, body }, { status: version === 0 ? 201 : 200, body: { version: version + 1 } })
    version += 1
    const again = await startServer(dir, port)
    t.teardown(again.kill)
    const kept = await api.call('GET', '/profiles/kept')
    t.match(kept.body, { version, profile })
    t.equal(kept.headers.get('etag'), `"${version}"`)
    if (version > 1)
      t.match((await api.call('GET', `/profiles/kept?version=${version - 1}`)).body, {
        profile: { description: `round ${round - 1}` },
      })
    await again.kill()
  }
})

t.test(
  'a server that is killed while many write: every acknowledged version is there, and the chains hold',
  async (t) => {
    const port = await freePort()
    const dir = t.testdir()
    const api = createApi(port)
    const acknowledged: { path: string; version: number; text: string }[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const server = await startServer(dir, port)
      t.teardown(server.kill)
      /** Writes until the server is gone: a template, and a profile that extends another and names it. */
      const write = async (writer: number): Promise<void> => {
        try {
          for (let n = 0; ; n++) {
            const text = `round ${round} writer ${writer} number ${n}`
            for (const [path, change] of [
              [`/templates/t${writer}`, { text }],
              [`/profiles/base${writer}`, { profile: { description: text } }],
              [
                `/profiles/p${writer}`,
                { profile: { description: text, extends: `base${writer}`, prompt: { template: `t${writer}` } } },
              ],
            ] as const) {
              const isThere =
                acknowledged.some((each) => each.path === path) || (await api.call('GET', path)).status === 200
              const { status, body } = await api.call('PUT', path, change, isThere ? { 'if-match': '*' } : {})
              if (status > 201) throw new Error(`PUT ${path} answered ${status}: ${JSON.stringify(body)}`)
              acknowledged.push({ path, version: body.version as number, text })
            }
          }
        } catch (error) {
          if (error instanceof Error && error.message.startsWith('PUT ')) throw error
        }
      }
      const before = acknowledged.length
      const writers = Array.from({ length: WRITERS }, (_, writer) => write(writer))
      await api.eventually('writes', () => acknowledged.length > before + 20)
      await server.kill()
      await Promise.all(writers)
    }
    const server = await startServer(dir, port)
    t.teardown(server.kill)
    const isWrong = async ({ path, version, text }: (typeof acknowledged)[number]): Promise<boolean> => {
      const { status, body } = await api.call('GET', `${path}?version=${version}`)
      const said = (body as Json & { profile?: Json }).profile?.description ?? (body as Json).text
      return status !== 200 || said !== text
    }
    const wrong: unknown[] = []
    for (const each of acknowledged) if (await isWrong(each)) wrong.push(each)
    t.same(wrong, [], `all of ${acknowledged.length} are there`)
    for (let writer = 0; writer < WRITERS; writer++) {
      const { status, body } = await api.call('POST', `/profiles/p${writer}/resolve`, {
        overrides: { agent: { engine: 'shell' } },
      })
      t.equal(status, 200, JSON.stringify(body))
    }
    await server.kill()
  },
)
