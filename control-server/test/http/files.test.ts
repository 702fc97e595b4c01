// Files: uploads for runs, and artifacts of attempts, over HTTP; what bad input does, and how long contents stay.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Artifact, CommandArtifacts, CommandRecord, UploadRecord } from '@agent-executor/protocol'
import t from 'tap'
import { isApiError, raw, type Server, startServer, UPLOAD_TTL_MS } from './harness.ts'
import { runningAgent } from './running-agent.ts'

const sha256 = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex')
const BYTES = { 'content-type': 'application/octet-stream' }
const NOWHERE = '0'.repeat(64)

const upload = async (server: Server, content: string | Uint8Array, query = ''): Promise<UploadRecord> => {
  const answer = await server.call('POST', `/uploads${query}`, Buffer.from(content), BYTES)
  if (answer.status !== 201) throw new Error(`${answer.status} ${answer.text}`)
  return answer.body as UploadRecord
}

/** Contents that lie in the folder, parts that are on their way among them. */
const filesIn = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map(({ name }) => name)
    .sort()

const run = (files: object[], more: object = {}) => ({
  type: 'RUN_AGENT',
  payload: { engine: 'shell', prompt: 'true', files, ...more },
})

const artifact = (name: string, content: string | Uint8Array): Artifact & { lost: boolean } => ({
  ...{ name, bytes: Buffer.byteLength(content), sha256: sha256(content), lost: false },
})

type RunningAgent = Awaited<ReturnType<typeof runningAgent>>

const list = (agent: RunningAgent, artifacts: object[], change: object = {}) =>
  agent.putAny('artifacts', { artifacts }, {}, change)

const part = (
  agent: RunningAgent,
  whole: string | Uint8Array,
  { first = 0, last = Buffer.byteLength(whole) - 1, name = sha256(whole), change = {} } = {},
) => {
  const content = Buffer.from(whole)
  const range = content.length === 0 ? 'bytes */0' : `bytes ${first}-${last}/${content.length}`
  return agent.putAny(`blobs/${name}`, content.subarray(first, last + 1), { ...BYTES, 'content-range': range }, change)
}

const artifactsOf = async (server: Server, commandId: string, query = ''): Promise<CommandArtifacts> =>
  (await server.call('GET', `/commands/${commandId}/artifacts${query}`)).body as CommandArtifacts

const download = (server: Server, path: string, headers: Record<string, string> = {}) =>
  fetch(`http://127.0.0.1:${server.port}${path}`, { headers })

t.test('what is uploaded comes back byte for byte, and twice the same is kept once', async (t) => {
  const server = await startServer(t)
  const content = randomBytes(300_000)
  const first = await upload(server, content)
  t.same(first, {
    sha256: sha256(content),
    bytes: content.length,
    expiresAt: new Date(server.clock.nowMs + UPLOAD_TTL_MS).toISOString(),
  })
  t.same(await upload(server, content), first)
  t.same(filesIn(server.blobsDir), [sha256(content)])
  t.match(await server.call('GET', `/uploads/${first.sha256}`), { status: 200, body: first })
  t.equal((await fetch(`http://127.0.0.1:${server.port}/uploads/${first.sha256}`, { method: 'HEAD' })).status, 200)
  const answer = await download(server, `/blobs/${first.sha256}`)
  t.same(Buffer.from(await answer.arrayBuffer()), content)
  t.match(Object.fromEntries(answer.headers), {
    etag: `"${first.sha256}"`,
    'content-type': 'application/octet-stream',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; sandbox",
    'content-disposition': `attachment; filename="${first.sha256}"; filename*=UTF-8''${first.sha256}`,
    'content-length': '300000',
  })
  t.equal((await upload(server, '')).bytes, 0)
  t.equal((await (await download(server, `/blobs/${sha256('')}`)).arrayBuffer()).byteLength, 0)
})

t.test('many at a time, the same among them: each is whole', async (t) => {
  const server = await startServer(t)
  const contents = Array.from({ length: 10 }, (_, index) => Buffer.alloc(200_000, index))
  const kept = await Promise.all([...contents, ...contents].map((content) => upload(server, content)))
  t.same(
    kept.map(({ sha256 }) => sha256),
    [...contents, ...contents].map((content) => sha256(content)),
  )
  t.equal(filesIn(server.blobsDir).length, 10)
})

t.test('a download may be a part, and is not sent to whoever has it', async (t) => {
  const server = await startServer(t)
  const { sha256: name } = await upload(server, '0123456789')
  const get = async (headers: Record<string, string>) => {
    const answer = await download(server, `/blobs/${name}`, headers)
    return [answer.status, answer.headers.get('content-range'), await answer.text()]
  }
  t.same(await get({ range: 'bytes=2-4' }), [206, 'bytes 2-4/10', '234'])
  t.same(await get({ range: 'bytes=7-' }), [206, 'bytes 7-9/10', '789'])
  t.same(await get({ range: 'bytes=-3' }), [206, 'bytes 7-9/10', '789'])
  t.same(await get({ range: 'bytes=0-100' }), [206, 'bytes 0-9/10', '0123456789'])
  for (const range of ['bytes=4-2', 'bytes=', 'lines=1-2', 'bytes=0-1,4-5'])
    t.same(await get({ range }), [200, null, '0123456789'], range)
  t.same(await get({ range: 'bytes=2-4', 'if-range': '"other"' }), [200, null, '0123456789'])
  t.same(await get({ 'if-none-match': `"${name}"` }), [304, null, ''])
  const answer = await server.call('GET', `/blobs/${name}`, undefined, { range: 'bytes=10-' })
  isApiError(t, answer, 'RANGE_NOT_SATISFIABLE')
  t.equal(answer.headers.get('content-range'), 'bytes */10')
})

t.test('an upload that cannot be is refused with a code, and nothing of it stays', async (t) => {
  const server = await startServer(t, { limits: { uploadBytesMax: 100_000 } })
  const large = Buffer.alloc(100_001)
  isApiError(t, await server.call('POST', '/uploads', large, BYTES), 'BODY_TOO_LARGE')
  const chunked = await raw(server.port, [
    'POST /uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
    `${(100_001).toString(16)}\r\n`,
    large,
    '\r\n0\r\n\r\n',
  ])
  isApiError(t, chunked, 'BODY_TOO_LARGE')
  // 100 MB are not waited for.
  const announced = await raw(
    server.port,
    'POST /uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 100000001\r\n\r\n',
  )
  isApiError(t, announced, 'BODY_TOO_LARGE')
  t.equal(announced.closed, true)
  isApiError(
    t,
    await server.call('POST', '/uploads', 'text', { 'content-type': 'text/plain' }),
    'UNSUPPORTED_MEDIA_TYPE',
  )
  isApiError(t, await server.call('POST', '/uploads', { a: 1 }), 'UNSUPPORTED_MEDIA_TYPE')
  isApiError(
    t,
    await server.call('POST', '/uploads', Buffer.from('x'), { ...BYTES, 'content-encoding': 'gzip' }),
    'UNSUPPORTED_MEDIA_TYPE',
  )
  const mismatch = await server.call('POST', `/uploads?sha256=${NOWHERE}`, Buffer.from('x'), BYTES)
  t.match(isApiError(t, mismatch, 'CONTENT_MISMATCH').details, [{ path: 'query/sha256' }])
  for (const bad of ['?sha256=abc', '?other=1'])
    isApiError(t, await server.call('POST', `/uploads${bad}`, Buffer.from('x'), BYTES), 'INVALID_REQUEST')
  t.equal((await upload(server, 'y', `?sha256=${sha256('y')}`)).bytes, 1)
  t.same(filesIn(server.blobsDir), [sha256('y')])
  for (const path of ['/uploads/abc', `/uploads/${NOWHERE.toUpperCase().replace('0', 'A')}`, '/blobs/..%2f..%2fetc'])
    isApiError(t, await server.call('GET', path), 'INVALID_REQUEST')
  for (const path of [`/uploads/${NOWHERE}`, `/blobs/${NOWHERE}`])
    isApiError(t, await server.call('GET', path), 'BLOB_NOT_FOUND')
})

t.test('an upload that breaks off leaves nothing', async (t) => {
  const server = await startServer(t)
  const answer = raw(
    server.port,
    [
      'POST /uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 500000\r\n\r\n',
      Buffer.alloc(200_000),
    ],
    { pauseMs: 100, deadlineMs: 500 },
  )
  await answer
  for (let left = 100; left > 0 && filesIn(server.blobsDir).length > 0; left--)
    await new Promise((resolve) => setTimeout(resolve, 20))
  t.same(filesIn(server.blobsDir), [])
})

t.test('a command names uploads; what is not there is refused with its place, and nothing is stored', async (t) => {
  const server = await startServer(t)
  const { sha256: name } = await upload(server, 'known')
  const refused = await server.call(
    'POST',
    '/commands',
    run([
      { path: 'a', upload: name },
      { path: 'b', upload: NOWHERE },
    ]),
  )
  t.match(isApiError(t, refused, 'UPLOAD_MISSING').details, [{ path: '/payload/files/1/upload' }])
  t.equal(await server.countCommands(), 0)
  const both = await server.call('POST', '/commands', run([{ path: 'a', upload: name, content: 'x' }]))
  t.match(isApiError(t, both, 'INVALID_REQUEST').details, [{ path: '/payload/files/0' }])
  for (const bad of ['x', name.toUpperCase(), '../../etc/passwd'])
    isApiError(t, await server.call('POST', '/commands', run([{ path: 'a', upload: bad }])), 'INVALID_REQUEST')
  const accepted = await server.call('POST', '/commands', run([{ path: 'a', upload: name, mode: '0755' }]), {
    'idempotency-key': 'k',
  })
  t.match(accepted, { status: 201, body: { payload: { files: [{ path: 'a', upload: name, mode: '0755' }] } } })
})

t.test('patterns of artifacts are checked at submit', async (t) => {
  const server = await startServer(t)
  const submit = (artifacts: unknown) => server.call('POST', '/commands', run([], { artifacts }))
  for (const good of [['**/*.md', '/output/**', '/workspace/a b', 'x[0-9].{log,txt}'], []])
    t.equal((await submit(good)).status, 201, good.join())
  for (const bad of [
    '../x',
    'a/../b',
    '/etc/passwd',
    '/workspace',
    '/output/',
    'a//b',
    './a',
    'a\0b',
    'a\nb',
    '/workspacex/a',
  ])
    t.match(
      isApiError(t, await submit(['ok', bad]), 'INVALID_REQUEST').details,
      [{ path: '/payload/artifacts/1' }],
      JSON.stringify(bad),
    )
  for (const bad of [
    'x',
    [1],
    [''],
    ['a', 'a'],
    Array.from({ length: 51 }, (_, index) => `f${index}`),
    ['x'.repeat(513)],
  ])
    isApiError(t, await submit(bad), 'INVALID_REQUEST')
})

t.test('an upload that nobody uses goes in its time, one that a command uses stays', async (t) => {
  const server = await startServer(t)
  const used = await upload(server, 'used')
  const unused = await upload(server, 'unused')
  t.equal((await server.call('POST', '/commands', run([{ path: 'a', upload: used.sha256 }]))).status, 201)
  await server.sweep()
  t.equal(filesIn(server.blobsDir).length, 2)
  server.clock.nowMs += UPLOAD_TTL_MS + 1
  await server.sweep()
  t.same(filesIn(server.blobsDir), [used.sha256])
  t.match((await server.call('GET', `/uploads/${used.sha256}`)).body, { expiresAt: null })
  isApiError(t, await server.call('GET', `/uploads/${unused.sha256}`), 'BLOB_NOT_FOUND')
  t.equal((await upload(server, 'unused')).sha256, unused.sha256, 'it may come again')
  t.equal(filesIn(server.blobsDir).length, 2)
})

t.test('contents come and go at the same time, and none is lost', async (t) => {
  const server = await startServer(t)
  const content = Buffer.alloc(50_000, 1)
  for (let round = 0; round < 30; round++) {
    await upload(server, content)
    server.clock.nowMs += UPLOAD_TTL_MS + 1
    const [, again] = await Promise.all([server.blobs.removeUnused(100), upload(server, content)])
    const answer = await download(server, `/blobs/${again.sha256}`)
    t.equal(answer.status, 200, `round ${round}`)
    t.equal((await answer.arrayBuffer()).byteLength, content.length)
  }
})

t.test('an agent lists what its attempt has left, brings it in parts, and it is there', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const { commandId } = agent
  const large = randomBytes(10_000)
  const named = [
    artifact('output/large', large),
    artifact('workspace/a/ü "b".txt', 'small'),
    artifact('output/empty', ''),
  ]
  t.same(await artifactsOf(server, commandId), { commandId, attempt: 1, artifacts: [] })
  const wanted = await list(agent, named)
  t.same(wanted.body, { wanted: named.map((each) => each.sha256) })
  t.match((await artifactsOf(server, commandId)).artifacts, [
    { state: 'pending' },
    { state: 'pending' },
    { state: 'pending' },
  ])
  isApiError(t, await server.call('GET', `/commands/${commandId}/artifacts/output/large`), 'ARTIFACT_PENDING')

  t.match(await part(agent, large, { first: 0, last: 3999 }), { status: 202, body: { committed: 4000 } })
  t.match(isApiError(t, await part(agent, large, { first: 5000 }), 'BLOB_GAP'), { committed: 4000 })
  t.match(await part(agent, large, { first: 1000, last: 5999 }), { status: 202, body: { committed: 6000 } }, 'again')
  t.match(await part(agent, large, { first: 6000 }), { status: 202, body: { committed: 10_000 } })
  t.match(await part(agent, large, { first: 6000 }), { status: 202, body: { committed: 10_000 } }, 'and again')
  t.match(await part(agent, 'small'), { status: 202, body: { committed: 5 } })
  t.match(await part(agent, ''), { status: 202, body: { committed: 0 } })
  t.same((await list(agent, named)).body, { wanted: [] }, 'nothing is left to bring')

  t.same((await artifactsOf(server, commandId)).artifacts, [
    { name: 'output/empty', bytes: 0, sha256: sha256(''), state: 'stored' },
    { name: 'output/large', bytes: 10_000, sha256: sha256(large), state: 'stored' },
    { name: 'workspace/a/ü "b".txt', bytes: 5, sha256: sha256('small'), state: 'stored' },
  ])
  const answer = await download(server, `/commands/${commandId}/artifacts/output/large?attempt=1`)
  t.same(Buffer.from(await answer.arrayBuffer()), large)
  const odd = await download(server, `/commands/${commandId}/artifacts/workspace/a/${encodeURIComponent('ü "b".txt')}`)
  t.equal(await odd.text(), 'small')
  t.match(Object.fromEntries(odd.headers), {
    etag: `"${sha256('small')}"`,
    'content-disposition': `attachment; filename="_ _b_.txt"; filename*=UTF-8''%C3%BC%20%22b%22.txt`,
    'content-security-policy': "default-src 'none'; sandbox",
    'x-content-type-options': 'nosniff',
    'content-type': 'application/octet-stream',
  })
  t.equal((await download(server, `/commands/${commandId}/artifacts/output/empty`)).status, 200)
  t.same(filesIn(server.blobsDir).length, 3, 'no parts are left')
})

t.test('long and strange names are found by their address', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const names = [
    'output/a\nb',
    `output/${'x'.repeat(250)}/${'y'.repeat(250)}`,
    'output/%2e%2e',
    'output/a?b#c;d',
    'output/😀',
    '..x/-rf',
  ]
  await list(
    agent,
    names.map((name) => artifact(name, name)),
  )
  for (const name of names) {
    await part(agent, name)
    const path = name.split('/').map(encodeURIComponent).join('/')
    t.equal(await (await download(server, `/commands/${agent.commandId}/artifacts/${path}`)).text(), name, name)
    const flat = await download(server, `/commands/${agent.commandId}/artifacts/${encodeURIComponent(name)}`)
    t.equal(await flat.text(), name, 'with its slashes encoded')
  }
})

t.test('what the result names is pending before the agent has told more', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const { lost: _, ...named } = artifact('output/a', 'a')
  await agent.finish({ artifacts: [named, { name: 1 }, null, 'x'] })
  t.match(await artifactsOf(server, agent.commandId), { attempt: 1, artifacts: [{ ...named, state: 'pending' }] })
  isApiError(t, await server.call('GET', `/commands/${agent.commandId}/artifacts/output/a`), 'ARTIFACT_PENDING')
  t.same((await list(agent, [{ ...named, lost: false }])).body, { wanted: [named.sha256] }, 'also after the end')
  t.equal((await part(agent, 'a')).status, 202)
  t.equal((await server.call('GET', `/commands/${agent.commandId}/artifacts/output/a`)).text, 'a')
})

t.test('lost is said by the agent, or follows from what the server keeps', async (t) => {
  const server = await startServer(t, { limits: { artifactBytesMax: 10 } })
  const agent = await runningAgent(server)
  const [six, five, four] = [artifact('a', '666666'), artifact('b', '55555'), artifact('c', '4444')]
  t.same((await list(agent, [six, five, four])).body, { wanted: [six.sha256, four.sha256] })
  t.same((await list(agent, [{ ...six, lost: true }, five, four])).body, { wanted: [four.sha256] })
  t.match((await artifactsOf(server, agent.commandId)).artifacts, [
    { state: 'lost' },
    { state: 'lost' },
    { state: 'pending' },
  ])
  isApiError(t, await server.call('GET', `/commands/${agent.commandId}/artifacts/a`), 'ARTIFACT_LOST')
  isApiError(t, await part(agent, '666666'), 'ARTIFACT_NOT_FOUND')
  t.same(
    (await list(agent, [{ ...four, name: 'd', lost: false }])).body,
    { wanted: [four.sha256] },
    'what fits is added',
  )
  t.same((await list(agent, [{ ...artifact('c', 'zzzz') }])).body, { wanted: [four.sha256] }, 'the first stands')
})

t.test('a content that is not what its name says is not kept, and may come again', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await list(agent, [artifact('a', 'right')])
  isApiError(t, await part(agent, 'wrong', { name: sha256('right') }), 'CONTENT_MISMATCH')
  t.same(filesIn(server.blobsDir), [])
  t.equal((await part(agent, 'right')).status, 202)
})

t.test('artifacts of an attempt that is over, or was never this agent’s', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const other = await runningAgent(server, 'box-2')
  const theirs = { agentId: 'box-2', incarnation: String(other.incarnation) }
  isApiError(t, await list(agent, [artifact('a', 'a')], theirs), 'NOT_YOUR_ATTEMPT')
  isApiError(t, await list(agent, [artifact('a', 'a')], { incarnation: '0' }), 'INCARNATION_SUPERSEDED')
  isApiError(t, await list(agent, [artifact('a', 'a')], { agentId: 'nobody' }), 'NOT_REGISTERED')
  isApiError(t, await list(agent, [artifact('a', 'a')], { epoch: '01234567-other' }), 'EPOCH_CHANGED')
  isApiError(t, await part(agent, 'a'), 'ARTIFACT_NOT_FOUND')
  await agent.finish()
  t.equal((await list(agent, [artifact('a', 'a')])).status, 200, 'evidence is taken at any time')
  t.equal((await part(agent, 'a')).status, 202)
  isApiError(t, await artifactsAnswer(server, `${agent.commandId}/artifacts?attempt=2`), 'ATTEMPT_NOT_FOUND')
  isApiError(t, await artifactsAnswer(server, 'nothing/artifacts'), 'COMMAND_NOT_FOUND')
  isApiError(t, await artifactsAnswer(server, `${agent.commandId}/artifacts/none`), 'ARTIFACT_NOT_FOUND')
  isApiError(
    t,
    await artifactsAnswer(server, `${agent.commandId}/artifacts/..%2f..%2fetc%2fpasswd`),
    'ARTIFACT_NOT_FOUND',
  )
  isApiError(t, await artifactsAnswer(server, `${agent.commandId}/artifacts/`), [
    'INVALID_REQUEST',
    'ARTIFACT_NOT_FOUND',
  ])
  isApiError(t, await server.call('DELETE', `/commands/${agent.commandId}/artifacts/a/b`), 'METHOD_NOT_ALLOWED')
})

const artifactsAnswer = (server: Server, path: string) => server.call('GET', `/commands/${path}`)

t.test('bad lists and parts are refused', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  const good = artifact('a', 'a')
  const long = 'x'.repeat(1001)
  for (const bad of [
    { ...good, name: '' },
    { ...good, name: long },
    { ...good, sha256: 'x' },
    { ...good, bytes: -1 },
    { name: 'a' },
  ])
    isApiError(t, await list(agent, [bad]), 'INVALID_REQUEST')
  const many = Array.from({ length: 1001 }, (_, index) => artifact(`f${index}`, 'a'))
  isApiError(t, await list(agent, many), 'INVALID_REQUEST')
  t.same((await list(agent, many.slice(0, 1000))).body, { wanted: [good.sha256] })
  t.same((await list(agent, many.slice(1000))).body, { wanted: [good.sha256] }, 'one more is passed over')
  t.equal((await artifactsOf(server, agent.commandId)).artifacts.length, 1000)
  const send = (range: string | null, body: Uint8Array | string) =>
    agent.putAny(`blobs/${good.sha256}`, body, { ...BYTES, ...(range === null ? {} : { 'content-range': range }) })
  for (const range of [null, 'bytes 0-1/1', 'bytes 1-0/1', 'bytes 0-0/*', 'bytes 1-1/1', 'x'])
    isApiError(t, await send(range, Buffer.from('a')), 'INVALID_REQUEST')
  isApiError(t, await send('bytes 0-4194304/4194305', Buffer.alloc(4_194_305)), 'BODY_TOO_LARGE')
  isApiError(t, await agent.putAny('blobs/abc', Buffer.from('a'), BYTES), 'INVALID_REQUEST')
})

t.test('a start removes files without a row, and says what is lost', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await list(agent, [artifact('a', 'a'), artifact('b', 'b')])
  for (const content of ['a', 'b']) await part(agent, content)
  const orphan = sha256('orphan')
  mkdirSync(join(server.blobsDir, orphan.slice(0, 2)), { recursive: true })
  writeFileSync(join(server.blobsDir, orphan.slice(0, 2), orphan), 'orphan')
  writeFileSync(join(server.blobsDir, 'parts', 'half'), 'half')
  rmSync(join(server.blobsDir, sha256('b').slice(0, 2), sha256('b')))
  t.same(await server.blobs.tidy(), { removed: 1, lost: 1 })
  t.same(filesIn(server.blobsDir), [sha256('a')])
  t.match((await artifactsOf(server, agent.commandId)).artifacts, [{ state: 'stored' }, { state: 'lost' }])
  t.equal(existsSync(join(server.blobsDir, 'parts')), true)
})

t.test('a file whose content was removed by hand is lost, not a fault', async (t) => {
  const server = await startServer(t)
  const agent = await runningAgent(server)
  await list(agent, [artifact('a', 'a')])
  await part(agent, 'a')
  rmSync(join(server.blobsDir, sha256('a').slice(0, 2), sha256('a')))
  isApiError(t, await artifactsAnswer(server, `${agent.commandId}/artifacts/a`), 'ARTIFACT_LOST')
  isApiError(t, await server.call('GET', `/blobs/${sha256('a')}`), 'BLOB_NOT_FOUND')
})

t.test('a repeated submission is answered as the first was, though its upload has gone', async (t) => {
  const server = await startServer(t)
  const { sha256: name } = await upload(server, 'x')
  const key = { 'idempotency-key': 'once' }
  const first = await server.call('POST', '/commands', run([{ path: 'a', upload: name }]), key)
  const { commandId } = first.body as CommandRecord
  await server.store.files.loseBlob(name)
  t.match(await server.call('POST', '/commands', run([{ path: 'a', upload: name }]), key), {
    status: 201,
    body: { commandId },
  })
})
