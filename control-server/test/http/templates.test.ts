// Templates over HTTP: written, read, tried out; a hostile one is a clear answer in time and blocks nobody.
import t from 'tap'
import { isApiError, type Server, startServer } from './harness.ts'

const create = (server: Server, name: string, text: unknown) => server.call('POST', '/templates', { name, text })
const preview = (server: Server, name: string, body: object = {}) =>
  server.call('POST', `/templates/${name}/preview`, body)

t.test('a template is created, read, changed with its ETag, listed and deleted', async (t) => {
  const server = await startServer(t)
  const created = await create(server, 'hello', 'Hello {{ who }}')
  t.match(created, { status: 201, body: { name: 'hello', version: 1, text: 'Hello {{ who }}', variables: ['who'] } })
  t.equal(created.headers.get('etag'), '"1"')
  t.equal(created.headers.get('location'), '/templates/hello')
  t.same((await server.call('GET', '/templates/hello')).body, created.body)
  isApiError(t, await create(server, 'hello', 'again'), 'NAME_TAKEN')
  const change = { text: 'Bye {{ who }}' }
  isApiError(t, await server.call('PUT', '/templates/hello', change), 'VERSION_REQUIRED')
  isApiError(t, await server.call('PUT', '/templates/hello', change, { 'if-match': '"2"' }), 'VERSION_MISMATCH')
  t.match(await server.call('PUT', '/templates/hello', change, { 'if-match': '"1"' }), {
    status: 200,
    body: { version: 2 },
  })
  t.match((await server.call('GET', '/templates/hello?version=1')).body, { text: 'Hello {{ who }}' })
  t.match((await server.call('GET', '/templates')).body, [{ name: 'hello', version: 2, variables: ['who'] }])
  t.equal((await server.call('DELETE', '/templates/hello', undefined, { 'if-match': '"2"' })).status, 204)
  isApiError(t, await server.call('GET', '/templates/hello'), 'TEMPLATE_NOT_FOUND')
  t.equal((await server.call('PUT', '/templates/hello', change)).status, 201)
})

t.test('a preview renders with plain values, and every variable has to be given', async (t) => {
  const server = await startServer(t)
  await create(server, 'list', '{% for each in all %}{{ loop.index }}. {{ each }}\n{% endfor %}{{ n * 2 }}')
  t.same((await preview(server, 'list', { variables: { all: ['a', 'b'], n: 4 } })).body, {
    text: '1. a\n2. b\n8',
    variables: ['all', 'n'],
  })
  const missing = await preview(server, 'list', { variables: { n: 4 } })
  isApiError(t, missing, 'INVALID_REQUEST')
  t.match(missing.body, { details: [{ path: '/variables/all' }] })
  t.same((await preview(server, 'list', { text: '{{ x }}!', variables: { x: true } })).body, {
    text: 'true!',
    variables: ['x'],
  })
  isApiError(t, await preview(server, 'nobody', { text: 'x' }), 'TEMPLATE_NOT_FOUND')
  isApiError(t, await preview(server, 'list', { text: '{{' }), 'INVALID_REQUEST')
  isApiError(t, await preview(server, 'list', { text: '{{ x() }}', variables: { x: 1 } }), 'TEMPLATE_FAILED')
  for (const variables of [{ x: null }, { x: { a: 1 } }, { x: [1] }, { X: 'a' }, { constructor_: [], y: [[]] }, []])
    isApiError(t, await preview(server, 'list', { text: 'x', variables }), 'INVALID_REQUEST')
})

t.test('a template with a fault is not stored', async (t) => {
  const server = await startServer(t)
  for (const text of ['{{', '{% if x %}', '{% nothing %}', '{{ a b }}', `${'{% if a %}'.repeat(5000)}`]) {
    const answer = await create(server, 'bad', text)
    isApiError(t, answer, ['INVALID_REQUEST', 'TEMPLATE_LIMIT'])
    t.match(answer.body, { details: [{ path: '/text' }] })
  }
  for (const text of [null, 5, ['a'], 'x'.repeat(65_537)])
    isApiError(t, await create(server, 'bad', text), 'INVALID_REQUEST')
  isApiError(t, await create(server, '../bad', 'x'), 'INVALID_REQUEST')
  t.same((await server.call('GET', '/templates')).body, [])
})

t.test('hostile templates are refused in time, and other requests are answered meanwhile', async (t) => {
  const server = await startServer(t)
  const hostile = {
    'a long loop': '{% for i in range(3000000) %}{% endfor %}',
    'a loop that writes': '{% for i in range(300000) %}0123456789{% endfor %}',
    'a doubling text':
      '{% set ns = namespace(x="xxxxxxxx") %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}',
    'a constructor': "{{ range.constructor('return process')() }}",
    'endless recursion': '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}',
  }
  for (const [name, text] of Object.entries(hostile)) {
    const startedMs = performance.now()
    t.equal((await create(server, name.replaceAll(' ', '-'), text)).status, 201, 'it can be read')
    const answer = preview(server, name.replaceAll(' ', '-'))
    const waits: number[] = []
    let isOver = false
    const over = answer.then(() => {
      isOver = true
    })
    while (!isOver) {
      const beforeMs = performance.now()
      t.equal((await server.call('GET', '/livez')).status, 200)
      waits.push(performance.now() - beforeMs)
    }
    await over
    isApiError(t, await answer, ['TEMPLATE_FAILED', 'TEMPLATE_LIMIT'])
    const tookMs = performance.now() - startedMs
    t.ok(tookMs < 10_000, `${name} took ${Math.round(tookMs)} ms`)
    t.ok(Math.max(...waits) < 800, `${name}: others waited up to ${Math.round(Math.max(...waits))} ms`)
  }
})

t.test('a template that profiles name is not deleted, nor changed to name what they do not declare', async (t) => {
  const server = await startServer(t)
  await create(server, 'text', 'About {{ topic }}')
  const profile = {
    agent: { engine: 'shell' },
    prompt: { template: 'text', variables: { topic: { type: 'string', required: true } } },
  }
  t.equal((await server.call('POST', '/profiles', { name: 'p', profile })).status, 201)
  isApiError(t, await server.call('DELETE', '/templates/text', undefined, { 'if-match': '*' }), 'IN_USE')
  const change = await server.call('PUT', '/templates/text', { text: '{{ topic }} {{ more }}' }, { 'if-match': '*' })
  isApiError(t, change, 'IN_USE')
  t.match(change.body, { details: [{ path: '/profiles/p/prompt/template', message: /more/ }] })
  const resolved = await server.call('POST', '/profiles/p/resolve', { variables: { topic: 'storms' } })
  t.match(resolved.body, { prompt: { text: 'About storms' }, fields: { 'prompt.template': { value: 'text' } } })
  isApiError(t, await server.call('POST', '/profiles/p/resolve', {}), 'INVALID_REQUEST')
  t.equal((await server.call('DELETE', '/profiles/p', undefined, { 'if-match': '*' })).status, 204)
  t.equal((await server.call('DELETE', '/templates/text', undefined, { 'if-match': '*' })).status, 204)
})
