// docs/gateway.md has every route of the gateway's control API, and no other.
import { buildControl } from '@agent-executor/gateway/control/control'
import t from 'tap'
import { readText, tableRows } from '../../src/documents.ts'

type Options = Parameters<typeof buildControl>[0]

t.test('docs/gateway.md lists every route of the control API, and the reverse', async (t) => {
  // Nobody is asked: it is built for its routes.
  const app = buildControl({
    providers: {},
    version: '0',
    stopping: AbortSignal.abort(),
    log: () => {},
  } as unknown as Options)
  t.teardown(() => app.close())
  await app.ready()
  const listed = tableRows(readText('docs/gateway.md')).flatMap(([cell]) => {
    const [, method, url] = cell?.match(/^`(GET|POST|PUT|DELETE) (\/\S*)`$/) ?? []
    return method === undefined || url === undefined ? [] : [{ method: method as 'GET', url }]
  })
  for (const route of listed) t.ok(app.hasRoute(route), `${route.method} ${route.url}`)
  const methods = app.printRoutes({ commonPrefix: false }).match(/\b(GET|POST|PUT|DELETE)\b/g) ?? []
  t.equal(listed.length, methods.length)
})
