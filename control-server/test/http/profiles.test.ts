// Profiles over HTTP: written, read, resolved; and what nobody should send.
import { connect } from 'node:net'
import type { ProfileRecord, Resolution } from '@agent-executor/protocol'
import t from 'tap'
import { type Answer, isApiError, type Server, startServer } from './harness.ts'

const TOML = `
# A comment is kept.
description = "Reviews"

[agent]
engine = "shell"
model = "small"
timeoutMs = 60_000

[prompt]
text = "Look at {{ what }}{% if token %} with {{ token }}{% endif %}."

[prompt.variables.what]
type = "string"
default = "everything"
pattern = "[a-z ]+"

[prompt.variables.token]
type = "secret"
`

const put = (server: Server, name: string, body: unknown, headers: Record<string, string> = {}) =>
  server.call('PUT', `/profiles/${name}`, body, headers)
const putToml = (server: Server, name: string, toml: string | Uint8Array, headers: Record<string, string> = {}) =>
  put(server, name, toml, { 'content-type': 'application/toml', ...headers })
const resolveOf = (server: Server, name: string, body: object = {}) =>
  server.call('POST', `/profiles/${name}/resolve`, body)
const pathsOf = (answer: Answer) => (answer.body as { details?: { path: string }[] }).details?.map(({ path }) => path)

t.test('a profile is created, read as JSON and as TOML, changed, listed and deleted', async (t) => {
  const server = await startServer(t)
  const created = await server.call('POST', '/profiles', { name: 'review', toml: TOML })
  t.equal(created.status, 201)
  t.equal(created.headers.get('location'), '/profiles/review')
  t.equal(created.headers.get('etag'), '"1"')
  t.match(created.body, {
    name: 'review',
    version: 1,
    origin: 'api',
    toml: TOML,
    profile: { agent: { model: 'small' } },
  })

  const asJson = await server.call('GET', '/profiles/review')
  t.same(asJson.body, created.body)
  t.equal(asJson.headers.get('etag'), '"1"')
  const asToml = await server.call('GET', '/profiles/review', undefined, { accept: 'application/toml' })
  t.equal(asToml.headers.get('content-type'), 'application/toml; charset=utf-8')
  t.equal(asToml.text, TOML, 'as it was written, comments too')

  const changed = await putToml(server, 'review', TOML.replace('small', 'large'), { 'if-match': '"1"' })
  t.match(changed, { status: 200, body: { version: 2, profile: { agent: { model: 'large' } } } })
  t.equal(changed.headers.get('etag'), '"2"')
  t.match((await server.call('GET', '/profiles/review?version=1')).body, {
    version: 1,
    profile: { agent: { model: 'small' } },
  })
  isApiError(t, await server.call('GET', '/profiles/review?version=3'), 'PROFILE_NOT_FOUND')

  t.match((await server.call('GET', '/profiles')).body, [
    { name: 'review', version: 2, description: 'Reviews', extends: null },
  ])
  t.equal((await server.call('DELETE', '/profiles/review', undefined, { 'if-match': '"2"' })).status, 204)
  isApiError(t, await server.call('GET', '/profiles/review'), 'PROFILE_NOT_FOUND')
  isApiError(t, await server.call('DELETE', '/profiles/review', undefined, { 'if-match': '*' }), 'PROFILE_NOT_FOUND')
  t.same((await server.call('GET', '/profiles')).body, [])
  t.match((await server.call('GET', '/profiles/review?version=1')).body, { version: 1 }, 'every version is kept')
  t.match(await putToml(server, 'review', TOML), { status: 201, body: { version: 4 } })
})

t.test('what is given as JSON is shown as TOML that means the same', async (t) => {
  const server = await startServer(t)
  const profile = {
    agent: { engine: 'codex', timeoutMs: 1000 },
    prompt: { text: 'a "b"\n{{ x }}', variables: { x: { type: 'list', default: ['ü', '\\'], min: 1 } } },
    resources: { cpus: 0.5 },
  }
  const { body } = await server.call('POST', '/profiles', { name: 'a', profile })
  const again = await server.call('POST', '/profiles', { name: 'b', toml: (body as ProfileRecord).toml })
  t.equal(again.status, 201)
  t.same((again.body as ProfileRecord).profile, profile)
})

t.test('one of many changes with the same ETag wins, the others are told', async (t) => {
  const server = await startServer(t)
  await putToml(server, 'p', TOML)
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, n) => put(server, 'p', { profile: { description: `${n}` } }, { 'if-match': '"1"' })),
  )
  t.equal(answers.filter(({ status }) => status === 200).length, 1)
  for (const answer of answers.filter(({ status }) => status !== 200)) isApiError(t, answer, 'VERSION_MISMATCH')
  t.match((await server.call('GET', '/profiles/p')).body, { version: 2 })
  const created = await Promise.all(
    Array.from({ length: 12 }, (_, n) =>
      server.call('POST', '/profiles', { name: 'new', profile: { description: `${n}` } }),
    ),
  )
  t.equal(created.filter(({ status }) => status === 201).length, 1)
  for (const answer of created.filter(({ status }) => status !== 201)) isApiError(t, answer, 'NAME_TAKEN')
})

t.test('what exists is not overwritten by who has not read it', async (t) => {
  const server = await startServer(t)
  await putToml(server, 'p', TOML)
  const change = { profile: { description: 'other' } }
  isApiError(t, await put(server, 'p', change), 'VERSION_REQUIRED')
  isApiError(t, await server.call('DELETE', '/profiles/p'), 'VERSION_REQUIRED')
  for (const etag of ['"2"', 'W/"1"', '"abc"', '""', ',', '"1', "'1'", '9'.repeat(400)])
    isApiError(t, await put(server, 'p', change, { 'if-match': etag }), 'VERSION_MISMATCH')
  isApiError(t, await put(server, 'q', change, { 'if-match': '*' }), 'VERSION_MISMATCH')
  t.equal((await put(server, 'p', change, { 'if-match': '"7", "1"' })).status, 200)
  t.equal(
    (await put(server, 'p', change, { 'if-match': '"1"' })).status,
    200,
    'the repeat of what is there changes nothing',
  )
  t.match((await server.call('GET', '/profiles/p')).body, { version: 2 })
})

t.test('a profile in use is not deleted, nor changed so that its users break', async (t) => {
  const server = await startServer(t)
  await putToml(server, 'base', TOML)
  await put(server, 'own', { profile: { extends: 'base' } })
  const answer = await server.call('DELETE', '/profiles/base', undefined, { 'if-match': '*' })
  isApiError(t, answer, 'IN_USE')
  t.same(pathsOf(answer), ['/profiles/own'])
  const looped = await put(server, 'base', { profile: { extends: 'own' } }, { 'if-match': '*' })
  isApiError(t, looped, 'INVALID_REQUEST')
  t.same(pathsOf(looped), ['/profile/extends'])
  t.match(looped.body, { message: /base → own → base/ })
  const lost = await putToml(server, 'own', 'extends = "nobody"', { 'if-match': '*' })
  t.same(pathsOf(lost), ['/toml/extends'])
})

t.test('names that lead elsewhere are no names', async (t) => {
  const server = await startServer(t)
  const names = [
    '..%2f..%2fetc%2fpasswd',
    '%2e%2e',
    '__proto__',
    'constructor%00',
    'A',
    'a_b',
    '-a',
    'a%0a',
    'a'.repeat(65),
    '%20',
    'ü',
  ]
  for (const name of names)
    for (const method of ['GET', 'DELETE', 'PUT'] as const) {
      const answer = await server.call(method, `/profiles/${name}`, method === 'PUT' ? { profile: {} } : undefined, {
        'if-match': '*',
      })
      t.ok([400, 404].includes(answer.status), `${method} ${name}: ${answer.status}`)
      isApiError(t, answer, ['INVALID_REQUEST', 'NOT_FOUND', 'METHOD_NOT_ALLOWED'])
    }
  for (const name of ['../a', '__proto__', '', 5, null, ['a'], { a: 1 }])
    isApiError(t, await server.call('POST', '/profiles', { name, profile: {} }), ['INVALID_REQUEST', 'MALFORMED_JSON'])
  t.same((await server.call('GET', '/profiles')).body, [])
  isApiError(t, await server.call('GET', '/profiles/constructor'), 'PROFILE_NOT_FOUND')
})

t.test('what is wrong with a profile is named by its path', async (t) => {
  const server = await startServer(t)
  const refused: [profile: object, path: string][] = [
    [{ resources: { privileged: true } }, '/profile/resources/privileged'],
    [{ agent: { capAdd: ['SYS_ADMIN'] } }, '/profile/agent/capAdd'],
    [{ mounts: ['/:/host'] }, '/profile/mounts'],
    [{ network: { mode: 'host' } }, '/profile/network/mode'],
    [{ network: { mode: 'hosts', hosts: [] } }, '/profile/network/hosts'],
    [{ network: { hosts: ['a.test:443'] } }, '/profile/network/hosts'],
    [{ network: { mode: 'none', hosts: ['a.test:443'] } }, '/profile/network/hosts'],
    ...['a.test', 'A.test:443', '*.test:443', 'a.test:0', 'a..test:1', 'https://a.test:443', '[::1]:443', ':443'].map(
      (host): [object, string] => [{ network: { mode: 'hosts', hosts: [host] } }, '/profile/network/hosts/0'],
    ),
    [{ network: { mode: 'hosts', hosts: ['a.test:65535', 'a.test:65536'] } }, '/profile/network/hosts/1'],
    [{ mcp: { 'a b': { command: 'x' } } }, '/profile/mcp/a b'],
    [{ mcp: { a: {} } }, '/profile/mcp/a/command'],
    [{ mcp: { a: { command: 'x', url: 'http://x' } } }, '/profile/mcp/a/url'],
    [{ mcp: { a: { command: 'x', args: ['a\0b'] } } }, '/profile/mcp/a'],
    [{ mcp: { a: { command: 'x', env: { 'A=B': '' } } } }, '/profile/mcp/a/env/A=B'],
    [{ limits: { costMicroUsd: -1 } }, '/profile/limits/costMicroUsd'],
    [{ limits: { costMicroUsd: 20_000_001 } }, '/profile/limits/costMicroUsd'],
    [{ limits: { costUsd: 1 } }, '/profile/limits/costUsd'],
    [{ limits: { profile: { turns: 1 } } }, '/profile/limits/profile/turns'],
    [{ agent: { engine: 'gpt' } }, '/profile/agent/engine'],
    [{ agent: { timeoutMs: '60000' } }, '/profile/agent/timeoutMs'],
    [{ agent: { timeoutMs: 1.5 } }, '/profile/agent/timeoutMs'],
    [{ agent: { timeoutMs: 86_400_001 } }, '/profile/agent/timeoutMs'],
    [{ agent: { image: '--privileged' } }, '/profile/agent/image'],
    [{ agent: 'shell' }, '/profile/agent'],
    [{ resources: { cpus: 9 } }, '/profile/resources/cpus'],
    [{ resources: { cpus: 0 } }, '/profile/resources/cpus'],
    [{ resources: { memoryBytes: 8_589_934_593 } }, '/profile/resources/memoryBytes'],
    [{ resources: { pidsMax: -1 } }, '/profile/resources/pidsMax'],
    [{ hooks: { pre: { script: 'x', timeoutMs: 86_400_001 } } }, '/profile/hooks/pre/timeoutMs'],
    [{ hooks: { before: { script: 'x' } } }, '/profile/hooks/before'],
    [{ tools: { allow: ['a', 'a'] } }, '/profile/tools/allow'],
    [{ tools: { allow: 'a' } }, '/profile/tools/allow'],
    [{ locked: ['agent.modell'] }, '/profile/locked/0'],
    [{ locked: ['__proto__.x'] }, '/profile/locked/0'],
    [{ extends: '../default' }, '/profile/extends'],
    [{ prompt: { text: '{{' } }, '/profile/prompt/text'],
    [{ prompt: { text: '{{ other }}' } }, '/profile/prompt/text'],
    [{ prompt: { system: '{{ other }}' } }, '/profile/prompt/system'],
    [{ prompt: { template: 'none' } }, '/profile/prompt/template'],
    [{ prompt: { text: 'a', template: 'b' } }, '/profile/prompt/text'],
    [{ prompt: { variables: { Upper: { type: 'string' } } } }, '/profile/prompt/variables/Upper'],
    [{ prompt: { variables: { a: {} } } }, '/profile/prompt/variables/a/type'],
    [{ prompt: { variables: { a: { type: 'number' } } } }, '/profile/prompt/variables/a/type'],
    [{ prompt: { variables: { a: { type: 'string', default: 1 } } } }, '/profile/prompt/variables/a/default'],
    [{ prompt: { variables: { a: { type: 'string', default: { b: 1 } } } } }, '/profile/prompt/variables/a/default'],
    [
      { prompt: { variables: { a: { type: 'string', default: 'A', pattern: '[a-z]' } } } },
      '/profile/prompt/variables/a/default',
    ],
    [{ prompt: { variables: { a: { type: 'secret', default: 'x' } } } }, '/profile/prompt/variables/a/default'],
  ]
  for (const [profile, path] of refused) {
    const answer = await server.call('POST', '/profiles', { name: 'p', profile })
    isApiError(t, answer, 'INVALID_REQUEST')
    t.ok(pathsOf(answer)?.includes(path), `${JSON.stringify(profile)}: ${pathsOf(answer)} has ${path}`)
  }
  for (const body of [
    { name: 'p' },
    { name: 'p', toml: '', profile: {} },
    { name: 'p', profile: [] },
    { name: 'p', profile: null },
  ])
    isApiError(t, await server.call('POST', '/profiles', body), 'INVALID_REQUEST')
  t.same((await server.call('GET', '/profiles')).body, [], 'none of them is stored')
})

t.test('TOML that is none is refused with line and column', async (t) => {
  const server = await startServer(t)
  const malformed = {
    'a = ': /line 1, column/,
    '[agent]\nengine = "shell"\nengine = "codex"': /line 3, column/,
    '[agent\n': /line 1, column/,
    'a = """': /line \d+, column/,
    '__proto__ = 1': /line 1, column/,
    '[constructor]\nprototype = 1': /line 1, column/,
    '[prompt.variables.__proto__]\ntype = "string"': /line 1, column/,
    [`a = ${'['.repeat(5000)}`]: /line 1, column/,
    [`a = ${'{ a = '.repeat(500)}`]: /line 1, column/,
    'a = 99999999999999999999': /line 1, column/,
  }
  for (const [toml, expected] of Object.entries(malformed)) {
    const answer = await putToml(server, 'p', toml)
    isApiError(t, answer, 'MALFORMED_TOML')
    t.match(answer.body, { message: expected, details: [{ path: '/toml', message: expected }] }, toml.slice(0, 40))
  }
  const odd = [
    'description = 1979-05-27',
    '[resources]\ncpus = nan',
    '[resources]\ncpus = inf',
    `${'a.'.repeat(2000)}b = 1`,
  ]
  for (const toml of odd) isApiError(t, await putToml(server, 'p', toml), ['INVALID_REQUEST', 'MALFORMED_TOML'])
  isApiError(t, await putToml(server, 'p', Buffer.from([0xff, 0xfe])), 'MALFORMED_TOML')
  isApiError(t, await putToml(server, 'p', `# ${'x'.repeat(1_048_576)}`), 'BODY_TOO_LARGE')
  isApiError(t, await putToml(server, 'p', `# ${'x'.repeat(70_000)}`), 'INVALID_REQUEST')
  isApiError(t, await putToml(server, 'p', TOML, { 'content-encoding': 'gzip' }), 'UNSUPPORTED_MEDIA_TYPE')
  isApiError(
    t,
    await server.call('POST', '/commands', 'a = 1', { 'content-type': 'application/toml' }),
    'UNSUPPORTED_MEDIA_TYPE',
  )
  isApiError(t, await server.call('POST', '/profiles', TOML, { 'content-type': 'application/toml' }), 'INVALID_REQUEST')
})

t.test('resolving shows every value, where it comes from, and the prompt', async (t) => {
  const server = await startServer(t)
  await putToml(server, 'base', TOML)
  await put(server, 'own', { profile: { extends: 'base', agent: { model: 'large' }, locked: ['agent.engine'] } })
  const body = { overrides: { agent: { image: 'img:1' } }, variables: { what: 'the tests' } }
  const { status, body: answer } = await resolveOf(server, 'own', body)
  t.equal(status, 200)
  t.match(answer, {
    name: 'own',
    chain: [
      { name: 'own', version: 1 },
      { name: 'base', version: 1 },
    ],
    configuration: {
      agent: { engine: 'shell', model: 'large', image: 'img:1', timeoutMs: 60_000 },
      network: { mode: 'none' },
    },
    fields: {
      'agent.image': { value: 'img:1', from: 'request', profile: null, locked: false },
      'agent.model': { value: 'large', from: 'profile', profile: 'own', locked: false },
      'agent.engine': { value: 'shell', from: 'extended', profile: 'base', locked: true },
      'resources.cpus': { value: 2, from: 'default', profile: null, locked: false },
    },
    variables: {
      what: { type: 'string', value: 'the tests', given: true, from: 'request' },
      token: { type: 'secret', value: null, given: false, from: 'default' },
    },
    prompt: { text: 'Look at the tests.', system: null },
    problems: [{ path: '/agent/model', message: /means nothing to the engine shell/ }],
  })
  const query = new URLSearchParams({
    overrides: JSON.stringify(body.overrides),
    variables: JSON.stringify(body.variables),
  })
  t.same((await server.call('GET', `/profiles/own/resolve?${query}`)).body, answer, 'GET says the same')
  t.match((await server.call('GET', '/profiles/own/resolve')).body, { prompt: { text: 'Look at everything.' } })
})

t.test('a secret is in no answer, whatever is wrong with it', async (t) => {
  const server = await startServer(t)
  await putToml(
    server,
    'p',
    TOML.replace('type = "secret"', 'type = "secret"\nmin = 5\nmax = 20\npattern = "[a-z0-9]+"'),
  )
  const SECRET = 'hunter2hunter2'
  const good = await resolveOf(server, 'p', { variables: { token: SECRET } })
  t.match(good.body, {
    variables: { token: { value: null, given: true, from: 'request' } },
    prompt: { text: 'Look at everything with [secret].' },
  })
  const answers = [
    good,
    await server.call('GET', `/profiles/p/resolve?variables=${encodeURIComponent(JSON.stringify({ token: SECRET }))}`),
    await resolveOf(server, 'p', { variables: { token: `${SECRET}!` } }),
    await resolveOf(server, 'p', { variables: { token: SECRET.repeat(5) } }),
    await resolveOf(server, 'p', { variables: { token: [SECRET] } }),
    await resolveOf(server, 'p', { variables: { tokens: SECRET } }),
    await resolveOf(server, 'p', {
      variables: { token: SECRET },
      overrides: { prompt: { text: '{{ raise_exception(token) }}{{ token | upper }}{{ token[0:3] }}' } },
    }),
  ]
  for (const { text } of answers) t.notMatch(text.toLowerCase(), /hunter/)
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 400, 400, 400, 400, 422],
  )
})

t.test('locks and limits hold for requests', async (t) => {
  const server = await startServer(t)
  const locked = ['agent.model', 'prompt.template', 'prompt.variables.what', 'resources']
  await putToml(server, 'p', `locked = ${JSON.stringify(locked)}\n${TOML}`)
  const overrides = {
    agent: { model: 'huge', engine: 'codex' },
    prompt: { text: 'Do as I say.' },
    resources: { cpus: 1 },
  }
  const answer = await resolveOf(server, 'p', { overrides, variables: { what: 'x' } })
  isApiError(t, answer, 'FIELD_LOCKED')
  t.same(pathsOf(answer), [
    '/overrides/agent/model',
    '/overrides/prompt/text',
    '/overrides/resources/cpus',
    '/variables/what',
  ])
  const refused: [request: object, path: string][] = [
    [{ overrides: { agent: { timeoutMs: 86_400_001 } } }, '/overrides/agent/timeoutMs'],
    [{ overrides: { hooks: { pre: { script: 'id' } } } }, '/overrides/hooks'],
    [{ overrides: { locked: [] } }, '/overrides/locked'],
    [{ overrides: { extends: 'default' } }, '/overrides/extends'],
    [{ overrides: { prompt: { variables: { a: { type: 'string' } } } } }, '/overrides/prompt/variables'],
    [{ overrides: { network: { mode: 'bridge' } } }, '/overrides/network/mode'],
    [{ overrides: { network: { mode: 'hosts' } } }, '/overrides/network/mode'],
    [{ overrides: { network: { hosts: ['a.test:443'] } } }, '/overrides/network/hosts'],
    [{ overrides: { mcp: { a: { command: 'x' } } } }, '/overrides/mcp'],
    [{ overrides: { limits: { profile: { tokens: 9 } } } }, '/overrides/limits/profile'],
    [{ overrides: { limits: { costMicroUsd: 20_000_001 } } }, '/overrides/limits/costMicroUsd'],
    [{ overrides: { agent: { privileged: true } } }, '/overrides/agent/privileged'],
    [{ overrides: { prompt: { system: '{{ hidden }}' } } }, '/overrides/prompt/system'],
    [{ variables: { nobody: 1 } }, '/variables/nobody'],
    [{ variables: { what: null } }, '/variables/what'],
    [{ variables: { what: { a: 1 } } }, '/variables/what'],
    [{ overrides: [] }, '/overrides'],
    [{ variable: {} }, '/variable'],
  ]
  for (const [request, path] of refused) {
    const refusal = await resolveOf(server, 'p', request)
    isApiError(t, refusal, 'INVALID_REQUEST')
    t.ok(pathsOf(refusal)?.includes(path), `${JSON.stringify(request)}: ${pathsOf(refusal)} has ${path}`)
  }
  t.equal((await put(server, 'open', { profile: { extends: 'p' } })).status, 201)
  isApiError(t, await resolveOf(server, 'open', { overrides: { resources: { cpus: 1 } } }), 'FIELD_LOCKED')
  isApiError(t, await resolveOf(server, 'nobody'), 'PROFILE_NOT_FOUND')
})

t.test('variables in a query are JSON, and nothing else', async (t) => {
  const server = await startServer(t)
  await putToml(server, 'p', TOML)
  const get = (query: string) => server.call('GET', `/profiles/p/resolve?${query}`)
  for (const text of ['{', 'a=b', '{"what":"x"}}', '%7B%22__proto__%22%3A1%7D', '[', '"x', '%00'])
    isApiError(t, await get(`variables=${text}`), 'INVALID_REQUEST')
  for (const text of ['[]', '5', 'null', '"x"', 'true'])
    isApiError(t, await get(`overrides=${text}`), ['INVALID_REQUEST'])
  isApiError(t, await get(`variables=${'['.repeat(4000)}${']'.repeat(4000)}`), 'INVALID_REQUEST')
  isApiError(t, await get('variables={}&variables={}'), 'INVALID_REQUEST')
  isApiError(t, await get('what=x'), 'INVALID_REQUEST')
  isApiError(t, await get(`variables={"what":"${'x'.repeat(20_000)}"}`), ['HEADERS_TOO_LARGE', 'URI_TOO_LONG'])
})

t.test('a pattern that never comes to an end is a clear answer, in time, while others are served', async (t) => {
  const server = await startServer(t)
  const variables = { a: { type: 'string', pattern: '(x+)+y' } }
  await put(server, 'p', { profile: { agent: { engine: 'shell' }, prompt: { variables } } })
  const startedMs = performance.now()
  const slow = resolveOf(server, 'p', { variables: { a: 'x'.repeat(64) } })
  const health = await server.call('GET', '/livez')
  t.equal(health.status, 200)
  isApiError(t, await slow, 'TEMPLATE_LIMIT')
  t.ok(performance.now() - startedMs < 10_000)
  const stuck = await put(server, 'q', {
    profile: { prompt: { variables: { a: { ...variables.a, default: 'x'.repeat(64) } } } },
  })
  isApiError(t, stuck, 'TEMPLATE_LIMIT')
})

t.test('maxima of the server hold also for what was stored under others', async (t) => {
  const server = await startServer(t, { limits: { runCpusMax: 1, runTimeoutMsMax: 5000 } })
  isApiError(t, await put(server, 'p', { profile: { resources: { cpus: 2 } } }), 'INVALID_REQUEST')
  await put(server, 'p', { profile: { agent: { engine: 'shell' } } })
  const { configuration } = (await resolveOf(server, 'p')).body as Resolution
  t.match(configuration, { agent: { timeoutMs: 5000, idleTimeoutMs: 5000 }, resources: { cpus: 1 } })
})

t.test('a request that goes away while its profile is read harms nobody', async (t) => {
  const server = await startServer(t)
  const body = JSON.stringify({ profile: { prompt: { text: '{% for i in range(9) %}{{ i }}{% endfor %}' } } })
  for (let n = 0; n < 5; n++) {
    const socket = connect(server.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(
      `PUT /profiles/gone-${n} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      () => socket.destroy(),
    )
  }
  t.equal((await put(server, 'p', { profile: {} })).status, 201)
})
