// The README's route table, docs/protocol.md and the Postman collection have every registered route, and no other.
import t from 'tap'
import { readText, tableRows } from '../../src/documents.ts'
import { type PostmanItem, postmanRequests } from '../../src/postman.ts'
import { registeredRoutes } from '../../src/routes.ts'

const routes = registeredRoutes()
const unique = (values: readonly string[]) => [...new Set(values)].sort()

t.test('the server has routes', async (t) => {
  t.ok(routes.includes('POST /commands'))
  t.ok(routes.includes('POST /agents/:agentId/sync'))
})

t.test("the README's route table lists every route, and the reverse", async (t) => {
  const listed = tableRows(readText('README.md')).flatMap(
    ([cell]) => cell?.match(/^`((?:GET|POST|PUT|DELETE|PATCH) \/\S*)`$/)?.[1] ?? [],
  )
  t.same(unique(listed), routes)
})

t.test('docs/protocol.md has a section for every route of agents and of the simple API', async (t) => {
  const sections = [...readText('docs/protocol.md').matchAll(/^#+ `(\S+ \/\S*)`$/gm)].map(
    ([, route]) => route as string,
  )
  const expected = routes.filter((route) => /\/agents\/|\/attempts\/|\/next$|\/result$|^POST \/commands$/.test(route))
  t.same(unique(sections), unique(expected))
})

t.test('the Postman collection requests every route, and no other but where an error is expected', async (t) => {
  const { item } = JSON.parse(readText('postman_collection.json')) as { item: PostmanItem[] }
  const requests = postmanRequests(item)
  const routeOf = ({ method, path }: { method: string; path: readonly string[] }) =>
    routes.find((route) => {
      const [routeMethod, url = ''] = route.split(' ')
      const parts = url.slice(1).split('/')
      return (
        routeMethod === method &&
        (parts.length === path.length || (parts.at(-1) === '*' && path.length >= parts.length)) &&
        parts.every(
          (part, index) =>
            part === '*' || part === path[index] || (part.startsWith(':') && /^\{\{.+\}\}$/.test(path[index] ?? '')),
        )
      )
    })
  const tested = requests.filter(({ folder }) => folder !== 'Errors')
  t.same(unique(tested.flatMap((request) => routeOf(request) ?? [])), routes)
  t.same(
    tested.filter((request) => routeOf(request) === undefined).map(({ name }) => name),
    [],
    'every request outside the folder Errors has a route',
  )
  for (const { name, tests } of requests) t.match(tests, /pm\.test\(/, `"${name}" asserts something`)
})
