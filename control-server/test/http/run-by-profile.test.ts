// RUN_AGENT by profile, over HTTP: what a submission comes to, that it stays so, and who never sees a secret.
import type { CommandRecord, RegisterResponse, SyncResponse } from '@agent-executor/protocol'
import t from 'tap'
import { type Answer, isApiError, type Server, startServer } from './harness.ts'

const SECRET = 'hunter2-is-not-a-word'
const PROFILE = {
  locked: ['resources.cpus', 'prompt.variables.fixed'],
  agent: { engine: 'shell', timeoutMs: 60_000 },
  prompt: {
    text: 'echo {{ what }}{% if token %} {{ token }}{% endif %}',
    variables: {
      what: { type: 'string', default: 'all', pattern: '[a-z]+' },
      token: { type: 'secret', min: 4 },
      fixed: { type: 'integer', default: 1 },
    },
  },
  hooks: { pre: { script: 'echo pre' } },
}

const withProfile = async (server: Server, profile: object = PROFILE): Promise<void> => {
  const { status, text } = await server.call('POST', '/profiles', { name: 'p', profile })
  if (status !== 201) throw new Error(text)
}
const submit = (server: Server, payload: object = {}, fields: object = {}, headers: Record<string, string> = {}) =>
  server.call('POST', '/commands', { type: 'RUN_AGENT', payload: { profile: 'p', ...payload }, ...fields }, headers)
const pathsOf = (answer: Answer) => (answer.body as { details?: { path: string }[] }).details?.map(({ path }) => path)

/** An agent that takes what there is. */
const takerOf = async (server: Server, fields: object = { engines: { shell: { available: true, reason: null } } }) => {
  const { body } = await server.call('POST', '/agents/register', {
    ...{ agentId: 'box', journalId: 'journal-1', nonce: 'nonce-01', previousNonces: [], previousIncarnation: 0 },
    ...{ logSeq: 0, protocol: { min: 1, max: 1 }, version: '1', types: ['RUN_AGENT'], labels: [] },
    slots: { RUN_AGENT: 9 },
    ...fields,
  })
  const { incarnation, epoch } = body as RegisterResponse
  let seq = 0
  return async (held: object[] = [], more: object = {}): Promise<SyncResponse> => {
    const whole = { incarnation, seq: ++seq, epoch, revSeen: 0, logSeq: 0, mode: 'ready', want: { RUN_AGENT: 9 }, held }
    return (await server.call('POST', '/agents/box/sync', { ...whole, ...more })).body as SyncResponse
  }
}

t.test('a submission by profile becomes what it runs, with the versions it comes from', async (t) => {
  const server = await startServer(t)
  await withProfile(server)
  const { status, body } = await submit(server, {
    promptVars: { what: 'it' },
    overrides: { resources: { pidsMax: 64 } },
  })
  t.equal(status, 201)
  t.match(body, {
    timeoutMs: 60_000,
    payload: {
      engine: 'shell',
      prompt: 'echo it',
      resources: { pidsMax: 64, cpus: 2 },
      hooks: { pre: { script: 'echo pre', timeoutMs: 60_000 } },
      resolvedFrom: {
        profile: 'p',
        profiles: [{ name: 'p', version: 1 }],
        templates: [],
        promptVars: { what: 'it', fixed: 1 },
      },
    },
  })
  t.same(
    await server.record((body as CommandRecord).commandId).then(({ payload }) => payload),
    (body as CommandRecord).payload,
  )
})

t.test('what does not fit is refused with its code and its place, and nothing is stored', async (t) => {
  const server = await startServer(t)
  await withProfile(server)
  await server.call('POST', '/profiles', {
    name: 'modelled',
    profile: { agent: { engine: 'shell', model: 'm' }, prompt: { text: 'x' } },
  })
  await server.call('POST', '/profiles', { name: 'bare', profile: { agent: { engine: 'shell' } } })
  const rows: [object, string, string[], object?][] = [
    [{ profile: 'no-such' }, 'PROFILE_NOT_FOUND', ['/payload/profile']],
    [{ profile: 'P' }, 'INVALID_REQUEST', ['/payload/profile']],
    [{ promptVars: { other: 1 } }, 'INVALID_REQUEST', ['/payload/promptVars/other']],
    [{ promptVars: { what: 5 } }, 'INVALID_REQUEST', ['/payload/promptVars/what']],
    [{ promptVars: { what: 'A B' } }, 'INVALID_REQUEST', ['/payload/promptVars/what']],
    [{ promptVars: { what: { a: 1 } } }, 'INVALID_REQUEST', ['/payload/promptVars/what']],
    [{ promptVars: { token: 'abc' } }, 'INVALID_REQUEST', ['/payload/promptVars/token']],
    [{ promptVars: { token: 'ab\0cd' } }, 'INVALID_REQUEST', ['/payload/promptVars/token']],
    [{ promptVars: { fixed: 2 } }, 'FIELD_LOCKED', ['/payload/promptVars/fixed']],
    [{ promptVars: [] }, 'INVALID_REQUEST', ['/payload/promptVars']],
    [{ overrides: { resources: { cpus: 1 } } }, 'FIELD_LOCKED', ['/payload/overrides/resources/cpus']],
    [{ overrides: { resources: { pidsMax: 5000 } } }, 'INVALID_REQUEST', ['/payload/overrides/resources/pidsMax']],
    [{ overrides: { limits: { tokens: 1 } } }, 'INVALID_REQUEST', ['/payload/overrides/limits/tokens']],
    [{ overrides: { mcp: {} } }, 'INVALID_REQUEST', ['/payload/overrides/mcp']],
    [
      { model: 'm', system: 's', tools: {}, limits: {} },
      'INVALID_REQUEST',
      ['/payload/model', '/payload/system', '/payload/tools', '/payload/limits'],
    ],
    [{ resume: 'nobody' }, 'INVALID_REQUEST', ['/payload/resume']],
    [{ overrides: { agent: { engine: 'cobol' } } }, 'INVALID_REQUEST', ['/payload/overrides/agent/engine']],
    [{ overrides: { agent: { model: 'm' } } }, 'INVALID_REQUEST', ['/payload/overrides/agent/model']],
    [{ overrides: { agent: 'x' } }, 'INVALID_REQUEST', ['/payload/overrides/agent'], { timeoutMs: 5 }],
    [{ overrides: { hooks: {} } }, 'INVALID_REQUEST', ['/payload/overrides/hooks']],
    [{ overrides: { prompt: { template: 'none' } } }, 'INVALID_REQUEST', ['/payload/overrides/prompt/template']],
    [{ overrides: { prompt: { text: '{{ oops }}' } } }, 'INVALID_REQUEST', ['/payload/overrides/prompt/text']],
    [{ overrides: { prompt: { text: '{% if' } } }, 'INVALID_REQUEST', ['/payload/overrides/prompt/text']],
    [{ overrides: { prompt: { text: '' } } }, 'INVALID_REQUEST', ['/payload/promptVars']],
    [{}, 'INVALID_REQUEST', ['/timeoutMs'], { timeoutMs: 86_400_001 }],
    [{ overrides: { agent: { timeoutMs: 5 } } }, 'INVALID_REQUEST', ['/timeoutMs'], { timeoutMs: 5 }],
    [{ prompt: 'x' }, 'INVALID_REQUEST', ['/payload/prompt']],
    [
      { engine: 'shell', image: 'a', idleTimeoutMs: 100, resources: {} },
      'INVALID_REQUEST',
      [...['/payload/engine', '/payload/image', '/payload/idleTimeoutMs', '/payload/resources']],
    ],
    [{ env: { JOB_EXIT_CODE: '0' } }, 'INVALID_REQUEST', ['/payload/env/JOB_EXIT_CODE']],
    [{ profile: 'modelled' }, 'PROFILE_UNUSABLE', ['/agent/model']],
    [{ profile: 'bare' }, 'INVALID_REQUEST', ['/payload/overrides/prompt']],
    [{ dryRun: 'yes' }, 'INVALID_REQUEST', ['/payload/dryRun']],
  ]
  for (const [payload, code, paths, fields] of rows) {
    const answer = await submit(server, payload, fields)
    isApiError(t, answer, code as never)
    t.same(pathsOf(answer), paths, JSON.stringify([payload, fields]))
  }
  const direct = await server.call('POST', '/commands', {
    type: 'RUN_AGENT',
    payload: { engine: 'shell', prompt: 'x', promptVars: {}, overrides: {} },
  })
  t.same(pathsOf(direct), ['/payload/promptVars', '/payload/overrides'])
  for (const field of ['hooks', 'resolvedFrom', 'secrets', 'mcpServers', 'egress', 'profileLimits'])
    t.same(
      pathsOf(await submit(server, { [field]: {} })),
      [`/payload/${field}`],
      'what comes of profiles comes of profiles',
    )
  t.equal(await server.countCommands(), 0)
})

t.test('a template that fails or has no end fails the submission alone', async (t) => {
  const server = await startServer(t)
  await withProfile(server)
  const render = (text: string) => submit(server, { overrides: { prompt: { text } } })
  isApiError(t, await render('{{ what() }}'), 'TEMPLATE_FAILED')
  isApiError(t, await render('{% for i in range(300000) %}xxxxxxxxxx{% endfor %}'), 'TEMPLATE_LIMIT')
  const failing = await submit(server, {
    promptVars: { token: SECRET },
    overrides: { prompt: { text: '{% if token == "[secret]" %}x{% else %}{{ token() }}{% endif %}' } },
  })
  isApiError(t, failing, 'TEMPLATE_FAILED')
  t.notMatch(failing.text, SECRET)
  t.equal(await server.countCommands(), 0)
  t.equal((await submit(server)).status, 201)
})

t.test('no later change of a profile changes a command, and a replay answers the first', async (t) => {
  const server = await startServer(t)
  await withProfile(server)
  const headers = { 'idempotency-key': 'once' }
  const first = await submit(server, {}, {}, headers)
  const { commandId, payload } = first.body as CommandRecord
  const changed = { ...PROFILE, prompt: { ...PROFILE.prompt, text: 'echo changed' } }
  t.equal((await server.call('PUT', '/profiles/p', { profile: changed }, { 'if-match': '*' })).status, 200)
  t.same((await server.record(commandId)).payload, payload)
  const again = await submit(server, {}, {}, headers)
  t.match(again, { status: 201, body: { commandId, payload: { prompt: 'echo all' } } })
  t.match((await submit(server)).body, {
    payload: { prompt: 'echo changed', resolvedFrom: { profiles: [{ version: 2 }] } },
  })
  isApiError(t, await submit(server, { dryRun: true }, {}, headers), 'IDEMPOTENCY_KEY_REUSED')

  t.equal((await server.call('DELETE', '/profiles/p', undefined, { 'if-match': '*' })).status, 204)
  t.match(await submit(server, {}, {}, headers), { status: 201, body: { commandId } }, 'also when it is gone')
  isApiError(t, await submit(server), 'PROFILE_NOT_FOUND')
  const sync = await takerOf(server)
  const { offers } = await sync()
  t.match(
    offers.find((offer) => offer.commandId === commandId),
    { payload: { prompt: 'echo all', resolvedFrom: { profiles: [{ version: 1 }] } } },
  )
})

t.test('of many submissions with one key during a change, one is stored', async (t) => {
  const server = await startServer(t)
  await withProfile(server)
  const answers = await Promise.all([
    ...Array.from({ length: 8 }, () => submit(server, {}, {}, { 'idempotency-key': 'race' })),
    server.call('PUT', '/profiles/p', { profile: { ...PROFILE, description: 'other' } }, { 'if-match': '*' }),
  ])
  const records = answers.slice(0, 8).map(({ body }) => body as CommandRecord)
  t.equal(new Set(records.map(({ commandId }) => commandId)).size, 1)
  t.equal(new Set(records.map(({ payload }) => JSON.stringify(payload))).size, 1)
  t.equal(await server.countCommands(), 1)
})

t.test('a secret reaches the agent that runs it, and nobody else', async (t) => {
  const server = await startServer(t)
  await withProfile(server)
  const texts: string[] = []
  const seen = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const answer = await server.call(method, path, body, headers)
    texts.push(answer.text)
    return answer
  }
  const submission = { type: 'RUN_AGENT', payload: { profile: 'p', promptVars: { token: SECRET } } }
  const key = { 'idempotency-key': 'k' }
  const { commandId, payload } = (await seen('POST', '/commands', submission, key)).body as CommandRecord
  t.match(payload, { prompt: 'echo all [secret]', resolvedFrom: { promptVars: { token: '[secret]' } } })
  await seen('POST', '/commands', submission, key)
  t.equal((await seen('GET', '/commands/next?agentId=curl')).status, 204, 'the simple API is not handed it')

  const old = await takerOf(server, {})
  t.same((await old()).offers, [], 'nor an agent that would not know its hooks')
  const { offers } = await old([], { engines: { shell: { available: true, reason: null } } })
  const offer = offers[0] as NonNullable<(typeof offers)[number]>
  t.match(offer.payload, {
    prompt: 'echo all [secret]',
    secrets: { prompt: `echo all ${SECRET}`, promptVars: { token: SECRET } },
  })
  await seen('GET', '/agents')
  await seen('GET', '/engines')
  const readAll = async () => {
    for (const path of ['', '/events', '?fields=payload,result']) await seen('GET', `/commands/${commandId}${path}`)
    await seen('GET', '/commands?fields=payload,result,metadata,commandId')
    t.same((await seen('GET', `/commands?text=${SECRET}`)).body, [], 'what cannot be read cannot be searched either')
    t.same((await seen('GET', `/commands?text=${SECRET.slice(0, 4)}`)).body, [])
  }
  await readAll()
  const { attemptId } = offer
  t.same((await old([{ attemptId, phase: 'accepted' }])).grants, [attemptId])
  await readAll()
  await old([
    { attemptId, phase: 'finished', outcome: { state: 'SUCCEEDED', result: {} }, outcomeSha256: 'a'.repeat(64) },
  ])
  t.match(await server.record(commandId), { status: 'COMPLETED' })
  await readAll()
  for (const text of texts) t.notMatch(text, SECRET)
  t.equal((await server.store.get(commandId))?.command.secrets, null, 'gone with the end')
})

t.test('a secret of a cancelled command is gone too, and one that waits for a retry is kept', async (t) => {
  const server = await startServer(t)
  await withProfile(server)
  const submitted = async (fields: object = {}) =>
    (await submit(server, { promptVars: { token: SECRET } }, fields)).body as CommandRecord
  const secretsOf = async (commandId: string) => (await server.store.get(commandId))?.command.secrets
  const cancelled = await submitted()
  t.match(await secretsOf(cancelled.commandId), { promptVars: { token: SECRET } })
  await server.call('DELETE', `/commands/${cancelled.commandId}`)
  t.equal(await secretsOf(cancelled.commandId), null)

  const { commandId } = await submitted({ retry: { maxAttempts: 2, backoff: { initialMs: 0 } } })
  const sync = await takerOf(server)
  const attemptId = (await sync()).offers[0]?.attemptId as string
  await sync([{ attemptId, phase: 'accepted' }])
  const error = { code: 'HOST_STOPPED', message: 'x', retryable: true }
  await sync([{ attemptId, phase: 'finished', outcome: { state: 'FAILED', error }, outcomeSha256: 'b'.repeat(64) }])
  t.match(await server.record(commandId), { status: 'PENDING' })
  t.match(await secretsOf(commandId), { promptVars: { token: SECRET } })
})

t.test('engines: who has which, and why not', async (t) => {
  const server = await startServer(t)
  const shell = async () => (await server.call('GET', '/engines/shell')).body
  t.match(await shell(), { name: 'shell', providers: [], image: null, available: false, agents: [] })
  const sync = await takerOf(server, { engines: { shell: { available: false, reason: 'No Docker.', more: 1 } } })
  t.match(await shell(), { available: false, agents: [{ agentId: 'box', available: false, reason: 'No Docker.' }] })
  t.match((await server.call('GET', '/agents')).body, [
    { engines: { shell: { available: false, reason: 'No Docker.' } } },
  ])
  await sync([], { engines: { shell: { available: true, reason: null } } })
  await sync()
  t.match(await shell(), { available: true, agents: [{ available: true, reason: null }] })
  server.clock.nowMs += 60_000
  t.match(await shell(), { available: false, agents: [] })
})

t.test('a secret in the system prompt is for the agent alone, too', async (t) => {
  const server = await startServer(t)
  await withProfile(server, {
    agent: { engine: 'codex', model: 'm' },
    prompt: { text: 'x', system: 'token {{ token }}', variables: { token: { type: 'secret' } } },
    limits: { requests: 3 },
  })
  const submitted = await submit(server, { promptVars: { token: SECRET } })
  t.match(submitted.body, {
    payload: { model: 'm', system: 'token [secret]', limits: { costMicroUsd: 20_000_000, requests: 3 } },
  })
  t.notMatch(submitted.text, SECRET)
  const sync = await takerOf(server, { engines: { codex: { available: true, reason: null } } })
  const { offers } = await sync()
  t.match(offers[0]?.payload, { system: 'token [secret]', secrets: { system: `token ${SECRET}` } })
  t.same(Object.keys((offers[0]?.payload as { secrets?: object })?.secrets ?? {}).sort(), ['promptVars', 'system'])
  const long = await submit(server, {
    overrides: { prompt: { system: `{% for i in range(9) %}${'y'.repeat(9000)}{% endfor %}` } },
  })
  isApiError(t, long, 'INVALID_REQUEST')
  t.match(long.body, { details: [{ path: '/payload/promptVars', message: /system prompt of more than/ }] })
})

t.test('a run goes on with the conversation of another one of its engine, which has left one', async (t) => {
  const server = await startServer(t)
  const plain = (engine: string, more: object = {}, headers: Record<string, string> = {}) =>
    server.call('POST', '/commands', { type: 'RUN_AGENT', payload: { engine, prompt: 'x', ...more } }, headers)
  const engines = { codex: { available: true, reason: null }, gemini: { available: true, reason: null } }
  const sync = await takerOf(server, { engines })
  /** Runs to its end with this result. */
  const finished = async (engine: string, result: object): Promise<string> => {
    const { commandId } = (await plain(engine)).body as CommandRecord
    const attemptId = `${commandId}.1`
    await sync()
    await sync([{ attemptId, phase: 'accepted' }])
    const outcome = { state: 'SUCCEEDED', result }
    await sync([{ attemptId, phase: 'finished', outcome, outcomeSha256: 'a'.repeat(64) }])
    return commandId
  }
  const first = await finished('codex', { sessionId: 'thread-1' })
  t.match(await plain('codex', { resume: first, model: 'm' }), {
    status: 201,
    body: { payload: { resume: { commandId: first, sessionId: 'thread-1' }, model: 'm' } },
  })
  await withProfile(server, { agent: { engine: 'codex' }, prompt: { text: 'y' } })
  t.match((await submit(server, { resume: first })).body, {
    payload: { prompt: 'y', resume: { sessionId: 'thread-1' } },
  })

  const { commandId: open } = (await plain('codex')).body as CommandRecord
  const rows: [string, object, string][] = [
    ['gemini', { resume: first }, 'NOT_RESUMABLE'],
    ['codex', { resume: 'nobody' }, 'NOT_RESUMABLE'],
    ['codex', { resume: (await server.submit()).commandId }, 'NOT_RESUMABLE'],
    ['codex', { resume: open }, 'NOT_RESUMABLE'],
    ['codex', { resume: await finished('codex', {}) }, 'NOT_RESUMABLE'],
    ['codex', { resume: await finished('codex', { sessionId: '--help' }) }, 'NOT_RESUMABLE'],
    ['shell', { resume: first }, 'INVALID_REQUEST'],
    ['codex', { resume: '../x' }, 'INVALID_REQUEST'],
  ]
  for (const [engine, more, code] of rows) {
    const answer = await plain(engine, more)
    isApiError(t, answer, code as never)
    t.same(pathsOf(answer), ['/payload/resume'], JSON.stringify([engine, more]))
  }
  const key = { 'idempotency-key': 'again' }
  const once = (await plain('codex', { resume: first }, key)).body as CommandRecord
  t.match(await plain('codex', { resume: first }, key), { status: 201, body: { commandId: once.commandId } })
})
