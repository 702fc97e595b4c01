/** What clients do: submit, read, list, cancel. */
import type { CommandRecord } from '@agent-executor/protocol'
import t from 'tap'
import { uuidv7 } from 'uuidv7'
import { commandOf } from '../../src/lifecycle/submission.ts'
import { isApiError, startServer } from './harness.ts'

type Page = { items: Partial<CommandRecord>[]; nextCursor: string | null }
const ids = (commands: unknown) => (commands as { commandId: string }[]).map(({ commandId }) => commandId)

t.test('a submission is answered 201 with the whole record, its defaults filled in', async (t) => {
  const server = await startServer(t)
  const answer = await server.call('POST', '/commands', { type: 'DELAY', payload: { ms: 250 } })
  const { commandId } = answer.body as CommandRecord
  t.equal(answer.status, 201)
  t.equal(answer.headers.get('location'), `/commands/${commandId}`)
  t.match(answer.headers.get('content-type'), 'application/json')
  t.match(answer.headers.get('x-request-id'), /^[0-9a-f-]{36}$/)
  t.match(commandId, /^[0-9a-f-]{36}$/)
  t.strictSame(answer.body, {
    commandId,
    type: 'DELAY',
    status: 'PENDING',
    priority: 0,
    labels: [],
    pinnedTo: null,
    agentId: null,
    attempt: 0,
    payload: { ms: 250 },
    result: null,
    resultTruncated: false,
    error: null,
    cancelRequested: false,
    takeover: 'manual',
    timeoutMs: 60_250,
    totalTimeoutMs: null,
    lostAfterMs: null,
    retry: { maxAttempts: 1, backoff: { initialMs: 1000, maxMs: 60_000, factor: 2 } },
    metadata: {},
    createdAt: new Date(server.clock.nowMs).toISOString(),
    notBefore: null,
    expiresAt: null,
    startedAt: null,
    finishedAt: null,
    attempts: [],
    timings: { queuedMs: 0, runMs: null, totalMs: 0 },
  })
  t.strictSame(await server.record(commandId), answer.body, 'GET answers the same')

  const http = await server.call('POST', '/commands', {
    type: 'HTTP_GET_JSON',
    payload: { url: 'https://example.com/' },
  })
  t.match(http.body, { timeoutMs: 90_000, payload: { url: 'https://example.com/' } })
})

t.test('every field of a submission is stored and shown', async (t) => {
  const server = await startServer(t)
  const inMs = (ms: number) => new Date(server.clock.nowMs + ms).toISOString()
  const submission = {
    type: 'HTTP_GET_JSON',
    payload: { url: 'http://example.com/a?b=c#d', headers: { 'X-Key': 'value' }, timeoutMs: 5000 },
    priority: -100,
    labels: ['gpu', 'region=eu-1'],
    timeoutMs: 7000,
    totalTimeoutMs: 90_000,
    expiresAt: inMs(60_000),
    notBefore: inMs(30_000),
    retry: {
      maxAttempts: 5,
      backoff: { initialMs: 10, maxMs: 20, factor: 1.5 },
      retryOn: ['NETWORK_ERROR', 'MY_CODE'],
    },
    takeover: 'auto',
    lostAfterMs: 0,
    metadata: { 'ticket/1': 'a', n: 1.5, ok: true },
  }
  const answer = await server.call('POST', '/commands', { ...submission, agentId: 'box-1' })
  t.match(answer, { status: 201, body: { ...submission, pinnedTo: 'box-1', agentId: null } })
  const zoned = await server.submit({ expiresAt: '2100-06-01T12:00:00.5+02:00' })
  t.equal(zoned.expiresAt, '2100-06-01T10:00:00.500Z', 'a time zone is turned into UTC')
})

t.test('the list', async (t) => {
  const server = await startServer(t)
  const made: string[] = []
  for (let i = 0; i < 7; i++) {
    server.clock.nowMs += 1000
    const fields =
      i === 3 ? { metadata: { note: 'Find "Me" 100%_' }, labels: ['gpu'] } : { labels: i < 2 ? ['cpu'] : [] }
    made.push((await server.submit(fields)).commandId)
  }
  const http = { type: 'HTTP_GET_JSON', payload: { url: 'http://find.example/' } }
  const fetched = ((await server.call('POST', '/commands', http)).body as CommandRecord).commandId
  const newestFirst = [fetched, ...made.toReversed()]
  const list = async (query: string) => (await server.call('GET', `/commands${query}`)).body
  const found = async (query: string) => ids(await list(query))

  await t.test('is a bare array, newest first, without the large fields', async (t) => {
    const answer = await server.call('GET', '/commands')
    t.strictSame(ids(answer.body), newestFirst)
    t.equal(answer.headers.get('link'), null)
    const [first] = answer.body as Partial<CommandRecord>[]
    const { payload: _, result: __, attempts: ___, timings: ____, ...summary } = await server.record(fetched)
    t.strictSame(first, summary)
  })

  await t.test('is an envelope where a page is asked for, and the pages add up', async (t) => {
    const pages: string[] = []
    let cursor: string | null = ''
    for (let count = 0; cursor !== null && count < 10; count++) {
      const page = (await list(`?limit=3${cursor && `&cursor=${cursor}`}`)) as Page
      t.ok(page.items.length <= 3)
      pages.push(...ids(page.items))
      cursor = page.nextCursor
    }
    t.strictSame(pages, newestFirst)
    const exact = (await list('?limit=8')) as Page
    t.match(exact, { items: { length: 8 }, nextCursor: null }, 'no empty page at the end')
    t.strictSame(await list(`?cursor=${Buffer.from(made[0] ?? '').toString('base64url')}`), {
      items: [],
      nextCursor: null,
    })
  })

  await t.test('links to the next page with the same filters', async (t) => {
    const answer = await server.call('GET', '/commands?limit=2&type=DELAY&fields=commandId')
    const path = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get('link') ?? '')?.[1] ?? ''
    t.strictSame(
      (answer.body as Page).items,
      made
        .slice(5)
        .toReversed()
        .map((commandId) => ({ commandId })),
    )
    const next = await server.call('GET', path)
    t.strictSame(
      (next.body as Page).items,
      made
        .slice(3, 5)
        .toReversed()
        .map((commandId) => ({ commandId })),
    )
  })

  await t.test('can be filtered', async (t) => {
    await server.call('POST', `/commands/${made[6]}/cancel`)
    const taken = (await server.call('GET', '/commands/next?agentId=box-1')).body as CommandRecord
    t.strictSame(await found('?status=CANCELLED'), [made[6]])
    t.strictSame(await found('?status=CANCELLED,RUNNING'), ids([{ commandId: made[6] }, taken]))
    t.strictSame(await found('?status=COMPLETED'), [])
    t.strictSame(await found('?type=HTTP_GET_JSON'), [fetched])
    t.strictSame(await found('?type=HTTP_GET_JSON,DELAY'), newestFirst)
    t.strictSame(await found('?agentId=box-1'), [taken.commandId])
    t.strictSame(await found('?agentId=nobody'), [])
    t.strictSame(await found('?label=cpu'), [made[1], made[0]])
    t.strictSame(await found('?label=gpu&type=DELAY&status=PENDING'), [made[3]])
    const third = await server.record(made[2] ?? '')
    t.strictSame(await found(`?createdFrom=${third.createdAt}`), newestFirst.slice(0, 6))
    t.strictSame(await found(`?createdTo=${third.createdAt}`), [made[1], made[0]])
    t.strictSame(await found('?text=FIND'), [fetched, made[3]])
    t.strictSame(await found('?text=100%25_'), [made[3]], 'a percent sign is no wildcard')
    t.strictSame(await found(`?text=${made[5]?.slice(-12)}`), [made[5]])
    t.strictSame(await found('?text=no%20such%20text'), [])
  })

  await t.test('shows the fields that are asked for', async (t) => {
    const [first] = (await list('?fields=commandId,payload,timings')) as object[]
    t.strictSame(Object.keys(first ?? {}).sort(), ['commandId', 'payload', 'timings'])
    const one = await server.call('GET', `/commands/${fetched}?fields=status,status,result`)
    t.strictSame(one.body, { result: null, status: 'PENDING' })
  })
})

t.test('the bare list stops at 1,000 and links to the rest', async (t) => {
  const server = await startServer(t)
  for (let i = 0; i < 1001; i++)
    await server.store.submit(commandOf({ type: 'DELAY', payload: { ms: i } }, uuidv7(), i), null)
  const answer = await server.call('GET', '/commands')
  const commands = ids(answer.body)
  t.equal(commands.length, 1000)
  t.strictSame(commands, commands.toSorted().toReversed())
  const path = /^<([^>]+)>/.exec(answer.headers.get('link') ?? '')?.[1] ?? ''
  t.match(await server.call('GET', path), { status: 200, body: { items: { length: 1 }, nextCursor: null } })
})

t.test('the events of a command tell its story', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit()
  await server.call('GET', '/commands/next?agentId=a')
  await server.call('PUT', `/commands/${commandId}/result`, { agentId: 'a', result: 1 })
  const answer = await server.call('GET', `/commands/${commandId}/events`)
  t.match(answer.body, [
    { type: 'submitted', from: null, to: 'WAITING', attempt: null, agentId: null },
    { type: 'offered', from: 'WAITING', to: 'OFFERED', attempt: 1, agentId: 'a' },
    { type: 'granted', from: 'OFFERED', to: 'RUNNING', attempt: 1, agentId: 'a' },
    { type: 'completed', from: 'RUNNING', to: 'COMPLETED', attempt: 1, agentId: 'a' },
  ])
  t.equal((answer.body as unknown[]).length, 4)
})

t.test('cancel', async (t) => {
  const server = await startServer(t)
  const cancel = (commandId: string, body?: object) => server.call('POST', `/commands/${commandId}/cancel`, body)

  await t.test('ends a waiting command at once, and again changes nothing', async (t) => {
    const { commandId } = await server.submit()
    const ended = await cancel(commandId, { reason: 'no longer needed' })
    t.match(ended, {
      status: 200,
      body: {
        status: 'CANCELLED',
        cancelRequested: true,
        error: { code: 'CANCELLED', message: 'no longer needed', retryable: false },
      },
    })
    server.clock.nowMs += 1000
    t.strictSame((await cancel(commandId)).body, { ...(ended.body as CommandRecord) })
    t.match(await server.call('DELETE', `/commands/${commandId}`), { status: 200, body: { status: 'CANCELLED' } })
    t.equal((await server.call('GET', '/commands/next?agentId=a')).status, 204)
  })

  await t.test('asks for the end of a running command', async (t) => {
    const { commandId } = await server.submit()
    await server.call('GET', '/commands/next?agentId=a')
    for (const method of ['DELETE', 'POST'])
      t.match(await (method === 'POST' ? cancel(commandId) : server.call(method, `/commands/${commandId}`)), {
        status: 202,
        body: { status: 'RUNNING', cancelRequested: true, finishedAt: null },
      })
    t.match(await server.call('PUT', `/commands/${commandId}/result`, { agentId: 'a', result: 'done' }), {
      status: 200,
    })
    t.match(
      await server.record(commandId),
      { status: 'COMPLETED', result: 'done', cancelRequested: true },
      'what was finished first stands',
    )
    isApiError(t, await cancel(commandId), 'COMMAND_FINAL')
    isApiError(t, await server.call('DELETE', `/commands/${commandId}`), 'COMMAND_FINAL')
    t.equal((await server.record(commandId)).status, 'COMPLETED')
  })

  await t.test('takes an empty body of any kind and refuses a wrong one', async (t) => {
    for (const body of [undefined, {}, '', 'null'] as const) {
      const { commandId } = await server.submit()
      const answer = await server.call('POST', `/commands/${commandId}/cancel`, body)
      t.match(answer, { status: 200, body: { error: { message: 'cancelled by request' } } }, String(body))
    }
    const { commandId } = await server.submit()
    for (const body of [{ reason: '' }, { reason: 1 }, { why: 'x' }, [], { reason: 'a'.repeat(1001) }])
      isApiError(t, await cancel(commandId, body), 'INVALID_REQUEST')
    t.equal((await server.record(commandId)).status, 'PENDING')
  })
})

t.test('Idempotency-Key', async (t) => {
  const server = await startServer(t)
  const send = (key: string, body: unknown) => server.call('POST', '/commands', body, { 'idempotency-key': key })
  const body = { type: 'DELAY', payload: { ms: 1 }, metadata: { a: 1, b: 2 }, labels: ['x'] }

  await t.test('the same body again is answered with the same command', async (t) => {
    const first = await send('same', body)
    t.equal(first.headers.get('idempotent-replayed'), null)
    const again = await send(
      'same',
      '{ "labels":["x"],"metadata":{"b":2,"a":1.0},"payload":{"ms":1e0},"type":"DELAY" }',
    )
    t.match(again, { status: 201, body: { commandId: (first.body as CommandRecord).commandId } })
    t.equal(again.headers.get('idempotent-replayed'), 'true')
    t.equal(again.headers.get('location'), first.headers.get('location'))
    t.equal(await server.countCommands(), 1)
  })

  await t.test('another body is 422 and names the command', async (t) => {
    const first = (await send('other', body)).body as CommandRecord
    for (const other of [
      { ...body, priority: 1 },
      { ...body, payload: { ms: 2 } },
      { ...body, metadata: {} },
    ]) {
      const { details } = isApiError(t, await send('other', other), 'IDEMPOTENCY_KEY_REUSED')
      t.match(details, [{ path: 'headers/idempotency-key', message: first.commandId }])
    }
    t.equal(await server.countCommands(), 2)
  })

  await t.test('a refused body does not take the key', async (t) => {
    isApiError(t, await send('refused', { ...body, payload: {} }), 'INVALID_REQUEST')
    t.equal((await send('refused', body)).status, 201)
    t.equal(await server.countCommands(), 3)
  })

  await t.test('a hundred at once make one command', async (t) => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => send('parallel', body)))
    t.strictSame(new Set(answers.map(({ status }) => status)), new Set([201]))
    t.equal(new Set(ids(answers.map((answer) => answer.body))).size, 1)
    t.equal(answers.filter(({ headers }) => headers.get('idempotent-replayed') === null).length, 1)
    t.equal(await server.countCommands(), 4)
  })

  await t.test('a replay after the deadline is answered as a replay', async (t) => {
    const soon = { ...body, expiresAt: new Date(server.clock.nowMs + 1000).toISOString() }
    const past = { ...body, expiresAt: new Date(server.clock.nowMs - 1).toISOString() }
    t.match(await send('new-key', past), { status: 400, body: { details: [{ path: '/expiresAt' }] } })
    const first = (await send('deadline', soon)).body as CommandRecord
    server.clock.nowMs += 2000
    await server.sweep()
    t.match(await send('deadline', soon), {
      status: 201,
      body: { commandId: first.commandId, status: 'FAILED', error: { code: 'EXPIRED' } },
    })
  })

  await t.test('is forgotten after its time', async (t) => {
    server.clock.nowMs += 86_400_001
    await server.sweep()
    const again = await send('same', body)
    t.equal(again.status, 201)
    t.equal(again.headers.get('idempotent-replayed'), null)
  })
})

t.test('expiresAt: what was not started in time is FAILED with EXPIRED', async (t) => {
  const server = await startServer(t)
  const expiresAt = new Date(server.clock.nowMs + 1000).toISOString()
  const { commandId } = await server.submit({ expiresAt })
  server.clock.nowMs += 999
  await server.sweep()
  t.equal((await server.record(commandId)).status, 'PENDING')
  server.clock.nowMs += 1
  t.equal(
    (await server.call('GET', '/commands/next?agentId=a')).status,
    204,
    'not handed out even before the sweeper comes',
  )
  await server.sweep()
  t.match(await server.record(commandId), {
    status: 'FAILED',
    error: { code: 'EXPIRED', retryable: false },
    attempts: [],
    timings: { totalMs: 1000 },
  })
})

t.test('notBefore: not handed out before its time', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit({ notBefore: new Date(server.clock.nowMs + 5000).toISOString() })
  t.equal((await server.call('GET', '/commands/next?agentId=a')).status, 204)
  server.clock.nowMs += 5000
  await server.sweep()
  t.match(await server.call('GET', '/commands/next?agentId=a'), { status: 200, body: { commandId } })
  t.match(await server.submit({ notBefore: '2020-01-01T00:00:00Z' }), { status: 'PENDING' })
  t.equal((await server.call('GET', '/commands/next?agentId=a')).status, 200, 'a time that has passed is no obstacle')
})
