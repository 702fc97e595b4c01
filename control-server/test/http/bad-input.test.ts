/**
 * What nobody should send. The numbers are those of our list of hostile inputs. After each case the server is well, has
 * the commands it had before (or one more where the input is odd but right), and an error has the one shape.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { ApiErrorCode } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { isApiError, raw, type Server, startServer } from './harness.ts'

const DELAY = { type: 'DELAY', payload: { ms: 1 } }
const HTTP = { type: 'HTTP_GET_JSON', payload: { url: 'http://example.com/' } }
const deep = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`

/** The server is well and holds as many commands as are expected. */
const isWell = async (t: Test, server: Server, count: number) => {
  t.equal((await server.call('GET', '/health')).status, 200, 'healthy')
  t.equal(await server.countCommands(), count, 'as many commands as expected')
}

type Input = {
  body: unknown
  headers?: Record<string, string>
  /** None: it is accepted. */
  code?: ApiErrorCode
  /** Each must be the path of a detail. */
  paths?: string[]
}

t.test('bodies of a submission', async (t) => {
  const server = await startServer(t)
  const withPayload = (text: string) => `{"type":"DELAY","payload":${text}}`
  const withMetadata = (text: string) => `{"type":"DELAY","payload":{"ms":1},"metadata":${text}}`
  const type = (contentType: string) => ({ headers: { 'content-type': contentType } })
  const inputs: Record<string, Input> = {
    '1: broken': { body: '{', code: 'MALFORMED_JSON' },
    '1: with a comment': { body: '{"type":"DELAY" /* */}', code: 'MALFORMED_JSON' },
    '1: bytes that are not UTF-8': { body: Buffer.from([0x22, 0xff, 0xfe, 0x22]), code: 'MALFORMED_JSON' },
    '2: empty': { body: '', ...type('application/json'), code: 'INVALID_REQUEST' },
    '3: null': { body: 'null', code: 'INVALID_REQUEST' },
    '4: an array': { body: '[]', code: 'INVALID_REQUEST' },
    '4: an array of submissions': { body: [DELAY], code: 'INVALID_REQUEST' },
    '5: a string': { body: '"str"', code: 'INVALID_REQUEST' },
    '5: a number': { body: '1', code: 'INVALID_REQUEST' },
    '5: true': { body: 'true', code: 'INVALID_REQUEST' },
    '6: __proto__': { body: withPayload('{"ms":1,"__proto__":{"admin":true}}'), code: 'MALFORMED_JSON' },
    '6: __proto__, written otherwise': { body: withPayload('{"ms":1,"\\u005f_proto__":1}'), code: 'MALFORMED_JSON' },
    '7: constructor.prototype': {
      body: withPayload('{"ms":1,"constructor":{"prototype":{"admin":true}}}'),
      code: 'MALFORMED_JSON',
    },
    '7: constructor': { body: withPayload('{"ms":1,"constructor":1}'), code: 'INVALID_REQUEST' },
    '8: a key twice, the last wins': {
      body: '{"type":"DELAY","type":"RUN_AGENT","payload":{"ms":1}}',
      code: 'INVALID_REQUEST',
    },
    '8: a key twice, the last is right': { body: '{"type":"FOO","type":"DELAY","payload":{"ms":1}}' },
    '9: an unknown field': { body: { ...DELAY, prioritty: 1 }, code: 'INVALID_REQUEST', paths: ['/prioritty'] },
    '10: an unknown field in the payload': {
      body: withPayload('{"ms":1,"seconds":1}'),
      code: 'INVALID_REQUEST',
      paths: ['/payload/seconds'],
    },
    '10: unknown fields at every level': {
      body: { ...HTTP, payload: { url: 'http://a/', a: 1 }, b: 1, retry: { maxAttempts: 2, c: 1, backoff: { d: 1 } } },
      code: 'INVALID_REQUEST',
      paths: ['/payload/a', '/b', '/retry/c', '/retry/backoff/d'],
    },
    '11: type in lower case': { body: { ...DELAY, type: 'delay' }, code: 'INVALID_REQUEST', paths: ['/type'] },
    '11: type as array': { body: { ...DELAY, type: ['DELAY'] }, code: 'INVALID_REQUEST', paths: ['/type'] },
    '11: type as object': { body: { ...DELAY, type: {} }, code: 'INVALID_REQUEST', paths: ['/type'] },
    '11: type of every object': { body: { ...DELAY, type: 'constructor' }, code: 'INVALID_REQUEST', paths: ['/type'] },
    '11: no type': { body: { payload: { ms: 1 } }, code: 'INVALID_REQUEST', paths: ['/type'] },
    '12: no payload': { body: { type: 'DELAY' }, code: 'INVALID_REQUEST', paths: ['/payload'] },
    '12: payload null': { body: { type: 'DELAY', payload: null }, code: 'INVALID_REQUEST', paths: ['/payload'] },
    '12: payload of the other type': {
      body: { ...HTTP, type: 'DELAY' },
      code: 'INVALID_REQUEST',
      paths: ['/payload/ms'],
    },
    ...Object.fromEntries(
      ['-1', '1.5', '1e999', '9007199254740993', '86400001', '"5"', 'true', 'null', '[]', '{}', '-0.1', '1e-9'].map(
        (ms) => [
          `13: ms ${ms}`,
          { body: withPayload(`{"ms":${ms}}`), code: 'INVALID_REQUEST', paths: ['/payload/ms'] } as Input,
        ],
      ),
    ),
    ...Object.fromEntries(
      ['NaN', 'Infinity', '+1', '01', '0x1', '.5', '1.', '--1', '1e'].map((ms) => [
        `13: ms ${ms}`,
        { body: withPayload(`{"ms":${ms}}`), code: 'MALFORMED_JSON' } as Input,
      ]),
    ),
    ...Object.fromEntries(
      (
        [
          ['no engine', { prompt: 'x' }, '/payload/engine'],
          ['an engine that is none', { engine: 'cobol', prompt: 'x' }, '/payload/engine'],
          ['no prompt', { engine: 'shell' }, '/payload/prompt'],
          ['an empty prompt', { engine: 'shell', prompt: '' }, '/payload/prompt'],
          ['a prompt too long', { engine: 'shell', prompt: 'x'.repeat(262_145) }, '/payload/prompt'],
          ['a prompt with NUL', { engine: 'shell', prompt: 'a\0b' }, '/payload/prompt'],
          ['an image that is an option', { engine: 'shell', prompt: 'x', image: '--privileged' }, '/payload/image'],
          ['a name with =', { engine: 'shell', prompt: 'x', env: { 'A=B': 'c' } }, '/payload/env/A=B'],
          [
            'a path above',
            { engine: 'shell', prompt: 'x', files: [{ path: '../a', content: '' }] },
            '/payload/files/0/path',
          ],
          [
            'a mode with s',
            { engine: 'shell', prompt: 'x', files: [{ path: 'a', content: '', mode: '4755' }] },
            '/payload/files/0/mode',
          ],
          [
            'no memory',
            { engine: 'shell', prompt: 'x', resources: { memoryBytes: 0 } },
            '/payload/resources/memoryBytes',
          ],
          ['artifacts elsewhere', { engine: 'shell', prompt: 'x', artifacts: ['/etc/passwd'] }, '/payload/artifacts/0'],
        ] as const
      ).map(([what, payload, path]): [string, Input] => [
        `13: RUN_AGENT with ${what}`,
        { body: { type: 'RUN_AGENT', payload }, code: 'INVALID_REQUEST', paths: [path] },
      ]),
    ),
    '14: ms -0': { body: withPayload('{"ms":-0}') },
    '14: ms 1e2': { body: withPayload('{"ms":1e2}') },
    '15: nested 5,000 deep': { body: withMetadata(deep(5000)), code: 'MALFORMED_JSON' },
    '15: nested 500,000 deep': { body: deep(500_000), code: 'MALFORMED_JSON' },
    '15: nested 33 deep': { body: withMetadata(deep(33)), code: 'MALFORMED_JSON' },
    '16: 100,000 keys in the payload': {
      body: withPayload(`{${Array.from({ length: 100_000 }, (_, i) => `"${i.toString(36)}":1`)}}`),
      code: 'MALFORMED_JSON',
    },
    '16: 90,000 unknown keys': {
      body: `{"type":"DELAY","payload":{"ms":1},${Array.from({ length: 90_000 }, (_, i) => `"k${i.toString(36)}":1`)}}`,
      code: 'INVALID_REQUEST',
    },
    '16: a string just below the limit': {
      body: withMetadata(`{"a":"${'a'.repeat(1_048_400)}"}`),
      code: 'INVALID_REQUEST',
      paths: ['/metadata/a'],
    },
    '16: a key just below the limit': { body: withPayload(`{"${'a'.repeat(1_048_000)}":1}`), code: 'INVALID_REQUEST' },
    '16: a fault below such a key': {
      body: withPayload(`{"${'a'.repeat(1_048_000)}":"\\ud800"}`),
      code: 'MALFORMED_JSON',
    },
    '16: a string above the limit': { body: withMetadata(`{"a":"${'a'.repeat(1_048_576)}"}`), code: 'BODY_TOO_LARGE' },
    '17: a lone surrogate': { body: withMetadata('{"a":"\\ud800"}'), code: 'MALFORMED_JSON', paths: ['/metadata/a'] },
    '17: a lone surrogate in a key': {
      body: withMetadata('{"\\udc00":1}'),
      code: 'MALFORMED_JSON',
      paths: ['/metadata'],
    },
    '18: NUL in a URL': {
      body: { ...HTTP, payload: { url: 'http://a\0b/' } },
      code: 'INVALID_REQUEST',
      paths: ['/payload/url'],
    },
    '18: NUL in a header': {
      body: { ...HTTP, payload: { url: 'http://a/', headers: { a: '\0' } } },
      code: 'INVALID_REQUEST',
      paths: ['/payload/headers/a'],
    },
    '18: a line break in a header': {
      body: { ...HTTP, payload: { url: 'http://a/', headers: { a: 'b\r\nHost: evil' } } },
      code: 'INVALID_REQUEST',
      paths: ['/payload/headers/a'],
    },
    '18: NUL in a label': { body: { ...DELAY, labels: ['a\0'] }, code: 'INVALID_REQUEST', paths: ['/labels/0'] },
    '18: a line break after a good id': {
      body: { ...DELAY, agentId: 'a\n' },
      code: 'INVALID_REQUEST',
      paths: ['/agentId'],
    },
    '20: a byte order mark': { body: `\ufeff${JSON.stringify(DELAY)}` },
    '21: UTF-8, named': { body: JSON.stringify(DELAY), ...type('application/json; charset="UTF-8"') },
    '22: UTF-16': {
      body: Buffer.from(JSON.stringify(DELAY), 'utf16le'),
      ...type('application/json; charset=utf-16'),
      code: 'UNSUPPORTED_MEDIA_TYPE',
    },
    '22: Latin 1': {
      body: JSON.stringify(DELAY),
      ...type('application/json;charset=iso-8859-1'),
      code: 'UNSUPPORTED_MEDIA_TYPE',
    },
    ...Object.fromEntries(
      [
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
        'application/xml',
        'application/json-seq',
        'application/jsonx',
        'text/json',
        'nonsense',
        '*/*',
        'application/json, text/plain',
        '',
      ].map((contentType) => [
        `23–25: content type "${contentType}"`,
        { body: JSON.stringify(DELAY), ...type(contentType), code: 'UNSUPPORTED_MEDIA_TYPE' } as Input,
      ]),
    ),
    '26: gzip': {
      body: gzipSync(Buffer.alloc(50_000_000, ' ')),
      headers: { 'content-encoding': 'gzip' },
      code: 'UNSUPPORTED_MEDIA_TYPE',
    },
    'a date that does not exist': {
      body: { ...DELAY, notBefore: '2030-02-30T00:00:00Z' },
      code: 'INVALID_REQUEST',
      paths: ['/notBefore'],
    },
    'a leap second, with a key': {
      body: { ...DELAY, expiresAt: '2030-12-31T23:59:60Z' },
      headers: { 'idempotency-key': 'leap' },
      code: 'INVALID_REQUEST',
      paths: ['/expiresAt'],
    },
    'a deadline in the past': {
      body: { ...DELAY, expiresAt: '2020-01-01T00:00:00Z' },
      code: 'INVALID_REQUEST',
      paths: ['/expiresAt'],
    },
    'a deadline before the start, with a key': {
      body: { ...DELAY, expiresAt: '2100-01-01T00:00:00Z', notBefore: '2100-01-02T00:00:00Z' },
      headers: { 'idempotency-key': 'order' },
      code: 'INVALID_REQUEST',
      paths: ['/expiresAt'],
    },
    'a date without a time zone': {
      body: { ...DELAY, expiresAt: '2100-01-01T00:00:00' },
      code: 'INVALID_REQUEST',
      paths: ['/expiresAt'],
    },
    'takeover without another attempt': {
      body: { ...DELAY, takeover: 'auto' },
      code: 'INVALID_REQUEST',
      paths: ['/takeover'],
    },
    'a backoff that shrinks': {
      body: { ...DELAY, retry: { maxAttempts: 2, backoff: { initialMs: 5000, maxMs: 1 } } },
      code: 'INVALID_REQUEST',
      paths: ['/retry/backoff/maxMs'],
    },
    'a label twice': { body: { ...DELAY, labels: ['a', 'a'] }, code: 'INVALID_REQUEST', paths: ['/labels'] },
    'metadata in metadata': {
      body: { ...DELAY, metadata: { a: { b: 1 } } },
      code: 'INVALID_REQUEST',
      paths: ['/metadata/a'],
    },
    ...Object.fromEntries(
      [
        'file:///etc/passwd',
        'ftp://a/',
        'http:',
        'http://',
        'http:///',
        'http://a:99999/',
        'http://u:p@a/',
        'javascript:1',
        '//a/',
        'a',
        'http://a b/',
      ].map((url) => [
        `71: URL ${url}`,
        { body: { ...HTTP, payload: { url } }, code: 'INVALID_REQUEST', paths: ['/payload/url'] } as Input,
      ]),
    ),
    'a header of the connection': {
      body: {
        ...HTTP,
        payload: { url: 'http://a/', headers: { 'Transfer-Encoding': 'chunked', 'Proxy-Authorization': 'x' } },
      },
      code: 'INVALID_REQUEST',
      paths: ['/payload/headers/Transfer-Encoding', '/payload/headers/Proxy-Authorization'],
    },
  }

  let count = 0
  for (const [name, { body, headers, code, paths }] of Object.entries(inputs))
    await t.test(name, async (t) => {
      const startedMs = performance.now()
      const answer = await server.call('POST', '/commands', body, { 'content-type': 'application/json', ...headers })
      t.ok(performance.now() - startedMs < 3000, 'answered soon')
      if (code === undefined) {
        t.equal(answer.status, 201, answer.text)
        count += 1
      } else {
        const { details } = isApiError(t, answer, code)
        for (const path of paths ?? [])
          t.ok(
            details?.some((detail) => detail.path === path),
            `${path} in ${JSON.stringify(details)}`,
          )
      }
      await isWell(t, server, count)
    })
  t.notMatch((await server.call('GET', '/commands?fields=payload')).text, ':-0', 'no negative zero')
})

t.test('19: text of any kind comes back as it was sent, byte by byte', async (t) => {
  const server = await startServer(t)
  const metadata = {
    rtl: 'a\u202eb',
    'zero-width': 'a\u200b\ufeffb',
    emoji: '👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿',
    combining: 'a'.concat('\u0301'.repeat(1000)),
    nul: 'a\0b',
    controls: '\u0001\u001b[31m\u007f\u0085\u2028\u2029',
    'html/js': '<script>alert(1)</script>{{constructor}}$(reboot)',
    sql: `'; DROP TABLE commands; --`,
    number: -1.5e-7,
    yes: true,
    noncharacter: '\uffff\ufffe',
  }
  const url = 'http://example.com/%00%zz?q=ü&emoji=👍#x'
  const answer = await server.call('POST', '/commands', {
    type: 'HTTP_GET_JSON',
    payload: { url, headers: { A: 'b\tc ~' } },
    metadata,
  })
  t.match(answer, { status: 201 })
  const { commandId } = answer.body as { commandId: string }
  const record = await server.record(commandId)
  t.strictSame(record.metadata, metadata)
  t.strictSame(record.payload, { url, headers: { A: 'b\tc ~' } })
  const [listed] = (await server.call('GET', '/commands?fields=metadata,payload')).body as object[]
  t.strictSame(listed, { payload: record.payload, metadata })
})

t.test('46–50: paths and parameters', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit()
  const inputs: [method: string, path: string, code: ApiErrorCode | ApiErrorCode[]][] = [
    ['GET', '/', 'NOT_FOUND'],
    ['GET', '/nope', 'NOT_FOUND'],
    ['GET', '/commands/', 'INVALID_REQUEST'],
    ['GET', '/Commands', 'NOT_FOUND'],
    ['GET', `/commands/${'a'.repeat(101)}`, 'INVALID_REQUEST'],
    ['GET', `/commands/${'a'.repeat(10_000)}`, 'URI_TOO_LONG'],
    ['GET', '/commands/.hidden', 'INVALID_REQUEST'],
    ['GET', '/commands/a%20b', 'INVALID_REQUEST'],
    ['GET', '/commands/a%00', 'INVALID_REQUEST'],
    ['GET', '/commands/a%0a', 'INVALID_REQUEST'],
    ['GET', '/commands/%F0%9F%91%8D', 'INVALID_REQUEST'],
    ['GET', '/commands/__proto__', 'INVALID_REQUEST'],
    ['GET', '/commands/constructor', 'COMMAND_NOT_FOUND'],
    ['GET', '/commands/00000000-0000-7000-8000-000000000000', 'COMMAND_NOT_FOUND'],
    ['GET', '/commands/nope/events', 'COMMAND_NOT_FOUND'],
    ['DELETE', '/commands/nope', 'COMMAND_NOT_FOUND'],
    ['POST', '/commands/nope/cancel', 'COMMAND_NOT_FOUND'],
    ['GET', `/commands/${commandId}?fields=nope`, 'INVALID_REQUEST'],
    ['GET', `/commands/${commandId}?x=1`, 'INVALID_REQUEST'],
    ['GET', '/commands?limit=0', 'INVALID_REQUEST'],
    ['GET', '/commands?limit=-1', 'INVALID_REQUEST'],
    ['GET', '/commands?limit=1e9', 'INVALID_REQUEST'],
    ['GET', '/commands?limit=1001', 'INVALID_REQUEST'],
    ['GET', '/commands?limit=1.5', 'INVALID_REQUEST'],
    ['GET', '/commands?limit=abc', 'INVALID_REQUEST'],
    ['GET', '/commands?limit=', 'INVALID_REQUEST'],
    ['GET', '/commands?limit=1&limit=2', 'INVALID_REQUEST'],
    ['GET', '/commands?limit[]=1', 'INVALID_REQUEST'],
    ['GET', '/commands?cursor=%00', 'INVALID_REQUEST'],
    ['GET', '/commands?cursor=nope!', 'INVALID_REQUEST'],
    ['GET', '/commands?cursor=____', 'INVALID_REQUEST'],
    ['GET', '/commands?cursor=', 'INVALID_REQUEST'],
    ['GET', `/commands?cursor=${'a'.repeat(201)}`, 'INVALID_REQUEST'],
    ['GET', '/commands?status=pending', 'INVALID_REQUEST'],
    ['GET', '/commands?status=PENDING,,RUNNING', 'INVALID_REQUEST'],
    ['GET', '/commands?type=NOTHING', 'INVALID_REQUEST'],
    ['GET', '/commands?agentId=a%2Fb', 'INVALID_REQUEST'],
    ['GET', '/commands?label=%00', 'INVALID_REQUEST'],
    ['GET', '/commands?createdFrom=yesterday', 'INVALID_REQUEST'],
    ['GET', '/commands?createdTo=2026-12-31T23:59:60Z', 'INVALID_REQUEST'],
    ['GET', '/commands?text=', 'INVALID_REQUEST'],
    ['GET', '/commands?text=a%00b', 'INVALID_REQUEST'],
    ['GET', `/commands?text=${'a'.repeat(201)}`, 'INVALID_REQUEST'],
    ['GET', '/commands?order=asc', 'INVALID_REQUEST'],
    ['GET', '/commands?__proto__=1', 'INVALID_REQUEST'],
    ['GET', '/commands?fields=commandId,nope', 'INVALID_REQUEST'],
    ['GET', '/commands/next', 'INVALID_REQUEST'],
    ['GET', '/commands/next?agentId=', 'INVALID_REQUEST'],
    ['GET', '/commands/next?agentId=a&agentId=b', 'INVALID_REQUEST'],
    ['GET', '/commands/next?agentId=a%20b', 'INVALID_REQUEST'],
    ['GET', `/commands/next?agentId=${'a'.repeat(101)}`, 'INVALID_REQUEST'],
    ['GET', '/commands/next?agentId=a&x=1', 'INVALID_REQUEST'],
    ['GET', '/agents/a/wait?timeoutMs=-1', 'INVALID_REQUEST'],
    ['GET', '/agents/a/wait?timeoutMs=x', 'INVALID_REQUEST'],
    ['GET', '/agents/a/wait?rev=-1', 'INVALID_REQUEST'],
    ['GET', '/agents/a%2f..%2fb/wait', 'INVALID_REQUEST'],
  ]
  for (const [method, path, code] of inputs)
    await t.test(`${method} ${path.slice(0, 60)}`, async (t) => {
      isApiError(t, await server.call(method, path), code)
      await isWell(t, server, 1)
    })

  // fetch would tidy these up before sending them.
  const targets: [target: string, statuses: number[]][] = [
    ['/commands/../../etc/passwd', [404]],
    ['/commands/..%2f..%2fetc%2fpasswd', [400]],
    ['/%2e%2e/%2e%2e/etc/passwd', [404]],
    ['//etc/passwd', [404]],
    ['/..\\..\\etc\\passwd', [400, 404]],
    ['/commands/%zz', [400]],
    ['/%00', [400, 404]],
    ['/commands/%00', [400]],
    ['/commands/%c0%ae', [400]],
    ['/commands?text=%zz', [200]],
    ['/commands;x=1', [404]],
    ['/commands#x', [400, 404]],
    ['http://evil.example/health', [400]],
    ['http://127.0.0.1/commands', [400]],
    ['*', [400]],
    ['evil.example:80', [400]],
    [`/commands/${'%'.repeat(5000)}`, [400]],
    [`/${'a/'.repeat(5000)}`, [404]],
  ]
  for (const [target, statuses] of targets)
    await t.test(`target ${target.slice(0, 60)}`, async (t) => {
      const answer = await raw(server.port, `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      t.ok(statuses.includes(answer.status), `${answer.status} is one of ${statuses}`)
      if (answer.status !== 200)
        isApiError(t, answer, ['NOT_FOUND', 'MALFORMED_REQUEST', 'INVALID_REQUEST', 'COMMAND_NOT_FOUND'])
      t.ok(answer.closed)
      await isWell(t, server, 1)
    })
})

t.test('52, 53: a method that a route does not have is 405 and Allow names those it has', async (t) => {
  const server = await startServer(t)
  const { commandId } = await server.submit()
  const inputs: [method: string, path: string, allow: string][] = [
    ['PUT', '/commands', 'GET, HEAD, POST'],
    ['DELETE', '/commands', 'GET, HEAD, POST'],
    ['PATCH', '/commands', 'GET, HEAD, POST'],
    ['OPTIONS', '/commands', 'GET, HEAD, POST'],
    ['POST', `/commands/${commandId}`, 'DELETE, GET, HEAD'],
    ['PATCH', `/commands/${commandId}`, 'DELETE, GET, HEAD'],
    ['PUT', `/commands/${commandId}`, 'DELETE, GET, HEAD'],
    ['GET', `/commands/${commandId}/result`, 'PUT'],
    ['POST', `/commands/${commandId}/result`, 'PUT'],
    ['DELETE', `/commands/${commandId}/result`, 'PUT'],
    ['GET', `/commands/${commandId}/cancel`, 'POST'],
    ['POST', `/commands/${commandId}/events`, 'GET, HEAD'],
    ['PUT', '/health', 'GET, HEAD'],
    ['DELETE', '/agents', 'GET, HEAD'],
    ['GET', '/agents/register', 'POST'],
    ['GET', '/agents/a/sync', 'POST'],
    ['POST', '/agents/a/wait', 'GET'],
    ['POST', '/commands/next', 'GET'],
    ['PUT', '/commands/next', 'GET'],
  ]
  for (const [method, path, allow] of inputs)
    await t.test(`${method} ${path}`, async (t) => {
      const answer = await server.call(method, path, method === 'GET' ? undefined : {})
      isApiError(t, answer, 'METHOD_NOT_ALLOWED')
      t.equal(answer.headers.get('allow'), allow)
      await isWell(t, server, 1)
    })
  for (const [path, allow] of [
    ['/commands/next?agentId=a', 'GET'],
    ['/agents/a/wait', 'GET'],
    [`/commands/${commandId}/result`, 'PUT'],
  ] as const) {
    const answer = await server.call('HEAD', path)
    t.match(answer, { status: 405, text: '' }, `HEAD ${path}`)
    t.equal(answer.headers.get('allow'), allow)
  }
  t.equal((await server.call('HEAD', `/commands/${commandId}`)).status, 200)
  for (const method of ['TRACE', 'PROPFIND', 'MKCOL', 'LOCK', 'PURGE']) {
    const answer = await raw(
      server.port,
      `${method} /commands HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
    )
    isApiError(t, answer, 'METHOD_NOT_ALLOWED')
    t.match(answer, { headers: /allow: get, head, post/, closed: true })
  }
  const connected = await raw(server.port, 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n')
  isApiError(t, connected, 'METHOD_NOT_ALLOWED')
  t.match(connected, { headers: /allow: /, closed: true })
  t.equal((await server.record(commandId)).status, 'PENDING')
  await isWell(t, server, 1)
})

t.test('28–44, 55, 56: bytes that are not proper HTTP are answered and the connection is closed', async (t) => {
  const server = await startServer(t, { arrival: { headersMs: 600, requestMs: 900, checkMs: 50 } })
  const post = (headers: string, body = '') => `POST /commands HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n\r\n${body}`
  const json = JSON.stringify(DELAY)
  const type = 'Content-Type: application/json'
  const chunked = (chunk: string, count: number) =>
    `${`${chunk.length.toString(16)}\r\n${chunk}\r\n`.repeat(count)}0\r\n\r\n`
  type Case = [
    name: string,
    parts: string | Uint8Array | Iterable<string | Uint8Array>,
    code: ApiErrorCode | ApiErrorCode[],
    pauseMs?: number,
  ]
  const cases: Case[] = [
    ['no HTTP', 'hello\r\n\r\n', 'MALFORMED_REQUEST'],
    ['HTTP/3.7', 'GET / HTTP/3.7\r\nHost: a\r\n\r\n', 'MALFORMED_REQUEST'],
    ['HTTP/0.9', 'GET /health\r\n\r\n', 'MALFORMED_REQUEST'],
    ['52: FOO', 'FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n', 'MALFORMED_REQUEST'],
    ['zeros', Buffer.alloc(1000), 'MALFORMED_REQUEST'],
    ['NUL in a header', 'GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n', 'MALFORMED_REQUEST'],
    ['a space before the colon', 'GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n', 'MALFORMED_REQUEST'],
    [
      'a folded header',
      'GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b: c\r\nConnection: close\r\n\r\n',
      'MALFORMED_REQUEST',
    ],
    [
      '28: chunked 2 MiB',
      [post(`${type}\r\nTransfer-Encoding: chunked`), chunked('a'.repeat(65_536), 32)],
      'BODY_TOO_LARGE',
    ],
    ['28: Content-Length 2 MiB', [post(`${type}\r\nContent-Length: 2097152`), 'a'.repeat(2_097_152)], 'BODY_TOO_LARGE'],
    ['28: Content-Length of exabytes', post(`${type}\r\nContent-Length: 999999999999999999`), 'BODY_TOO_LARGE'],
    [
      '28: Content-Length beyond all numbers',
      post(`${type}\r\nContent-Length: ${'9'.repeat(30)}`),
      'MALFORMED_REQUEST',
    ],
    [
      '29: chunk extensions of 64 KB',
      post(`${type}\r\nTransfer-Encoding: chunked`, `1;${'a'.repeat(65_536)}\r\n{\r\n0\r\n\r\n`),
      'BODY_TOO_LARGE',
    ],
    [
      '29: a bad chunk size',
      post(`${type}\r\nTransfer-Encoding: chunked`, 'zz\r\n{\r\n0\r\n\r\n'),
      'MALFORMED_REQUEST',
    ],
    [
      '29: a negative chunk size',
      post(`${type}\r\nTransfer-Encoding: chunked`, '-1\r\n{\r\n0\r\n\r\n'),
      'MALFORMED_REQUEST',
    ],
    [
      '31: slow headers',
      ['GET /health HTTP/1.1\r\n', ...Array.from({ length: 40 }, (_, i) => `X-${i}: a\r\n`)],
      'REQUEST_TIMEOUT',
      100,
    ],
    ['31: a slow body', [post(`${type}\r\nContent-Length: ${json.length}`), ...json], 'REQUEST_TIMEOUT', 100],
    ['31: a body that stops', post(`${type}\r\nContent-Length: 1000`, json), 'REQUEST_TIMEOUT'],
    ['32: nothing at all', '', 'REQUEST_TIMEOUT'],
    [
      '34: Transfer-Encoding and Content-Length',
      post(`${type}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4`, `0\r\n\r\n`),
      'MALFORMED_REQUEST',
    ],
    [
      '34: an unknown Transfer-Encoding',
      post(`${type}\r\nTransfer-Encoding: chunked, identity`, `0\r\n\r\n`),
      'MALFORMED_REQUEST',
    ],
    ['35: two Content-Length', post(`${type}\r\nContent-Length: 4\r\nContent-Length: 5`, 'true'), 'MALFORMED_REQUEST'],
    ['36: Content-Length -1', post(`${type}\r\nContent-Length: -1`), 'MALFORMED_REQUEST'],
    ['36: Content-Length +4', post(`${type}\r\nContent-Length: +4`, 'true'), 'MALFORMED_REQUEST'],
    ['37: line feeds alone', 'GET /health HTTP/1.1\nHost: localhost\nConnection: close\n\n', 'MALFORMED_REQUEST'],
    ['37: a carriage return alone', 'GET /health HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n', 'MALFORMED_REQUEST'],
    ['38: no Host', 'GET /health HTTP/1.1\r\nConnection: close\r\n\r\n', 'MALFORMED_REQUEST'],
    [
      '39: two Hosts',
      'GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
      'MALFORMED_REQUEST',
    ],
    [
      '41: absolute form',
      'GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
      'MALFORMED_REQUEST',
    ],
    ['43: HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u0004\0\0\0\0\0', 'MALFORMED_REQUEST'],
    ['43: TLS', Buffer.from('16030100f8010000f40303', 'hex'), 'MALFORMED_REQUEST'],
    [
      '44: a header of 20 KB',
      `GET /health HTTP/1.1\r\nHost: localhost\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`,
      'HEADERS_TOO_LARGE',
    ],
    [
      '44: 3,000 headers',
      `GET /health HTTP/1.1\r\nHost: localhost\r\n${Array.from({ length: 3000 }, (_, i) => `X${i}: a\r\n`).join('')}\r\n`,
      'HEADERS_TOO_LARGE',
    ],
    [
      '44: a URL of 20 KB',
      `GET /commands?text=${'a'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      ['HEADERS_TOO_LARGE', 'URI_TOO_LONG'],
    ],
    [
      '45: a URL of 12 KB',
      `GET /commands/${'a'.repeat(12_000)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      'URI_TOO_LONG',
    ],
    [
      '55: Expect: banana',
      post(`${type}\r\nExpect: banana\r\nContent-Length: ${json.length}`, json),
      'EXPECTATION_FAILED',
    ],
    [
      'a body that is cut off by the next request',
      post(`${type}\r\nContent-Length: 3\r\nConnection: close`, json),
      ['MALFORMED_JSON', 'MALFORMED_REQUEST'],
    ],
    [
      '58: a control character in the key',
      post(`${type}\r\nIdempotency-Key: a\u0001b\r\nContent-Length: ${json.length}`, json),
      'MALFORMED_REQUEST',
    ],
    [
      '58: two keys',
      post(
        `${type}\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nConnection: close\r\nContent-Length: ${json.length}`,
        json,
      ),
      'INVALID_IDEMPOTENCY_KEY',
    ],
    [
      '58: bytes above ASCII in the key',
      post(`${type}\r\nIdempotency-Key: \u00fc\r\nConnection: close\r\nContent-Length: ${json.length}`, json),
      'INVALID_IDEMPOTENCY_KEY',
    ],
  ]
  for (const [name, parts, code, pauseMs] of cases)
    await t.test(name, async (t) => {
      const answer = await raw(server.port, parts, { pauseMs: pauseMs ?? 0 })
      isApiError(t, answer, code)
      t.ok(answer.closed, 'closed')
      await isWell(t, server, 0)
    })

  await t.test('29: a million chunks of one byte', async (t) => {
    const chunks = Array.from({ length: 16 }, () => chunked(' ', 62_500).slice(0, -5))
    const answer = await raw(server.port, [
      post(`${type}\r\nConnection: close\r\nTransfer-Encoding: chunked`),
      ...chunks,
      '0\r\n\r\n',
    ])
    isApiError(t, answer, ['MALFORMED_JSON', 'BODY_TOO_LARGE', 'REQUEST_TIMEOUT'])
    t.ok(answer.closed)
    await isWell(t, server, 0)
  })

  await t.test('a client that never closes is dropped after its answer', async (t) => {
    const accepted = once(server.app.server, 'connection')
    const client = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })
    client.on('error', () => {})
    client.resume().write('hello\r\n\r\n')
    const [socket] = (await accepted) as [Socket]
    await once(socket, 'close')
    client.destroy()
    await isWell(t, server, 0)
  })

  await t.test('31: eighty slow connections do not slow down a good one', async (t) => {
    const slow = Array.from({ length: 80 }, () =>
      raw(server.port, ['GET /hea', 'lth HTTP/1.1\r\n', 'X: y\r\n'], { pauseMs: 150 }),
    )
    const startedMs = performance.now()
    t.equal((await server.call('GET', '/health')).status, 200)
    t.ok(performance.now() - startedMs < 1000)
    for (const answer of await Promise.all(slow)) t.match(answer, { status: 408, closed: true })
    await isWell(t, server, 0)
  })

  await t.test('odd and right', async (t) => {
    const get = (headers: string) => `GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${headers}\r\n`
    const oddities: Record<string, string> = {
      '38: no Host in HTTP/1.0': 'GET /health HTTP/1.0\r\n\r\n',
      '56: Upgrade':
        'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n',
      '56: Upgrade to HTTP/2': get('Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n'),
      '57: a body on GET': `${get('Content-Length: 5\r\n')}hello`,
      '85: a clock from the future': get(
        'Date: Fri, 31 Dec 9999 23:59:59 GMT\r\nIf-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\n',
      ),
      'a method in the headers': get('X-HTTP-Method-Override: DELETE\r\n'),
    }
    for (const [name, text] of Object.entries(oddities))
      t.match(await raw(server.port, text), { status: 200, closed: true }, name)
    await isWell(t, server, 0)
    const pipelined = await raw(server.port, post(`${type}\r\nContent-Length: ${json.length}`, json) + get(''))
    t.match(pipelined, { status: 201, closed: true }, 'two requests in one write')
    await isWell(t, server, 1)
    const expecting = await raw(
      server.port,
      post(`${type}\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: ${json.length}`, json),
    )
    t.match(expecting, { status: 100, closed: true }, 'Expect: 100-continue')
    await isWell(t, server, 2)
  })
})

t.test('a body that is too large is answered to clients that go on sending', async (t) => {
  const server = await startServer(t)
  for (let i = 0; i < 10; i++)
    isApiError(t, await server.call('POST', '/commands', 'a'.repeat(2_097_152)), 'BODY_TOO_LARGE')
  await isWell(t, server, 0)
})

t.test('40: a server on loopback answers to its own names only', async (t) => {
  const server = await startServer(t, { hosts: ['Box.example'] })
  const get = (host: string, target = '/health') =>
    raw(server.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
  for (const host of [
    'localhost',
    'LOCALHOST:80',
    '127.0.0.1',
    '127.1.2.3:3000',
    '[::1]',
    '[::1]:3000',
    'box.example:1',
    'BOX.EXAMPLE',
  ])
    t.match(await get(host), { status: 200, closed: true }, host)
  for (const host of [
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.1',
    '10.0.0.1',
    'localhost@evil',
    '[::2]',
    'localhost:port',
    '',
    ' ',
  ])
    isApiError(t, await get(host), 'MISDIRECTED_HOST')
  isApiError(t, await get('evil.example', '/nope'), 'MISDIRECTED_HOST')
  isApiError(t, await get('localhost', 'http://evil.example/health'), 'MALFORMED_REQUEST')
})

t.test('58: Idempotency-Key', async (t) => {
  const server = await startServer(t)
  const send = (key: string) => server.call('POST', '/commands', DELAY, { 'idempotency-key': key })
  for (const key of ['', '""', ' ', 'a'.repeat(256), `"${'a'.repeat(256)}"`, 'a b', 'ü', 'a\tb']) {
    isApiError(t, await send(key), 'INVALID_IDEMPOTENCY_KEY')
    await isWell(t, server, 0)
  }
  const quoted = await send('"k-1"')
  const bare = await send('k-1')
  t.match(
    [quoted, bare],
    [{ status: 201 }, { status: 201, body: { commandId: (quoted.body as { commandId: string }).commandId } }],
  )
  t.equal((await send('a'.repeat(255))).status, 201)
  t.equal((await send(`"${'b'.repeat(255)}"`)).status, 201)
  await isWell(t, server, 3)
})

t.test('65–68: what an agent should not send', async (t) => {
  const server = await startServer(t)
  const other = await server.submit()
  await server.call('GET', '/commands/next?agentId=other')
  const { commandId: waiting } = await server.submit()
  const registered = await server.call('POST', '/agents/register', {
    agentId: 'a',
    journalId: 'journal-1',
    nonce: 'nonce-01',
    previousNonces: [],
    previousIncarnation: 0,
    logSeq: 0,
    protocol: { min: 1, max: 1 },
    version: '1',
    types: ['DELAY'],
    labels: [],
    slots: { DELAY: 1 },
  })
  const { incarnation, epoch } = registered.body as { incarnation: number; epoch: string }
  let seq = 0
  const sync = (fields: object) =>
    server.call('POST', '/agents/a/sync', {
      incarnation,
      seq: ++seq,
      epoch,
      revSeen: 0,
      logSeq: 0,
      mode: 'ready',
      want: {},
      held: [],
      ...fields,
    })
  const outcome = { outcome: { state: 'SUCCEEDED', result: 1 }, outcomeSha256: 'a'.repeat(64) }
  const verdict = async (attemptId: string) =>
    ((await sync({ held: [{ attemptId, phase: 'finished', ...outcome }] })).body as { acks: unknown }).acks

  await t.test('65: a result for what it never had is kept as evidence and changes nothing', async (t) => {
    t.strictSame(await verdict('nope.1'), [{ attemptId: 'nope.1', verdict: 'orphan' }])
    for (const attemptId of [
      `${other.commandId}.1`,
      `${waiting}.1`,
      `${waiting}.99`,
      `${waiting}.2147483648`,
      `${waiting}.9999999999`,
    ])
      t.strictSame(await verdict(attemptId), [{ attemptId, verdict: 'superseded' }])
    for (const attemptId of [
      `${waiting}.0`,
      `${waiting}.-1`,
      `${waiting}.01`,
      `${waiting}.`,
      '.1',
      'a',
      `${waiting}.10000000000`,
    ])
      isApiError(t, await sync({ held: [{ attemptId, phase: 'finished', ...outcome }] }), 'INVALID_REQUEST')
    t.match(
      [await server.record(other.commandId), await server.record(waiting)],
      [{ status: 'RUNNING' }, { status: 'PENDING' }],
    )
  })

  await t.test('66: the same attempt twice in one inventory', async (t) => {
    const item = { attemptId: 'nope.2', phase: 'finished', ...outcome }
    t.match(await sync({ held: [item, item] }), { status: 200 })
  })

  await t.test('67: numbers out of order or out of range', async (t) => {
    for (const bad of [0, -1, 2 ** 53, 1.5, '1', null, 1e300])
      isApiError(t, await sync({ seq: bad }), 'INVALID_REQUEST')
    isApiError(t, await sync({ seq: 1 }), 'STALE_SYNC')
    isApiError(t, await sync({ incarnation: incarnation + 1 }), 'NOT_REGISTERED')
    isApiError(t, await sync({ incarnation: -1 }), 'INVALID_REQUEST')
    isApiError(t, await sync({ epoch: 'another-epoch' }), 'EPOCH_CHANGED')
  })

  await t.test('68: slots', async (t) => {
    for (const want of [{ DELAY: -1 }, { DELAY: 1e9 }, { DELAY: '5' }, { DELAY: 1.5 }, { delay: 1 }, [], null, 5])
      isApiError(t, await sync({ want }), 'INVALID_REQUEST')
    t.match(await sync({ want: { NOBODY_KNOWS: 100_000 } }), { status: 200, body: { offers: [] } })
  })

  await t.test('70: outcomes of every kind are taken', async (t) => {
    const held = (result: string) =>
      `{"incarnation":${incarnation},"seq":${++seq},"epoch":"${epoch}","revSeen":0,"logSeq":0,"mode":"ready","want":{},"held":[{"attemptId":"nope.${seq}","phase":"finished","outcomeSha256":"${'b'.repeat(64)}","outcome":{"state":"SUCCEEDED","result":${result}}}]}`
    for (const result of [
      '"\\ud800\\u0000"',
      deep(5000),
      deep(500_000),
      '{"__proto__":1,"constructor":{"prototype":1}}',
      '1e999',
      `"${'a'.repeat(11_000_000)}"`,
    ])
      t.match(await server.call('POST', '/agents/a/sync', held(result)), {
        status: 200,
        body: { acks: [{ verdict: 'orphan' }] },
      })
  })
  await isWell(t, server, 2)
})

t.test('83: a wait that is too long is clamped, and nothing is left of those who went away', async (t) => {
  const server = await startServer(t)
  const gone = new AbortController()
  const waits = Array.from({ length: 50 }, (_, i) =>
    server.call('GET', `/agents/a-${i}/wait?timeoutMs=999999999999`, undefined, {}, gone.signal).catch(() => 'gone'),
  )
  while (server.waiting.size < 50) await new Promise((resolve) => setImmediate(resolve))
  gone.abort()
  t.strictSame(new Set(await Promise.all(waits)), new Set(['gone']))
  await Promise.all(server.waiting)
  await isWell(t, server, 0)
})
