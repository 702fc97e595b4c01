/** The original simple API for agents: `GET /commands/next` and `PUT /commands/:commandId/result`. */
import type { CommandRecord } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { isApiError, type Server, startServer } from './harness.ts'

const next = (server: Server, agentId = 'box-1') => server.call('GET', `/commands/next?agentId=${agentId}`)
const report = (server: Server, commandId: string, body: unknown) =>
  server.call('PUT', `/commands/${commandId}/result`, body)

/** A server with one command that `box-1` runs. */
const withRunning = async (t: Test, options: Parameters<typeof startServer>[1] = {}, fields: object = {}) => {
  const server = await startServer(t, options)
  const { commandId } = await server.submit(fields)
  t.equal((await next(server)).status, 200)
  return { server, commandId }
}

t.test('next', async (t) => {
  await t.test('is 204 without a body where there is nothing to do', async (t) => {
    const server = await startServer(t)
    const answer = await next(server)
    t.match(answer, { status: 204, text: '' })
    t.equal(answer.headers.get('cache-control'), 'no-store')
  })

  await t.test('is 200 with the whole record, RUNNING', async (t) => {
    const server = await startServer(t)
    const submitted = await server.submit({ payload: { ms: 5 }, metadata: { a: 'b' } })
    server.clock.nowMs += 250
    const answer = await next(server)
    const now = new Date(server.clock.nowMs).toISOString()
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.strictSame(answer.body, {
      ...submitted,
      status: 'RUNNING',
      agentId: 'box-1',
      attempt: 1,
      startedAt: now,
      attempts: [
        {
          attempt: 1,
          state: 'RUNNING',
          agentId: 'box-1',
          offeredAt: now,
          grantedAt: now,
          finishedAt: null,
          error: null,
        },
      ],
      timings: { queuedMs: 250, runMs: 0, totalMs: 250 },
    })
    t.strictSame(await server.record(submitted.commandId), answer.body, 'GET shows the same')
  })

  await t.test('leaves RUN_AGENT to agents that have a journal', async (t) => {
    const server = await startServer(t)
    await server.submit({ type: 'RUN_AGENT', payload: { engine: 'shell', prompt: 'true' } })
    t.equal((await next(server)).status, 204)
    await server.submit()
    t.match(await next(server), { status: 200, body: { type: 'DELAY' } })
  })

  await t.test('hands out another command each time, by priority and then by age', async (t) => {
    const server = await startServer(t)
    const order: string[] = []
    for (const priority of [0, 5, -5, 5, 100]) order.push((await server.submit({ priority })).commandId)
    const expected = [4, 1, 3, 0, 2].map((index) => order[index])
    const handed: unknown[] = []
    for (let i = 0; i < 5; i++) handed.push(((await next(server, `box-${i % 2}`)).body as CommandRecord).commandId)
    t.strictSame(handed, expected)
    t.equal((await next(server)).status, 204)
  })

  await t.test('never gives a command to two of many that ask at once', async (t) => {
    const server = await startServer(t)
    for (let i = 0; i < 10; i++) await server.submit()
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => next(server, `box-${i}`)))
    const handed = answers.filter(({ status }) => status === 200).map(({ body }) => (body as CommandRecord).commandId)
    t.equal(handed.length, 10)
    t.equal(new Set(handed).size, 10)
  })

  await t.test('keeps to pins and labels', async (t) => {
    const server = await startServer(t)
    const pinned = await server.submit({ agentId: 'box-2' })
    await server.submit({ labels: ['gpu'] })
    t.equal((await next(server)).status, 204)
    t.match(await next(server, 'box-2'), { status: 200, body: { commandId: pinned.commandId } })
    t.equal((await next(server, 'box-2')).status, 204, 'nobody without labels takes a command that needs one')
  })

  await t.test('takes nothing by HEAD', async (t) => {
    const server = await startServer(t)
    const { commandId } = await server.submit()
    t.match(await server.call('HEAD', '/commands/next?agentId=box-1'), { status: 405, text: '' })
    t.equal((await server.record(commandId)).status, 'PENDING')
  })

  await t.test('is refused to an id that belongs to an agent that syncs', async (t) => {
    const server = await startServer(t)
    const { commandId } = await server.submit()
    await server.call('POST', '/agents/register', {
      agentId: 'box-1',
      journalId: 'journal-1',
      nonce: 'nonce-01',
      previousNonces: [],
      previousIncarnation: 0,
      logSeq: 0,
      protocol: { min: 1, max: 1 },
      version: '1',
      types: [],
      labels: [],
      slots: {},
    })
    isApiError(t, await next(server), 'IDENTITY_CONFLICT')
    t.equal((await server.record(commandId)).status, 'PENDING')
  })

  await t.test('a client that never reports leaves a LOST command, FAILED when the grace is over', async (t) => {
    const { server, commandId } = await withRunning(t, {}, { lostAfterMs: 5000 })
    server.clock.nowMs += 62_000
    await server.sweep()
    t.match(await server.record(commandId), { status: 'RUNNING' }, 'the lease lasts for the timeout')
    server.clock.nowMs += 20_000
    await server.sweep()
    t.match(await server.record(commandId), { status: 'RUNNING', attempts: [{ state: 'LOST' }] })
    server.clock.nowMs += 5000
    await server.sweep()
    t.match(await server.record(commandId), { status: 'FAILED', error: { code: 'LOST' } })
  })

  await t.test('a call with its id renews the lease of what an agent runs, for as long again at most', async (t) => {
    const { server, commandId } = await withRunning(t)
    for (const state of ['RUNNING', 'RUNNING', 'LOST']) {
      server.clock.nowMs += 50_000
      t.equal((await next(server)).status, 204)
      await server.sweep()
      t.match(await server.record(commandId), { attempts: [{ state }] })
    }
  })
})

t.test('result', async (t) => {
  await t.test('is 200 {success: true}, and again for the identical repeat', async (t) => {
    const { server, commandId } = await withRunning(t)
    const body = { agentId: 'box-1', result: { ok: true, list: [1, 'two', null] } }
    const answer = await report(server, commandId, body)
    t.equal(answer.status, 200)
    t.strictSame(answer.body, { success: true })
    const record = await server.record(commandId)
    t.match(record, {
      status: 'COMPLETED',
      result: body.result,
      error: null,
      resultTruncated: false,
      attempts: [{ state: 'SUCCEEDED' }],
    })
    server.clock.nowMs += 1000
    for (const repeat of [
      body,
      '{"result":{"list":[1,"two",null],"ok":true},"agentId":"box-1"}',
      { ...body, attempt: 1 },
    ])
      t.match(await report(server, commandId, repeat), { status: 200, body: { success: true } })
    t.strictSame(await server.record(commandId), record)
    isApiError(t, await report(server, commandId, { agentId: 'box-1', result: 'another' }), 'COMMAND_NOT_RUNNING')
    t.strictSame(await server.record(commandId), record, 'final is final')
  })

  await t.test('may be any JSON value, null too', async (t) => {
    const server = await startServer(t)
    for (const result of [null, false, 0, '', [], {}, 'text', -1.5]) {
      const { commandId } = await server.submit()
      await next(server)
      t.match(await report(server, commandId, { agentId: 'box-1', result }), { status: 200 })
      t.match(await server.record(commandId), { status: 'COMPLETED' })
      t.strictSame((await server.record(commandId)).result, result)
    }
  })

  await t.test('an error is a sentence, or an object with a code of its own', async (t) => {
    const server = await startServer(t)
    const errors: [error: unknown, shown: object][] = [
      ['no such host', { code: 'EXECUTION_FAILED', message: 'no such host', retryable: false }],
      [{ message: 'a' }, { code: 'EXECUTION_FAILED', message: 'a', retryable: false }],
      [
        { code: 'MY_CODE', message: 'b', retryable: true, details: { at: [1, 2] } },
        { code: 'MY_CODE', message: 'b', retryable: true, details: { at: [1, 2] } },
      ],
    ]
    for (const [error, shown] of errors) {
      const { commandId } = await server.submit()
      await next(server)
      for (let i = 0; i < 2; i++)
        t.match(await report(server, commandId, { agentId: 'box-1', error }), { status: 200, body: { success: true } })
      const record = await server.record(commandId)
      t.match(record, { status: 'FAILED', result: null, attempts: [{ state: 'FAILED' }] })
      t.strictSame(record.error, shown)
    }
  })

  await t.test('with fields that are missing, wrong or one too many is 400, and nothing changes', async (t) => {
    const { server, commandId } = await withRunning(t)
    const bad: [body: unknown, path: string][] = [
      [{}, '/agentId'],
      [{ result: 1 }, '/agentId'],
      [{ agentId: 'box-1' }, '/result'],
      [{ agentId: 'box-1', result: 1, error: 'x' }, '/result'],
      [{ agentId: '', result: 1 }, '/agentId'],
      [{ agentId: 5, result: 1 }, '/agentId'],
      [{ agentId: 'box-1', error: '' }, '/error'],
      [{ agentId: 'box-1', error: null }, '/error'],
      [{ agentId: 'box-1', error: { code: 'X' } }, '/error/message'],
      [{ agentId: 'box-1', error: { code: 'lower', message: 'x' } }, '/error/code'],
      [{ agentId: 'box-1', error: { message: 'x', extra: 1 } }, '/error/extra'],
      [{ agentId: 'box-1', result: 1, attempt: 0 }, '/attempt'],
      [{ agentId: 'box-1', result: 1, attempt: 2 ** 31 }, '/attempt'],
      [{ agentId: 'box-1', result: 1, status: 'done' }, '/status'],
      [[], '/'],
      ['', '/'],
    ]
    for (const [body, path] of bad) {
      const { details } = isApiError(t, await report(server, commandId, body), 'INVALID_REQUEST')
      t.ok(
        details?.some((detail) => detail.path === path),
        `${path} in ${JSON.stringify(details)}`,
      )
    }
    isApiError(t, await report(server, commandId, '{'), 'MALFORMED_JSON')
    t.equal((await server.record(commandId)).status, 'RUNNING')
  })

  await t.test('is refused for a command that is not RUNNING, or another agent’s, or unknown', async (t) => {
    const server = await startServer(t)
    const waiting = await server.submit()
    const body = { agentId: 'box-1', result: 1 }
    isApiError(t, await report(server, waiting.commandId, body), 'COMMAND_NOT_RUNNING')
    await next(server, 'box-2')
    isApiError(t, await report(server, waiting.commandId, body), 'NOT_YOUR_COMMAND')
    isApiError(
      t,
      await report(server, waiting.commandId, { ...body, agentId: 'box-2', attempt: 2 }),
      'NOT_YOUR_COMMAND',
    )
    t.equal((await server.record(waiting.commandId)).status, 'RUNNING')
    isApiError(t, await report(server, 'nope', body), 'COMMAND_NOT_FOUND')
    const cancelled = await server.submit()
    await server.call('DELETE', `/commands/${cancelled.commandId}`)
    isApiError(t, await report(server, cancelled.commandId, body), 'COMMAND_NOT_RUNNING')
    t.equal((await server.record(cancelled.commandId)).status, 'CANCELLED')
  })

  await t.test('after a failure the retry policy decides', async (t) => {
    const server = await startServer(t)
    const backoff = { initialMs: 1000, maxMs: 1000 }
    const { commandId } = await server.submit({ retry: { maxAttempts: 2, backoff, retryOn: ['FLAKY'] } })
    const fail = (code: string) => report(server, commandId, { agentId: 'box-1', error: { code, message: 'failed' } })
    await next(server)
    t.match(await fail('FLAKY'), { status: 200 })
    t.match(await server.record(commandId), {
      status: 'PENDING',
      error: null,
      attempts: [{ state: 'FAILED', error: { code: 'FLAKY' } }],
    })
    t.match(await fail('FLAKY'), { status: 200 }, 'the repeat of what was accepted')
    await server.sweep()
    t.match(await next(server), { status: 200, body: { commandId, attempt: 2 } })
    isApiError(t, await report(server, commandId, { agentId: 'box-1', attempt: 1, result: 'late' }), 'NOT_YOUR_COMMAND')
    t.match(
      await server.record(commandId),
      { status: 'RUNNING' },
      'a report for the first attempt is not the end of the second',
    )
    t.match(await fail('FLAKY'), { status: 200 }, 'the same failure without a number is that of the attempt that runs')
    t.match(await server.record(commandId), {
      status: 'FAILED',
      error: { code: 'FLAKY', message: 'failed' },
      attempts: { length: 2 },
    })

    const other = await server.submit({ retry: { maxAttempts: 5, retryOn: ['FLAKY'] } })
    await next(server)
    await report(server, other.commandId, { agentId: 'box-1', error: { code: 'OTHER', message: 'x', retryable: true } })
    t.match(await server.record(other.commandId), { status: 'FAILED', error: { code: 'OTHER' } })
  })

  await t.test('is cleaned of what cannot be stored, never refused for it', async (t) => {
    const server = await startServer(t)
    const results: [sent: string, stored: unknown][] = [
      ['"a\\u0000b"', 'a\ufffdb'],
      ['"a\\ud800b"', 'a\ufffdb'],
      ['{"\\udc00":["\\u0000"]}', { '\ufffd': ['\ufffd'] }],
      ['1e999', null],
      ['{"constructor":{"prototype":1}}', { constructor: { prototype: 1 } }],
      ['"👍\\u2028<script>\\u001b[31m"', '👍\u2028<script>\u001b[31m'],
    ]
    for (const [sent, stored] of results) {
      const { commandId } = await server.submit()
      await next(server)
      const body = `{"agentId":"box-1","result":${sent}}`
      for (let i = 0; i < 2; i++) t.match(await report(server, commandId, body), { status: 200 }, sent)
      const record = await server.record(commandId)
      t.equal(JSON.stringify(record.result), JSON.stringify(stored))
      t.match(record, { status: 'COMPLETED', resultTruncated: false })
    }

    const { commandId: proto } = await server.submit()
    await next(server)
    t.match(await report(server, proto, '{"agentId":"box-1","result":{"__proto__":{"admin":true}}}'), { status: 200 })
    t.match((await server.call('GET', `/commands/${proto}`)).text, '"result":{"__proto__":{"admin":true}}')
    t.equal(({} as { admin?: boolean }).admin, undefined)

    const { commandId: latin } = await server.submit()
    await next(server)
    const bytes = Buffer.concat([
      Buffer.from('{"agentId":"box-1","result":"a'),
      Buffer.from([0xff]),
      Buffer.from('b"}'),
    ])
    t.match(await report(server, latin, bytes), { status: 200 })
    t.equal((await server.record(latin)).result, 'a\ufffdb')

    const { commandId: bad } = await server.submit()
    await next(server)
    t.match(await report(server, bad, '{"agentId":"box-1","error":{"message":"a\\ud800","details":{"b":"\\u0000"}}}'), {
      status: 200,
    })
    t.match(await server.record(bad), { status: 'FAILED', error: { message: 'a\ufffd', details: { b: '\ufffd' } } })
  })

  await t.test('nested too deep becomes text below that depth', async (t) => {
    const server = await startServer(t)
    for (const depth of [100, 200, 1_000_000]) {
      const { commandId } = await server.submit()
      await next(server)
      t.match(
        await report(server, commandId, `{"agentId":"box-1","result":${'['.repeat(depth)}${']'.repeat(depth)}}`),
        { status: 200 },
      )
      const answer = await server.call('GET', `/commands/${commandId}?fields=result,status`)
      t.match(answer, { status: 200, body: { status: 'COMPLETED' } })
      const text = JSON.stringify((answer.body as { result: unknown }).result)
      if (depth === 100) t.equal(text, '['.repeat(100) + ']'.repeat(100))
      else t.match(text, depth > 1000 ? /^\[+"\[too deep\]"\]+$/ : /^\[+"\[+\]+"\]+$/)
    }
  })

  await t.test('too large is cut and flagged', async (t) => {
    const { server, commandId } = await withRunning(t, { limits: { resultBytesMax: 1024 } })
    const body = { agentId: 'box-1', result: { text: 'ü'.repeat(10_000_000) } }
    t.match(await report(server, commandId, body), { status: 200 })
    const record = await server.record(commandId)
    t.match(record, { status: 'COMPLETED', resultTruncated: true, result: /^\{"text":"ü+$/ })
    const bytes = Buffer.byteLength(JSON.stringify(record.result))
    t.ok(bytes <= 1024 && bytes > 1020, `${bytes} bytes`)
    t.match(await report(server, commandId, body), { status: 200 }, 'the identical repeat')
    isApiError(
      t,
      await report(server, commandId, { agentId: 'box-1', result: { text: `${'ü'.repeat(9_999_999)}u` } }),
      'COMMAND_NOT_RUNNING',
    )

    const failed = await server.submit()
    await next(server)
    t.match(
      await report(server, failed.commandId, { agentId: 'box-1', error: { message: 'x', details: 'a'.repeat(5000) } }),
      { status: 200 },
    )
    t.match(await server.record(failed.commandId), { status: 'FAILED', error: { details: /^"?a{1000,1022}$/ } })
  })
})
