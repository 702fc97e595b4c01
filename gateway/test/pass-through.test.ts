// The rules of passing through, one by one, where gateway.test.ts does not hold them already.
import { once } from 'node:events'
import { request as ask, createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import zlib, { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { ANSWER } from './fixtures/fake-provider.ts'
import { begin, call, KEY, limit, REQUESTS, world } from './fixtures/world.ts'

const MESSAGE = { model: 'fake', max_tokens: 50, messages: [{ role: 'user', content: 'a secret of the sandbox' }] }
const STREAM = { ...MESSAGE, stream: true }
const streams = REQUESTS.filter(([, path, body]) => path.includes('stream') || 'stream' in body)

/** A provider that answers with exactly this, whatever it is asked; then the connection is cut or ends. */
const rawProvider = async (t: Test, pieces: string[], isCut = false) => {
  let heard = 0
  const server = createServer(async (request, response) => {
    heard += 1
    for await (const _ of request);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    for (const piece of pieces) {
      response.write(piece)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    if (isCut) response.destroy()
    else response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, heard: () => heard }
}
const usageOf = (input: number, output: number) => ({ input_tokens: input, output_tokens: output })
const START = { type: 'message_start', message: { usage: usageOf(300, 1) } }
const DELTA = { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 40 } }
const STOP = { type: 'message_stop' }
const data = (...events: object[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`)

t.test('1: a path is a path: no other host, no second slash, no dots lead around the list', async (t) => {
  const { provider, socketPath } = await world(t)
  const paths = [
    '//v1/messages',
    '//elsewhere.example/v1/files',
    'http://elsewhere.example/v1/messages',
    '/v1/messages/',
    '/v1/messages%2f..%2ffiles',
    '/v1beta/models/..%2ffiles:generateContent',
    '/v1/messages/../files',
    '*',
    '//',
  ]
  for (const path of paths) {
    const socket = connect(socketPath)
    socket.end(`POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}`)
    const answer = String((await once(socket, 'data'))[0])
    t.match(answer, /^HTTP\/1\.1 40[04] /, path)
  }
  t.same(provider.heard, [])
})

t.test('2: betas that are not on the list stay here, and an OAuth token brings its own', async (t) => {
  const headers = { 'anthropic-beta': 'one-2026, two-2026,three-2026' }
  const some = await world(t, { provider: { betas: ['two-2026', 'four'] } })
  await call(some.socketPath, '/v1/messages', { body: MESSAGE, headers })
  t.equal(some.provider.heard[0]?.headers['anthropic-beta'], 'two-2026')
  const none = await world(t, { provider: { betas: ['four'] } })
  await call(none.socketPath, '/v1/messages', { body: MESSAGE, headers })
  t.equal(none.provider.heard[0]?.headers['anthropic-beta'], undefined)
  const oauth = await world(t, { provider: { auth: 'oauth' } })
  await call(oauth.socketPath, '/v1/messages', { body: MESSAGE, headers })
  t.match(oauth.provider.heard[0]?.headers, {
    authorization: `Bearer ${KEY}`,
    'anthropic-beta': 'one-2026,two-2026,three-2026,oauth-2025-04-20',
  })
  t.equal(oauth.provider.heard[0]?.headers['x-api-key'], undefined)
})

t.test('3: what comes compressed although nobody wanted it passes as it is, and is metered', async (t) => {
  const { provider, ledger, socketPath } = await world(t)
  provider.behave({ isCompressed: true })
  for (const [, path, body] of REQUESTS) {
    const { response } = await begin(socketPath, path, { body })
    const pieces: Buffer[] = []
    for await (const piece of response) pieces.push(piece as Buffer)
    t.equal(response.headers['content-encoding'], 'gzip')
    t.match(gunzipSync(Buffer.concat(pieces)).toString(), 'Ferne', path)
  }
  for (const made of ledger.calls('c.1'))
    t.match(made, { state: 'settled', usage: { inputTokens: 100, outputTokens: 20 } })
  provider.behave({ isCompressed: true, status: 400 })
  t.match(await call(socketPath, '/v1/messages', { body: MESSAGE }), { status: 400, text: /as asked for/ })

  const { createZstdDecompress, zstdCompressSync } = zlib as unknown as {
    createZstdDecompress?: unknown
    zstdCompressSync: (text: string) => Buffer
  }
  const zstd = { 'content-encoding': 'zstd' }
  if (createZstdDecompress === undefined)
    t.match(await call(socketPath, '/v1/messages', { body: 'x', headers: zstd }), { status: 415 })
  else {
    provider.behave({})
    const body = zstdCompressSync(JSON.stringify(MESSAGE))
    t.match(await call(socketPath, '/v1/messages', { body, headers: zstd }), { status: 200 })
  }
})

t.test('4: each piece goes on as it comes, with its content-type, and nobody buffers', async (t) => {
  const { provider, socketPath } = await world(t)
  provider.behave({ pauseMs: 30 })
  const { response } = await begin(socketPath, '/v1/messages', { body: STREAM })
  t.match(response.headers, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' })
  let pieces = 0
  for await (const _ of response) pieces += 1
  t.ok(pieces >= 8, `${pieces} pieces`)
})

t.test('4: a client that does not read holds its provider back', async (t) => {
  let written = 0
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const more = () => {
      while (written < 200 * 2 ** 20) {
        written += 2 ** 16
        if (!response.write(`: ${'x'.repeat(2 ** 16 - 4)}\n\n`)) return void response.once('drain', more)
      }
    }
    more()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { socketPath } = await world(t, { baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  const outgoing = ask({ socketPath, path: '/v1/messages', method: 'POST' })
  outgoing.on('error', () => {})
  outgoing.end(JSON.stringify(STREAM))
  const [response] = await once(outgoing, 'response')
  let before = -1
  while (written !== before) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  t.ok(written < 40 * 2 ** 20, `${written} bytes are on their way`)
  response.destroy()
})

t.test('5: events are found whatever their form, and what cannot be read stops nothing', async (t) => {
  const forms: [string, string[]][] = [
    ['CRLF', data(START, DELTA, STOP).map((text) => text.replaceAll('\n', '\r\n'))],
    ['CR', data(START, DELTA, STOP).map((text) => text.replaceAll('\n', '\r'))],
    [
      'several lines of data',
      [
        `data: {"type":"message_start",\ndata: "message":{"usage":${JSON.stringify(usageOf(300, 1))}}}\n\n`,
        ...data(DELTA, STOP),
      ],
    ],
    [
      'comments and pings',
      [': hello\n\n', ...data(START), 'event: ping\ndata: {"type":"ping"}\n\n', ...data(DELTA, STOP)],
    ],
    ['no space after the colon', data(START, DELTA, STOP).map((text) => text.replace('data: ', 'data:'))],
    ['no blank line at the end', [...data(START, DELTA), `data: ${JSON.stringify(STOP)}\n`]],
    ['a character cut in two', [...data(START), 'data: {"text":"\u00fc"}\n\n', ...data(DELTA, STOP)]],
  ]
  for (const [name, pieces] of forms) {
    const raw = await rawProvider(t, pieces)
    const { ledger, socketPath } = await world(t, { baseUrl: raw.url })
    const { text, headers } = await call(socketPath, '/v1/messages', { body: STREAM })
    t.equal(text, pieces.join(''), name)
    t.equal(headers['content-type'], 'text/event-stream; charset=utf-8')
    t.match(ledger.calls('c.1'), [{ state: 'settled', usage: { inputTokens: 300, outputTokens: 40 } }], name)
  }
  const half = await rawProvider(t, ['data: {"type":"message_sta\n\n', 'data: \ud83c\n\n', ...data(DELTA, STOP)])
  const broken = await world(t, { baseUrl: half.url })
  t.match((await call(broken.socketPath, '/v1/messages', { body: STREAM })).text, 'message_stop')
  t.match(broken.ledger.calls('c.1'), [{ state: 'estimated', status: 200 }])
  const large = await rawProvider(t, [`data: "${'x'.repeat(17 * 2 ** 20)}"\n\n`, ...data(START, DELTA, STOP)])
  const capped = await world(t, { baseUrl: large.url, limits: [limit('microUsd', 10_000)] })
  t.ok((await call(capped.socketPath, '/v1/messages', { body: STREAM })).text.length > 17 * 2 ** 20)
  const [made] = capped.ledger.calls('c.1')
  t.match(made, { state: 'estimated' })
  t.ok((made?.costMicroUsd ?? 0) <= (made?.reserved.microUsd ?? 0), 'an estimate is never more than was reserved')
})

t.test('5: nonsense passes, and is booked as estimated and not as nothing', async (t) => {
  for (const nonsense of ['types', 'json', 'html'] as const) {
    const { provider, ledger, socketPath } = await world(t)
    provider.behave({ nonsense })
    for (const [, path, body] of REQUESTS) t.match(await call(socketPath, path, { body }), { status: 200 }, path)
    for (const { state, usage, wire, model } of ledger.calls('c.1')) {
      t.equal(state, 'estimated', `${nonsense} ${wire} ${model}`)
      t.ok((usage?.inputTokens ?? 0) > 0 && (usage?.outputTokens ?? 0) > 0)
    }
  }
  const absurd = { input_tokens: 1e300, output_tokens: Number.MAX_VALUE, cache_read_input_tokens: -5 }
  const raw = await rawProvider(t, data({ type: 'message_start', message: { usage: absurd } }, STOP))
  const { ledger, socketPath } = await world(t, { baseUrl: raw.url })
  t.match(await call(socketPath, '/v1/messages', { body: STREAM }), { status: 200 })
  t.match(ledger.calls('c.1'), [{ state: 'settled', usage: { inputTokens: 1e9 } }], 'the books stand it')
})

t.test('6: a connection is kept longer than any client keeps one', async (t) => {
  const { socketPath } = await world(t)
  const { headers } = await call(socketPath, '/v1/messages', { body: MESSAGE, headers: { connection: 'keep-alive' } })
  t.match(headers['keep-alive'], /^timeout=900/)
})

t.test('7: an answer is whole when the provider has said so, whatever becomes of the connection', async (t) => {
  const raw = await rawProvider(t, data(START, DELTA, STOP), true)
  const { ledger, socketPath } = await world(t, { baseUrl: raw.url })
  await t.rejects(call(socketPath, '/v1/messages', { body: STREAM }), 'it looks as it was')
  t.match(ledger.calls('c.1'), [{ state: 'settled', usage: { inputTokens: 300, outputTokens: 40 } }])
  const short = await rawProvider(t, data(START, DELTA), false)
  const ended = await world(t, { baseUrl: short.url })
  await call(ended.socketPath, '/v1/messages', { body: STREAM })
  t.match(ended.ledger.calls('c.1'), [{ state: 'estimated', usage: { inputTokens: 300 } }], 'it ended too early')
})

t.test('8: nothing is repeated but a connection that was never made', async (t) => {
  const { provider, socketPath } = await world(t)
  for (const status of [429, 500, 503, 529]) {
    provider.behave({ status, headers: { 'retry-after': '1' } })
    const before = provider.heard.length
    const answer = await call(socketPath, '/v1/messages', { body: MESSAGE })
    t.match(answer, { status, headers: { 'retry-after': '1' } })
    t.equal(provider.heard.length, before + 1)
  }
  provider.behave({ status: 302, headers: { location: 'http://127.0.0.1:1/' } })
  const moved = await call(socketPath, '/v1/messages', { body: MESSAGE })
  t.match(moved, { status: 302 })
  t.equal(moved.headers.location, undefined, 'a redirect leads nowhere')

  let connections = 0
  const server = createTcpServer((socket) => {
    connections += 1
    socket.once('data', () => socket.destroy())
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const reset = await world(t, { baseUrl, limits: [limit('microUsd', 1_000_000)] })
  t.match(await call(reset.socketPath, '/v1/messages', { body: MESSAGE }), { status: 529 })
  t.equal(connections, 1, 'it may have been heard')
  t.match(reset.ledger.calls('c.1'), [{ state: 'estimated', status: null, usage: { outputTokens: 50 } }])
})

t.test('10: no word of a request or an answer is logged, nor a key', async (t) => {
  const { provider, ledger, socketPath, logged } = await world(t, { limits: [limit('requests', 10)] })
  for (const manners of [{}, { status: 401, message: KEY }, { nonsense: 'json' as const }, { cutAfter: 2 }]) {
    provider.behave(manners)
    for (const [, path, body] of streams) await call(socketPath, path, { body }).catch(() => {})
  }
  t.ok(logged.length > 0, 'what was refused at least')
  t.notMatch(logged.join() + JSON.stringify(ledger.calls('c.1')), new RegExp(`${KEY}|secret of|${ANSWER.slice(0, 5)}`))
})

t.test("a provider's error shows nothing of the key", async (t) => {
  const { provider, socketPath } = await world(t)
  const messages = [
    `Incorrect API key provided: ${KEY}.`,
    'Incorrect key sk-proj-12345678****cdef',
    'AIzaSyD-abcdefgh is bad',
  ]
  for (const message of messages) {
    provider.behave({ status: 401, message })
    for (const [, path, body] of REQUESTS) {
      const { status, text } = await call(socketPath, path, { body })
      t.equal(status, 401)
      t.notMatch(text, /the-key-of|sk-proj|AIza/)
      t.match(text, /\*\*\*/)
    }
  }
})

t.test('an alias is the model that it stands for: outside, in the books, and for the list', async (t) => {
  const gateway = { aliases: { fast: 'fake', constructor: 'x' }, models: ['fast'] }
  const { provider, ledger, socketPath } = await world(t, { gateway, models: ['fake'] })
  for (const [, path, body] of REQUESTS) {
    const asked = 'model' in body ? { ...body, model: 'fast' } : body
    t.match(await call(socketPath, path.replace('models/fake', 'models/fast'), { body: asked }), { status: 200 })
    const heard = provider.heard.at(-1)
    t.match(heard?.body.model ?? heard?.path, /fake/)
    t.notMatch(JSON.stringify(heard), /fast/)
  }
  for (const { model, costMicroUsd } of ledger.calls('c.1'))
    t.match({ model, costMicroUsd }, { model: 'fake', costMicroUsd: 300 })
  const count = { body: { generateContentRequest: { contents: [] } } }
  t.match(await call(socketPath, '/v1beta/models/fast:countTokens', count), { status: 200 })
  t.match(provider.heard.at(-1)?.path, '/v1beta/models/fake:countTokens')
  for (const model of ['toString', 'another'])
    t.match(await call(socketPath, '/v1/messages', { body: { ...MESSAGE, model } }), {
      status: 400,
      text: /not allowed/,
    })
})

t.test('what a provider would do elsewhere is left out or refused, and passes where that is wanted', async (t) => {
  const own = { name: 'Write', input_schema: {} }
  const url = { type: 'url', url: 'https://evil.example/?secret' }
  const image = (source: object) => [
    { role: 'user', content: [{ type: 'tool_result', content: [{ type: 'image', source }] }] },
  ]
  const dropped: [string, object, object][] = [
    [
      '/v1/messages',
      {
        ...MESSAGE,
        tools: [own, { type: 'web_search_20250305', name: 'web_search' }, { type: 'bash_20250124', name: 'bash' }],
      },
      { tools: [own, { type: 'bash_20250124' }] },
    ],
    ['/v1/messages', { ...MESSAGE, mcp_servers: [url], speed: 'fast', service_tier: 'auto' }, {}],
    [
      '/v1/responses',
      {
        model: 'fake',
        tools: [{ type: 'web_search' }, { type: 'function', name: 'f' }, { type: 'mcp', server_url: 'x' }],
        service_tier: 'priority',
      },
      { tools: [{ type: 'function' }] },
    ],
    ['/v1/responses', { model: 'fake', tools: [{ type: 'code_interpreter' }], tool_choice: 'auto' }, {}],
    ['/v1/chat/completions', { model: 'fake', messages: [], web_search_options: {}, service_tier: 'priority' }, {}],
    [
      '/v1beta/models/fake:generateContent',
      { contents: [], tools: [{ googleSearch: {} }, { functionDeclarations: [own], urlContext: {} }] },
      { tools: [{ functionDeclarations: [own] }] },
    ],
  ]
  const refused: [string, object, RegExp][] = [
    [
      '/v1/messages',
      { ...MESSAGE, messages: image(url) },
      /\/messages\/0\/content\/0\/content\/0 must be in the request/,
    ],
    ['/v1/messages', { ...MESSAGE, messages: image({ type: 'file', file_id: 'f' }) }, /must be in the request/],
    ['/v1/messages/count_tokens', { ...MESSAGE, messages: image(url) }, /must be in the request/],
    ['/v1/messages', { ...MESSAGE, container: 'c' }, /\/container refers/],
    ['/v1/responses', { model: 'fake', previous_response_id: 'r' }, /previous_response_id/],
    ['/v1/responses', { model: 'fake', input: [{ type: 'item_reference', id: 'i' }] }, /\/input\/0/],
    [
      '/v1/responses',
      { model: 'fake', input: [{ content: [{ type: 'input_image', image_url: 'https://x/?y' }] }] },
      /\/input\/0\/content\/0/,
    ],
    [
      '/v1/chat/completions',
      { model: 'fake', messages: [{ content: [{ type: 'image_url', image_url: { url: 'HTTP://x' } }] }] },
      /\/messages/,
    ],
    [
      '/v1beta/models/fake:generateContent',
      { contents: [{ parts: [{ fileData: { fileUri: 'https://x' } }] }] },
      /\/contents\/0\/parts\/0/,
    ],
    ['/v1beta/models/fake:generateContent', { cachedContent: 'c' }, /cachedContent/],
  ]
  const { provider, ledger, socketPath } = await world(t)
  for (const [path, body, rest] of dropped) {
    t.match(await call(socketPath, path, { body }), { status: 200 }, path)
    const heard = provider.heard.at(-1)?.body ?? {}
    t.match(heard, rest)
    t.notMatch(
      JSON.stringify(heard),
      /web_search|"mcp|evil|speed|service_tier|code_interpreter|tool_choice|googleSearch|urlContext/,
    )
    t.same((heard.tools as unknown[] | undefined)?.length, (rest as { tools?: unknown[] }).tools?.length)
  }
  const before = provider.heard.length
  for (const [path, body, text] of refused) t.match(await call(socketPath, path, { body }), { status: 400, text }, path)
  t.equal(provider.heard.length, before)
  t.equal(ledger.calls('c.1').length, dropped.length)
  const inside = image({ type: 'base64', media_type: 'image/png', data: 'AAAA' })
  t.match(await call(socketPath, '/v1/messages', { body: { ...MESSAGE, messages: inside } }), { status: 200 })

  const open = await world(t, { gateway: { isOpen: true } })
  for (const [path, body] of [...dropped, ...refused])
    t.match(await call(open.socketPath, path, { body }), { status: 200 })
  t.match(JSON.stringify(open.provider.heard), /web_search_20250305.*evil/)
})

t.test('what is under way makes others wait, not fail, where there is enough for all', async (t) => {
  // Each may come to 20000 and more, and comes to 300.
  const { provider, ledger, socketPath } = await world(t, { limits: [limit('microUsd', 25_000)] })
  provider.behave({ pauseMs: 3 })
  const body = { ...STREAM, max_tokens: 2000 }
  const answers = await Promise.all(Array.from({ length: 6 }, () => call(socketPath, '/v1/messages', { body })))
  t.same(
    answers.map(({ status }) => status),
    Array(6).fill(200),
  )
  t.same(
    provider.heard.map(({ body }) => body.max_tokens),
    Array(6).fill(2000),
    'with all that they asked for',
  )
  t.same(ledger.used({ scope: 'command', id: 'c' }, 'microUsd'), { spent: 1800, reserved: 0 })
  t.same(ledger.refusals('c.1'), [])
})

t.test('one that waits for room and goes away leaves nothing', async (t) => {
  const { provider, ledger, socketPath } = await world(t, { limits: [limit('requests', 1)] })
  provider.behave({ pauseMs: 60 })
  const first = call(socketPath, '/v1/messages', { body: STREAM })
  while (provider.heard.length === 0) await new Promise(setImmediate)
  const second = ask({ socketPath, path: '/v1/messages', method: 'POST' })
  const ended = new Promise((resolve) => second.once('error', resolve))
  second.end(JSON.stringify(STREAM), () => setTimeout(() => second.destroy(), 50))
  await ended
  t.match(await first, { status: 200 })
  t.equal(ledger.calls('c.1').length, 1)
  t.same(ledger.refusals('c.1'), [])
  t.match(await call(socketPath, '/v1/messages', { body: STREAM }), { status: 402 })
  t.same(ledger.refusals('c.1'), [{ unit: 'requests', scope: 'command', count: 1 }])
})

t.test('a list of Gemini that is no stream of events is metered too', async (t) => {
  const usageMetadata = { promptTokenCount: 700, candidatesTokenCount: 30 }
  const parts = [
    { candidates: [{}], usageMetadata: { promptTokenCount: 700 } },
    { candidates: [{ finishReason: 'STOP' }], usageMetadata },
  ]
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(parts))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  const { ledger, socketPath } = await world(t, {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  })
  await call(socketPath, '/v1beta/models/fake:streamGenerateContent', { body: { contents: [] } })
  t.match(ledger.calls('c.1'), [{ state: 'settled', usage: { inputTokens: 700, outputTokens: 30 } }])
})

t.test('where less than a token a byte is reserved, one call alone can come to more', async (t) => {
  const gateway = { inputBytesPerToken: 3 }
  const { provider, ledger, socketPath } = await world(t, { limits: [limit('microUsd', 20_000)], gateway })
  const dense = (turn: number) => ({
    ...MESSAGE,
    max_tokens: 1024,
    messages: Array.from({ length: turn }, () => ({ role: 'user', content: '7'.repeat(1500) })),
  })
  let statuses = ''
  for (let turn = 1; turn <= 9; turn++) {
    provider.behave({ told: { input: 1500 * turn, cacheRead: 0, cacheWrite: 0, output: 1, thoughts: 0 } })
    statuses += (await call(socketPath, '/v1/messages', { body: dense(turn) })).status
  }
  t.match(statuses, /^(200)+(402)+$/)
  const { spent } = ledger.used({ scope: 'command', id: 'c' }, 'microUsd')
  t.ok(spent <= 20_000, `${spent}`)
  for (const { reserved, costMicroUsd } of ledger.calls('c.1').slice(1))
    t.ok((costMicroUsd ?? 0) <= reserved.microUsd, 'no call but the first came to more than was reserved')
})

t.test('no call comes to more than was reserved, also where every byte is a token', async (t) => {
  const { provider, ledger, socketPath } = await world(t, { limits: [limit('microUsd', 40_000)] })
  let statuses = ''
  for (let turn = 1; turn <= 9; turn++) {
    const content = `${turn}`.repeat(6000)
    provider.behave({ told: { input: content.length, cacheRead: 0, cacheWrite: 0, output: 1024, thoughts: 0 } })
    const body = { ...MESSAGE, max_tokens: 1024, messages: [{ role: 'user', content }] }
    statuses += (await call(socketPath, '/v1/messages', { body })).status
  }
  t.match(statuses, /^(200)+(402)+$/)
  t.ok(ledger.used({ scope: 'command', id: 'c' }, 'microUsd').spent <= 40_000)
  for (const { reserved, costMicroUsd } of ledger.calls('c.1')) t.ok((costMicroUsd ?? 0) <= reserved.microUsd)
})

t.test('one sandbox cannot make the gateway hold whatever it likes', async (t) => {
  const { provider, socketPath } = await world(t)
  const open = Array.from({ length: 4 }, () => {
    const outgoing = ask({ socketPath, path: '/v1/messages', method: 'POST' })
    const status = once(outgoing, 'response').then(([response]) => {
      response.resume()
      return response.statusCode as number
    })
    outgoing.on('error', () => {})
    outgoing.write(Buffer.alloc(30 * 2 ** 20, ' '))
    return { outgoing, status }
  })
  t.equal(await Promise.race(open.map(({ status }) => status)), 529, 'the last one is too much')
  for (const { outgoing } of open) outgoing.destroy()
  await Promise.allSettled(open.map(({ status }) => status))
  while ((await call(socketPath, '/v1/messages', { body: MESSAGE })).status !== 200) await new Promise(setImmediate)
  t.equal(provider.heard.length, 1)
})

t.test('what nothing limits is asked for as it was, and what is limited has a limit in every format', async (t) => {
  const unbounded = REQUESTS.map(
    ([, path, { max_tokens: _, ...body }]: readonly [string, string, { max_tokens?: number }]) => [path, body] as const,
  )
  const LIMIT = /max_tokens|max_output_tokens|max_completion_tokens|maxOutputTokens/
  const free = await world(t, { limits: [limit('requests', 100)] })
  for (const [path, body] of unbounded) t.match(await call(free.socketPath, path, { body }), { status: 200 })
  for (const { body } of free.provider.heard) t.notMatch(JSON.stringify(body), LIMIT)
  const limited = await world(t, { limits: [limit('tokens', 1e6)] })
  for (const [path, body] of unbounded) t.match(await call(limited.socketPath, path, { body }), { status: 200 })
  for (const { body } of limited.provider.heard) t.match(JSON.stringify(body), LIMIT)
})
