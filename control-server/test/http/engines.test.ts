// Engines over HTTP: what is there, and what may be written.
import type { EngineRecord, EngineSummary } from '@agent-executor/protocol'
import t from 'tap'
import { startServer } from './harness.ts'

const OWN = `description = "Counts lines."
adapter = "program"
image = "agent-executor/own:1"
providers = ["openai"]

[program]
argv = ["own", "--in", "{{prompt}}"]

[program.with]
model = ["--model", "{{model}}"]

[probe]
argv = ["own", "--version"]
prints = "1.0"
`

t.test('the engines of the product are there, as documents like any other', async (t) => {
  const server = await startServer(t)
  const { status, body } = await server.call('GET', '/engines')
  t.equal(status, 200)
  t.same(
    (body as EngineSummary[]).map(({ name, adapter, origin, version, available }) => [
      ...[name, adapter, origin, version, available],
    ]),
    ['claude-code', 'codex', 'gemini', 'opencode', 'shell'].map((name) => [name, name, 'seed', 1, false]),
  )
  const codex = await server.call('GET', '/engines/codex')
  t.match(codex, { status: 200, body: { name: 'codex', engine: { adapter: 'codex' }, toml: /adapter = "codex"/ } })
  t.equal(codex.headers.get('etag'), '"1"')
  const text = await server.call('GET', '/engines/codex', undefined, { accept: 'application/toml' })
  t.match(text.text, /^description = "OpenAI's Codex."/)
})

t.test('a fifth engine is one document: written, used, changed and deleted', async (t) => {
  const server = await startServer(t)
  const submit = (payload: object) =>
    server.call('POST', '/commands', { type: 'RUN_AGENT', payload: { engine: 'own', prompt: 'Count.', ...payload } })
  t.match(await submit({}), {
    status: 400,
    body: { code: 'INVALID_REQUEST', details: [{ path: '/payload/engine', message: /does not exist: own/ }] },
  })

  const made = await server.call('POST', '/engines', { name: 'own', toml: OWN })
  t.match(made, {
    status: 201,
    body: {
      ...{ name: 'own', version: 1, origin: 'api', description: 'Counts lines.', adapter: 'program' },
      ...{ image: 'agent-executor/own:1', providers: ['openai'], available: false, agents: [] },
      can: { model: true, system: false, tools: false, mcp: false, resume: false, limits: true, egress: true },
      toml: OWN,
    },
  })
  t.equal(made.headers.get('location'), '/engines/own')
  t.match(await server.call('POST', '/engines', { name: 'own', toml: OWN }), {
    status: 409,
    body: { code: 'NAME_TAKEN' },
  })

  const submitted = await submit({ model: 'gpt-5' })
  t.match(submitted, {
    status: 201,
    body: { payload: { engine: 'own', engineDefinition: { name: 'own', version: 1, program: { argv: ['own'] } } } },
  })
  t.match(await submit({ system: 'Be brief.' }), {
    status: 400,
    body: { details: [{ path: '/payload/system', message: 'means nothing to the engine own, which has no system' }] },
  })

  const { engine } = made.body as EngineRecord
  const changed = { ...engine, program: { ...engine.program, argv: ['own', '--fast'] } }
  t.match(await server.call('PUT', '/engines/own', { engine: changed }), { status: 428 })
  const put = await server.call('PUT', '/engines/own', { engine: changed }, { 'if-match': '"1"' })
  t.match(put, { status: 200, body: { version: 2, toml: /--fast/ } })
  t.match(await server.call('GET', '/engines/own?version=1'), { body: { version: 1, toml: OWN } })
  const { commandId } = submitted.body as { commandId: string }
  t.match(
    await server.call('GET', `/commands/${commandId}`),
    { body: { payload: { engineDefinition: { version: 1, program: { argv: ['own', '--in', '{{prompt}}'] } } } } },
    'a command keeps what it was submitted with',
  )

  await server.call('POST', '/profiles', { name: 'counts', toml: '[agent]\nengine = "own"\n[prompt]\ntext = "x"' })
  t.match(await server.call('DELETE', '/engines/own', undefined, { 'if-match': '*' }), {
    status: 409,
    body: { code: 'IN_USE', details: [{ path: '/profiles/counts' }] },
  })
  const byProfile = await server.call('POST', '/commands', { type: 'RUN_AGENT', payload: { profile: 'counts' } })
  t.match(byProfile.body, { payload: { engine: 'own', engineDefinition: { version: 2 } } })
  await server.call('DELETE', '/profiles/counts', undefined, { 'if-match': '*' })
  t.match(await server.call('DELETE', '/engines/own', undefined, { 'if-match': '"2"' }), { status: 204 })
  t.match(await server.call('GET', '/engines/own'), { status: 404, body: { code: 'ENGINE_NOT_FOUND' } })
  t.match(await submit({}), { status: 400 })
})

t.test('a document that is no engine is refused by its fields', async (t) => {
  const server = await startServer(t)
  const refused = async (body: object, code: string, path: string) => {
    const answer = await server.call('POST', '/engines', { name: 'own', ...body })
    t.match(answer, { status: 400, body: { code, details: [{ path }] } }, JSON.stringify(body))
  }
  await refused({}, 'INVALID_REQUEST', '/engine')
  await refused({ toml: OWN, engine: {} }, 'INVALID_REQUEST', '/engine')
  await refused({ toml: 'adapter = ' }, 'MALFORMED_TOML', '/toml')
  await refused({ toml: 'adapter = "cobol"' }, 'INVALID_REQUEST', '/toml/adapter')
  await refused({ engine: {} }, 'INVALID_REQUEST', '/engine/adapter')
  await refused({ engine: { adapter: 'shell', privileged: true } }, 'INVALID_REQUEST', '/engine/privileged')
  await refused({ engine: { adapter: 'program' } }, 'INVALID_REQUEST', '/engine/program')
  await refused({ engine: { adapter: 'program', program: { argv: [] } } }, 'INVALID_REQUEST', '/engine/program/argv')
  await refused({ engine: { adapter: 'shell', image: '-x' } }, 'INVALID_REQUEST', '/engine/image')
  await refused({ name: 'Own', toml: OWN }, 'INVALID_REQUEST', '/name')
})
