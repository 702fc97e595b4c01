import { getEventListeners, once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { LookupFunction } from 'node:net'
import * as zlib from 'node:zlib'
import { HTTP_BODY_BYTES_MAX, type HttpGetJsonResult } from '@agent-executor/protocol'
import { createAddressPolicy } from '@agent-executor/runtime'
import t, { type Test } from 'tap'
import { createHttpGetJsonExecutor, type HttpGetJsonOptions } from '../../src/executors/http-get-json.ts'
import { listen, listenRaw, reset } from '../fixtures/loopback.ts'
import { cert, key } from '../fixtures/self-signed.ts'
import { noContainer } from './fixtures/no-container.ts'

const { brotliCompressSync, deflateSync, gzipSync } = zlib
// Node 22.15 and later.
const { zstdCompressSync } = zlib as { zstdCompressSync?: (data: string | Buffer, options?: object) => Buffer }

const lenient = createAddressPolicy({ allowPrivate: true, allow: [] })
const strict = createAddressPolicy({ allowPrivate: false, allow: [] })
/** 127.0.0.2 plays the public internet, 127.0.0.1 the inside. */
const onlySecond = createAddressPolicy({ allowPrivate: false, allow: ['127.0.0.2'] })

type Options = Partial<HttpGetJsonOptions> & {
  headers?: Record<string, string>
  timeoutMs?: number
  signal?: AbortSignal
}

const run = (
  url: string,
  { headers, timeoutMs = 5000, signal = new AbortController().signal, policy = lenient, ...options }: Options = {},
) =>
  createHttpGetJsonExecutor({ policy, ...options }).run(
    {
      commandId: 'c-1',
      attempt: 2,
      timeoutMs: 60_000,
      startedAtMs: 0,
      payload: { url, timeoutMs, ...(headers && { headers }) },
    },
    signal,
    noContainer,
  )

const resultOf = async (url: string, options?: Options): Promise<Partial<HttpGetJsonResult>> => {
  const ending = await run(url, options)
  return ending.ok ? (ending.result as HttpGetJsonResult) : { error: JSON.stringify(ending.error) }
}

const failure = (code: string, message: string | RegExp = /./, retryable?: boolean) => ({
  ok: false,
  error: { code, message, ...(retryable !== undefined && { retryable }) },
})

const serve = (t: Test, listener: RequestListener, options?: { host?: string }) =>
  listen(t, createHttpServer(listener), options)

const serveBody = async (t: Test, body: string | Buffer, headers: Record<string, string> = {}, status = 200) =>
  (
    await serve(t, (_, response) => {
      response.statusCode = status
      response.setHeaders(new Map(Object.entries(headers)))
      response.end(body)
    })
  ).url

/** Writes the whole text on every connection, closes, and does not care what was asked. */
const serveText = async (t: Test, text: string) => (await listenRaw(t, (socket) => socket.end(text))).url

/** The most that resident memory grew by while `action` ran. */
const memoryGrowth = async (action: () => Promise<unknown>) => {
  const before = process.memoryUsage.rss()
  let most = before
  const sampler = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss())
  }, 2)
  await action()
  clearInterval(sampler)
  return Math.max(most, process.memoryUsage.rss()) - before
}

/** Lets the client, which shares our event loop, read what has been sent. */
const afterTurns = (turns: number, action: () => void) => {
  setImmediate(() => (turns === 1 ? action() : afterTurns(turns - 1, action)))
}

const answering = (...answers: string[][]): LookupFunction & { calls: number } => {
  const lookup = ((_host, _options, callback) => {
    const addresses = answers[Math.min(lookup.calls++, answers.length - 1)] ?? []
    setImmediate(() =>
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      ),
    )
  }) as LookupFunction & { calls: number }
  lookup.calls = 0
  return lookup
}

t.test('an attempt that was cut off by a crash is interrupted, not resumed', async (t) => {
  t.match(createHttpGetJsonExecutor({ policy: strict }), { type: 'HTTP_GET_JSON', afterCrash: 'interrupted' })
})

t.test('large and endless bodies', async (t) => {
  const zeros = Buffer.alloc(50_000_000)
  const bombs = {
    gzip: gzipSync(zeros),
    br: brotliCompressSync(zeros),
    'gzip, gzip': gzipSync(gzipSync(zeros)),
    ...(zstdCompressSync && { zstd: zstdCompressSync(zeros) }),
  }

  for (const [encoding, bomb] of Object.entries(bombs)) {
    t.test(`a 50 MB bomb in ${encoding} is stopped at the cap without using its memory`, async (t) => {
      const url = await serveBody(t, bomb, { 'content-encoding': encoding })
      const growth = await memoryGrowth(async () => {
        t.match(await resultOf(url), {
          status: 200,
          truncated: true,
          bytesReturned: HTTP_BODY_BYTES_MAX,
          totalBytes: undefined,
          error: `TRUNCATED: the body is larger than ${HTTP_BODY_BYTES_MAX} bytes`,
        })
      })
      t.ok(growth < 30_000_000, `grew by ${growth} bytes`)
    })
  }

  t.test('an endless body is stopped at the cap and its connection closed', async (t) => {
    const server = await serve(t, (_, response) => {
      const piece = Buffer.alloc(65_536, 'x')
      const more = () => {
        while (response.write(piece));
      }
      response.on('drain', more)
      more()
    })
    const growth = await memoryGrowth(async () => {
      t.match(await resultOf(server.url), { truncated: true, bytesReturned: HTTP_BODY_BYTES_MAX })
    })
    await server.drained()
    t.ok(growth < 30_000_000, `grew by ${growth} bytes`)
    t.ok(server.bytesWritten() < 20_000_000, `${server.bytesWritten()} bytes went out`)
  })

  t.test('an encoded body that never decodes to anything is stopped', async (t) => {
    const nothing = gzipSync('')
    const server = await serve(t, (_, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      const piece = Buffer.concat(Array<Buffer>(1000).fill(nothing))
      const more = () => {
        while (response.write(piece));
      }
      response.on('drain', more)
      more()
    })
    t.match(await run(server.url), failure('HTTP_ERROR', 'the encoded body is too large'))
    await server.drained()
  })
})

t.test('what is sent', async (t) => {
  const asked = async (options: Options) => {
    const server = await serve(t, (request, response) => response.end(JSON.stringify(request.headers)))
    return (await resultOf(server.url, options)).body as Record<string, string>
  }

  t.test('names itself, the command and the attempt, and asks for JSON on a connection of its own', async (t) => {
    t.match(await asked({}), {
      accept: 'application/json',
      'accept-encoding': /^gzip, br(, zstd)?$/,
      'user-agent': 'agent-executor',
      'idempotency-key': 'c-1',
      'x-attempt': '2',
      connection: 'close',
    })
  })

  t.test('takes headers of the payload, except those that say how the connection is used', async (t) => {
    const headers = await asked({
      headers: {
        Authorization: 'Bearer x',
        ACCEPT: 'text/plain',
        constructor: 'y',
        Host: 'evil.example',
        'Accept-Encoding': 'compress',
        'content-length': '5',
        'Transfer-Encoding': 'chunked',
        TE: 'trailers',
        Upgrade: 'h2c',
        'Proxy-Authorization': 'Basic z',
        Expect: '100-continue',
        'Keep-Alive': 'timeout=5',
        Connection: 'keep-alive',
        Trailer: 'x',
      },
    })
    t.match(headers, { authorization: 'Bearer x', accept: 'text/plain', constructor: 'y', connection: 'close' })
    t.match(headers.host, /^127\.0\.0\.1:/)
    t.match(headers['accept-encoding'], /^gzip/)
    for (const name of ['content-length', 'transfer-encoding', 'te', 'upgrade', 'proxy-authorization', 'expect']) {
      t.notOk(name in headers, name)
    }
  })

  t.test('sends path and query and keeps the fragment', async (t) => {
    const server = await serve(t, (request, response) => response.end(JSON.stringify(request.url)))
    t.equal((await resultOf(`${server.url}/a%20b?c=d#e`)).body, '/a%20b?c=d')
  })

  t.test('ignores the proxies of the environment', async (t) => {
    const server = await serve(t, (_, response) => response.end('1'))
    const proxy = await serve(t, (_, response) => response.end('2'))
    const names = ['http_proxy', 'HTTP_PROXY', 'ALL_PROXY']
    for (const name of names) process.env[name] = proxy.url
    t.teardown(() => {
      for (const name of names) delete process.env[name]
    })
    t.equal((await resultOf(server.url)).body, 1)
    t.equal(proxy.connections(), 0)
  })
})

t.test('bodies', async (t) => {
  const full = HTTP_BODY_BYTES_MAX

  t.test('JSON is parsed', async (t) => {
    t.same(await resultOf(await serveBody(t, '{"a":[1,null]}')), {
      status: 200,
      body: { a: [1, null] },
      truncated: false,
      bytesReturned: 14,
      totalBytes: 14,
      error: null,
    })
  })

  t.test('JSON null is a value', async (t) => {
    t.match(await resultOf(await serveBody(t, 'null')), { body: null, bytesReturned: 4, error: null })
  })

  t.test('a byte order mark is dropped', async (t) => {
    t.match(await resultOf(await serveBody(t, '\ufeff{"a":1}')), { body: { a: 1 }, bytesReturned: 10, error: null })
  })

  t.test('text that is not JSON is kept', async (t) => {
    t.match(await resultOf(await serveBody(t, '<p>hello</p>')), {
      body: '<p>hello</p>',
      truncated: false,
      error: 'INVALID_JSON: the body is not JSON',
    })
  })

  t.test('what is not UTF-8 becomes U+FFFD', async (t) => {
    const url = await serveBody(t, Buffer.from([0x22, 0xff, 0x61, 0xed, 0xa0, 0x80, 0x22]))
    t.match(await resultOf(url), { body: '\ufffda\ufffd\ufffd\ufffd', bytesReturned: 7, error: null })
  })

  t.test('a body of exactly the cap is whole', async (t) => {
    const url = await serveBody(t, `"${'x'.repeat(full - 2)}"`)
    t.match(await resultOf(url), {
      body: 'x'.repeat(full - 2),
      truncated: false,
      bytesReturned: full,
      totalBytes: full,
      error: null,
    })
  })

  t.test('one byte more is cut', async (t) => {
    const url = await serveBody(t, `"${'x'.repeat(full - 1)}"`)
    t.match(await resultOf(url), {
      body: `"${'x'.repeat(full - 1)}`,
      truncated: true,
      bytesReturned: full,
      totalBytes: full + 1,
      error: `TRUNCATED: the body is larger than ${full} bytes`,
    })
  })

  for (const character of ['é', '€', '😀']) {
    for (let before = 1; before < Buffer.byteLength(character); before++) {
      t.test(`${character} is not cut ${before} byte(s) into it`, async (t) => {
        const text = 'x'.repeat(full - before)
        t.match(await resultOf(await serveBody(t, text + character)), { body: text, bytesReturned: full - before })
      })
    }
    t.test(`${character} is kept where it ends at the cap`, async (t) => {
      const text = 'x'.repeat(full - Buffer.byteLength(character)) + character
      t.match(await resultOf(await serveBody(t, `${text}x`)), { body: text, bytesReturned: full })
    })
  }

  t.test('a large body without UTF-8 is cut at the cap', async (t) => {
    t.match(await resultOf(await serveBody(t, Buffer.alloc(full + 9, 0x80))), { truncated: true, bytesReturned: full })
  })

  t.test('JSON is parsed down to 64 levels and kept as text below', async (t) => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
    t.match(await resultOf(await serveBody(t, nested(64))), { body: [], error: null })
    t.match(await resultOf(await serveBody(t, nested(65))), {
      body: nested(65),
      error: 'INVALID_JSON: nested deeper than 64 levels',
    })
    t.match(await resultOf(await serveBody(t, nested(51_200))), {
      body: nested(51_200),
      error: 'INVALID_JSON: nested deeper than 64 levels',
    })
    t.match(await resultOf(await serveBody(t, nested(99_999))), {
      truncated: true,
      body: '['.repeat(99_999) + ']'.repeat(full - 99_999),
    })
    t.match(await resultOf(await serveBody(t, `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`)), {
      error: 'INVALID_JSON: nested deeper than 64 levels',
    })
  })

  t.test('no body is null, and an error only where a body was due', async (t) => {
    const empty = { body: null, truncated: false, bytesReturned: 0 }
    t.match(await resultOf(await serveBody(t, '')), { ...empty, error: 'INVALID_JSON: the body is empty' })
    t.match(await resultOf(await serveBody(t, '', {}, 204)), { ...empty, status: 204, error: null })
    t.match(await resultOf(await serveBody(t, '', {}, 205)), { ...empty, status: 205, error: null })
    t.match(await resultOf(await serveBody(t, '', {}, 304)), {
      ...empty,
      status: 304,
      error: 'HTTP_ERROR: the server answered 304 Not Modified',
    })
    t.match(await resultOf(await serveText(t, 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n')), {
      ...empty,
      status: 304,
    })
    t.match(await resultOf(await serveBody(t, '', { 'content-encoding': 'gzip' })), {
      ...empty,
      error: 'INVALID_JSON: the body is empty',
    })
  })

  t.test('a status that is not 2xx keeps its body', async (t) => {
    t.match(await resultOf(await serveBody(t, '{"code":7}', {}, 404)), {
      status: 404,
      body: { code: 7 },
      error: 'HTTP_ERROR: the server answered 404 Not Found',
    })
    t.match(await resultOf(await serveBody(t, 'oh no', {}, 500)), {
      status: 500,
      body: 'oh no',
      error: 'HTTP_ERROR: the server answered 500 Internal Server Error',
    })
    t.match(await resultOf(await serveBody(t, 'x'.repeat(full + 1), {}, 499)), {
      status: 499,
      truncated: true,
      error: 'HTTP_ERROR: the server answered 499',
    })
  })

  t.test('encodings are decoded, up to two of them', async (t) => {
    for (const [encoding, body] of [
      ['gzip', gzipSync('{"a":1}')],
      ['X-GZIP', gzipSync('{"a":1}')],
      ['deflate', deflateSync('{"a":1}')],
      ['br', brotliCompressSync('{"a":1}')],
      ['br, identity, gzip', gzipSync(brotliCompressSync('{"a":1}'))],
    ] as const) {
      const result = await resultOf(await serveBody(t, body, { 'content-encoding': encoding }))
      t.match(result, { body: { a: 1 }, bytesReturned: 7, error: null }, encoding)
      t.notOk('totalBytes' in result, 'the announced length is not that of the decoded body')
    }
  })

  t.test(
    'zstd is decoded within a window of 8 MB, and neither asked for nor accepted where Node has none',
    async (t) => {
      const headers = { 'content-encoding': 'zstd' }
      if (!zstdCompressSync) {
        const { error } = await resultOf(await serveBody(t, 'frame', headers))
        t.match(error, 'HTTP_ERROR')
        return
      }
      t.match(await resultOf(await serveBody(t, zstdCompressSync('{"a":1}'), headers)), { body: { a: 1 }, error: null })
      // ZSTD_c_windowLog = 101; of 128 MB.
      const wide = zstdCompressSync(Buffer.alloc(200_000_000), { params: { 101: 27 } })
      t.match(await run(await serveBody(t, wide, headers)), failure('HTTP_ERROR', /does not decode/))
    },
  )

  t.test('encodings that are unknown, too many or broken fail the command', async (t) => {
    for (const [encoding, body, message] of [
      ['compress', 'x', 'the body has an encoding that was not asked for'],
      ['constructor', 'x', 'the body has an encoding that was not asked for'],
      ['gzip, gzip, gzip', 'x', 'the body has too many encodings'],
      ['gzip', '{"a":1}', 'the body does not decode as the encoding it names'],
      ['br', '{"a":1}', 'the body does not decode as the encoding it names'],
      ['gzip', gzipSync('{"a":1}').subarray(0, -9), 'the body does not decode as the encoding it names'],
    ] as const) {
      const ending = await run(await serveBody(t, Buffer.from(body), { 'content-encoding': encoding }))
      t.match(ending, failure('HTTP_ERROR', message, false), encoding)
    }
  })
})

t.test('servers that break the protocol', async (t) => {
  const closed = failure('NETWORK_ERROR', 'connection closed before the answer was complete', true)

  for (const [name, text, expected] of [
    ['closes without an answer', '', closed],
    ['closes within its headers', 'HTTP/1.1 200 OK\r\nContent-', closed],
    ['sends less than its Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}', closed],
    ['and says that it closes', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{}', closed],
    ['ends within a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}', closed],
    [
      'ends within a chunk and says that it closes',
      'HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}',
      closed,
    ],
    [
      'ends within a chunk of an encoded body',
      'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n\x1f',
      closed,
    ],
    ['does not speak HTTP', 'SSH-2.0-OpenSSH_9.9\r\n', failure('HTTP_ERROR', /not well-formed HTTP/, false)],
    ['has two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}', { ok: false }],
    [
      'has a length and chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      { ok: false },
    ],
    ['has a bad chunk size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', failure('HTTP_ERROR')],
    [
      'switches protocols',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
      failure('HTTP_ERROR'),
    ],
    ['sends 100 unasked', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}', failure('HTTP_ERROR')],
    [
      'floods with 1xx',
      'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(50_000),
      failure('HTTP_ERROR', 'too many interim answers'),
    ],
    [
      'has headers of 1 MB',
      `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(1_000_000)}\r\n\r\n`,
      failure('HTTP_ERROR', /headers are too large/),
    ],
    [
      'has 100,000 headers',
      `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(100_000)}\r\n`,
      failure('HTTP_ERROR', /headers are too large/),
    ],
    [
      'ends its body by closing',
      'HTTP/1.1 200 OK\r\n\r\n{"a":1}',
      { ok: true, result: { body: { a: 1 }, error: null } },
    ],
    [
      'hints before it answers',
      `${'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'.repeat(3)}HTTP/1.1 200 OK\r\n\r\n1`,
      { ok: true, result: { body: 1 } },
    ],
    [
      'answers twice',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2',
      { ok: true, result: { body: 1 } },
    ],
  ] as const) {
    t.test(`one that ${name}`, async (t) => {
      t.match(await run(await serveText(t, text)), expected)
    })
  }

  t.test('one that resets at once', async (t) => {
    const server = await listenRaw(t, reset)
    t.match(await run(server.url), failure('NETWORK_ERROR', /closed/, true))
    t.equal(server.connections(), 1, 'it is not asked again')
  })

  for (const framing of ['Content-Length: 99\r\n', 'Transfer-Encoding: chunked\r\n', '']) {
    t.test(`one that resets within a body framed by "${framing.trim()}"`, async (t) => {
      const abort = new AbortController()
      const server = await listenRaw(t, (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n${framing.startsWith('T') ? '2\r\n{}\r\n' : '{}'}`, () =>
          afterTurns(3, () => reset(socket)),
        )
      })
      t.match(await run(server.url, { signal: abort.signal }), closed)
      t.equal(getEventListeners(abort.signal, 'abort').length, 0)
    })
  }

  t.test('a port where nobody listens', async (t) => {
    const gone = createHttpServer().listen(0, '127.0.0.1')
    await once(gone, 'listening')
    const { port } = gone.address() as { port: number }
    await new Promise((resolve) => gone.close(resolve))
    t.match(await run(`http://127.0.0.1:${port}/`), failure('NETWORK_ERROR', 'connection refused', true))
  })

  t.test('a name that does not resolve', async (t) => {
    const lookup: LookupFunction = (_host, _options, callback) =>
      callback(Object.assign(new Error('getaddrinfo ENOTFOUND 10.0.0.53'), { code: 'ENOTFOUND' }), [])
    t.match(await run('http://nowhere.test/', { lookup }), failure('NETWORK_ERROR', 'the host name does not resolve'))
  })

  t.test('a name that resolves to nothing', async (t) => {
    const ending = await run('http://nowhere.test/', { lookup: answering([]) })
    t.match(ending, failure('NETWORK_ERROR', 'the host name does not resolve'))
  })

  t.test('a certificate that nobody trusts', async (t) => {
    const server = await listen(
      t,
      createHttpsServer({ cert, key }, (_, r) => r.end('1')),
      { scheme: 'https' },
    )
    t.match(await run(server.url), failure('NETWORK_ERROR', 'TLS failed (DEPTH_ZERO_SELF_SIGNED_CERT)'))
  })

  t.test('plain HTTP where TLS was expected', async (t) => {
    const server = await listenRaw(t, (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    t.match(await run(server.url.replace('http', 'https')), failure('NETWORK_ERROR', /^TLS failed/))
  })

  t.test('a URL that cannot be read', async (t) => {
    for (const url of ['http://', 'http://[', 'http://a b/', 'http://256.256.256.256/', 'http://x:99999/']) {
      t.match(await run(url), failure('HTTP_ERROR', 'the URL is not valid'), url)
    }
    t.match(await run('http://user:secret@127.0.0.1/'), failure('HTTP_ERROR', 'the URL holds credentials'))
  })
})

t.test('time and aborts', { jobs: 8 }, async (t) => {
  const parallel = { buffered: true }

  t.test('one byte a moment for ever ends with the total time', parallel, async (t) => {
    const server = await serve(t, (_, response) => {
      const timer = setInterval(() => response.write('x'), 20)
      response.on('close', () => clearInterval(timer))
    })
    const began = performance.now()
    const ending = await run(server.url, { timeoutMs: 200 })
    t.match(ending, failure('TIMED_OUT', 'no complete answer within 200 ms', true))
    t.ok(performance.now() - began < 1500)
    await server.drained()
  })

  t.test('an endless gzip header ends with the total time', parallel, async (t) => {
    const server = await serve(t, (_, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      response.write(Buffer.from([0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3]))
      const timer = setInterval(() => response.write('name'), 20)
      response.on('close', () => clearInterval(timer))
    })
    t.match(await run(server.url, { timeoutMs: 200 }), failure('TIMED_OUT'))
    await server.drained()
  })

  t.test('a server that never answers ends with the headers timeout', parallel, async (t) => {
    const server = await listenRaw(t, () => {})
    t.match(await run(server.url, { headersTimeoutMs: 50 }), failure('TIMED_OUT', 'headers timeout', true))
    await server.drained()
  })

  t.test('a server that stops in its body ends with the idle timeout', parallel, async (t) => {
    const server = await serve(t, (_, response) => response.write('{'))
    t.match(await run(server.url, { bodyIdleTimeoutMs: 50 }), failure('TIMED_OUT', 'body idle timeout', true))
    await server.drained()
  })

  t.test('a name server that never answers ends with the connect timeout', parallel, async (t) => {
    const ending = await run('http://slow.test/', { connectTimeoutMs: 50, lookup: () => {} })
    t.match(ending, failure('TIMED_OUT', 'connect timeout', true))
  })

  t.test('a server that never shakes hands ends with the connect timeout', parallel, async (t) => {
    const server = await listenRaw(t, () => {})
    const ending = await run(server.url.replace('http', 'https'), { connectTimeoutMs: 50 })
    t.match(ending, failure('TIMED_OUT', 'connect timeout', true))
    await server.drained()
  })

  const phases: [
    string,
    (t: Test, reached: () => void) => Promise<{ url: string; drained(): Promise<void> } & Options>,
  ][] = [
    ['before the headers', (t, reached) => listenRaw(t, reached)],
    [
      'during the TLS handshake',
      async (t, reached) => {
        const server = await listenRaw(t, reached)
        return { ...server, url: server.url.replace('http', 'https') }
      },
    ],
    [
      'during the body',
      (t, reached) =>
        serve(t, (_, response) => {
          response.write('{"a":', reached)
        }),
    ],
    [
      'during an encoded body',
      (t, reached) =>
        serve(t, (_, response) => {
          response.writeHead(200, { 'content-encoding': 'gzip' }).write(gzipSync('{}').subarray(0, 12), reached)
        }),
    ],
    [
      'while the name resolves',
      async (_, reached) => ({
        url: 'http://slow.test/',
        lookup: () => setImmediate(reached),
        drained: async () => {},
      }),
    ],
  ]
  for (const [phase, start] of phases) {
    t.test(`an abort ${phase} settles at once and leaves nothing behind`, parallel, async (t) => {
      const abort = new AbortController()
      let abortedAt = 0
      const { url, drained, lookup } = await start(t, () => {
        afterTurns(3, () => {
          abortedAt = performance.now()
          abort.abort()
        })
      })
      const ending = await run(url, { signal: abort.signal, ...(lookup && { lookup }) })
      t.match(ending, failure('CANCELLED', 'the request was aborted'))
      t.ok(performance.now() - abortedAt < 200)
      t.equal(getEventListeners(abort.signal, 'abort').length, 0)
      await drained()
    })
  }

  t.test('an abort before the start opens no connection', parallel, async (t) => {
    const server = await serve(t, (_, response) => response.end('1'))
    t.match(await run(server.url, { signal: AbortSignal.abort() }), failure('CANCELLED'))
    t.equal(server.connections(), 0)
  })

  t.test('a finished request closes its connection and leaves no listener', parallel, async (t) => {
    const abort = new AbortController()
    const server = await serve(t, (_, response) => response.end('1'))
    t.match(await run(server.url, { signal: abort.signal }), { ok: true })
    await server.drained()
    t.equal(getEventListeners(abort.signal, 'abort').length, 0)
  })
})

t.test('redirects', async (t) => {
  const redirecting = (t: Test, location: (path: string) => string | undefined, status = 302) =>
    serve(t, (request, response) => {
      const target = location(request.url ?? '')
      if (target === undefined) response.end(JSON.stringify([request.url, request.headers]))
      else response.writeHead(status, { location: target }).end('moved')
    })
  const countdown = (path: string) => (path === '/0' ? undefined : `/${Number(path.slice(1)) - 1}`)

  t.test('are followed five times, each on a new connection', async (t) => {
    const server = await redirecting(t, countdown)
    t.match(await resultOf(`${server.url}/5`), { status: 200, body: ['/0', {}] })
    t.equal(server.connections(), 6)
  })

  t.test('are not followed a sixth time', async (t) => {
    const server = await redirecting(t, countdown)
    t.match(await run(`${server.url}/6`), failure('HTTP_ERROR', 'more than 5 redirects', false))
    t.equal(server.connections(), 6)
    await server.drained()
  })

  t.test('in a loop end', async (t) => {
    const server = await redirecting(t, () => '/')
    t.match(await run(server.url), failure('HTTP_ERROR', 'more than 5 redirects'))
  })

  for (const status of [301, 302, 303, 307, 308]) {
    t.test(`of status ${status} are resolved against the URL they came from`, async (t) => {
      const server = await redirecting(t, (path) => (path === '/a/x/y' ? '../b?c#d' : undefined), status)
      t.match(await resultOf(`${server.url}/a/x/y`), { status: 200, body: ['/a/b?c', {}] })
    })
  }

  t.test('without a place to go are ordinary answers', async (t) => {
    for (const location of ['http://[', 'http://x:99999/']) {
      const url = await serveBody(t, '{"a":1}', { location }, 302)
      t.match(await resultOf(url), { status: 302, body: { a: 1 }, error: 'HTTP_ERROR: the server answered 302 Found' })
    }
    t.match(await resultOf(await serveBody(t, 'x', {}, 301)), { status: 301, body: 'x' })
    t.match(await resultOf(await serveBody(t, '[]', { location: '/x' }, 300)), { status: 300, body: [] })
    t.match(await resultOf(await serveBody(t, '1', { location: '/x' }, 200)), { status: 200, body: 1, error: null })
  })

  t.test('to another scheme or with credentials fail', async (t) => {
    for (const location of ['file:///etc/passwd', 'ftp://127.0.0.1/', 'data:,1', 'javascript:1']) {
      const server = await redirecting(t, () => location)
      t.match(await run(server.url), failure('HTTP_ERROR', /scheme/), location)
    }
    const server = await redirecting(t, () => 'http://a:b@127.0.0.1/')
    t.match(await run(server.url), failure('HTTP_ERROR', /credentials/))
  })

  t.test('keep the headers of the payload on one origin and drop them for good on another', async (t) => {
    const headers = { authorization: 'Bearer x', cookie: 'y', 'x-custom': 'z' }
    const same = await redirecting(t, (path) => (path === '/' ? '/b' : undefined))
    t.match((await resultOf(same.url, { headers })).body, ['/b', headers])

    const back = await redirecting(t, (path) => (path === '/' ? other.url : undefined))
    const other = await redirecting(t, () => `${back.url}/end`)
    const [path, seen] = (await resultOf(back.url, { headers })).body as [string, Record<string, string>]
    t.equal(path, '/end')
    for (const name of Object.keys(headers)) t.notOk(name in seen, name)
    t.match(seen, { 'idempotency-key': 'c-1', accept: 'application/json' })
  })

  t.test('do not lead from https to http', async (t) => {
    // Read by Node at every connection; the warning it prints is for operators.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    t.teardown(() => delete process.env.NODE_TLS_REJECT_UNAUTHORIZED)
    const plain = await serve(t, (_, response) => response.end('1'))
    const secure = await listen(
      t,
      createHttpsServer({ cert, key }, (request, response) =>
        request.url === '/' ? response.end('2') : response.writeHead(302, { location: plain.url }).end(),
      ),
      { scheme: 'https' },
    )
    t.match(await resultOf(secure.url), { body: 2 })
    t.match(await run(`${secure.url}/down`), failure('HTTP_ERROR', 'a redirect leads from https to http'))
    t.equal(plain.connections(), 0)
  })
})

t.test('addresses', async (t) => {
  t.test('every spelling of loopback is refused before a connection is made', async (t) => {
    const server = await serve(t, (_, response) => response.end('1'))
    const server6 = await serve(t, (_, response) => response.end('1'), { host: '::1' }).catch(() => server)
    for (const host of [
      '127.0.0.1',
      '127.1',
      '127.0.1',
      '2130706433',
      '0x7f000001',
      '0x7f.1',
      '0X7F.0.0.1',
      '017700000001',
      '0177.0.0.1',
      '127.0.0.1.',
      '127.255.255.254',
      '①②⑦.⓪.⓪.①',
      '127。0。0。1',
      '%31%32%37.0.0.1',
      '0',
      '0.0.0.0',
      '[::]',
      '[::1]',
      '[0:0:0:0:0:0:0:1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[::127.0.0.1]',
      '[64:ff9b::7f00:1]',
      '[2002:7f00:1::]',
      'localhost',
      'LOCALHOST',
      'localhost.',
      'a.localhost',
    ]) {
      for (const { port } of [server, server6]) {
        t.match(await run(`http://${host}:${port}/`, { policy: strict }), failure('BLOCKED_ADDRESS', /./, false), host)
      }
    }
    t.match(await run(`http:\\\\127.0.0.1:${server.port}\\x`, { policy: strict }), failure('BLOCKED_ADDRESS'))
    t.equal(server.connections() + server6.connections(), 0)
  })

  t.test('the metadata service is refused even where private addresses are allowed', async (t) => {
    for (const host of [
      '169.254.169.254',
      '2852039166',
      '0xa9fea9fe',
      '0251.0376.0251.0376',
      '[::ffff:169.254.169.254]',
      '[64:ff9b::a9fe:a9fe]',
      '[2002:a9fe:a9fe::]',
      '[fd00:ec2::254]',
      '100.100.100.200',
      'metadata',
      'metadata.google.internal',
    ]) {
      t.match(await run(`http://${host}/latest/`), failure('BLOCKED_ADDRESS', /metadata/), host)
    }
  })

  t.test('a redirect to a refused address is not followed', async (t) => {
    const forbidden = await serve(t, (_, response) => response.end('secret'))
    for (const host of ['127.0.0.1', '0x7f.1', '[::ffff:127.0.0.1]', 'localhost']) {
      const open = await serve(
        t,
        (_, response) => response.writeHead(302, { location: `http://${host}:${forbidden.port}/` }).end(),
        { host: '127.0.0.2' },
      )
      t.match(await run(open.url, { policy: onlySecond }), failure('BLOCKED_ADDRESS'), host)
    }
    t.equal(forbidden.connections(), 0)
  })

  t.test('a name is refused where one of its addresses is, without naming it', async (t) => {
    const forbidden = await serve(t, (_, response) => response.end('secret'))
    const open = await serve(t, (_, response) => response.end('1'), { host: '127.0.0.2' })
    for (const addresses of [['127.0.0.2', '127.0.0.1'], ['127.0.0.1', '127.0.0.2'], ['::ffff:127.0.0.1'], ['::1']]) {
      const lookup = answering(addresses)
      const url = `http://mixed.test:${forbidden.port}/`
      const expected = failure('BLOCKED_ADDRESS', 'the agent may not reach a loopback address', false)
      t.match(await run(url, { policy: onlySecond, lookup }), expected)
    }
    t.equal(forbidden.connections() + open.connections(), 0)
  })

  t.test('a name is looked up once a hop, and each hop is checked, so that rebinding reaches nothing', async (t) => {
    const forbidden = await serve(t, (_, response) => response.end('secret'))
    const open = await serve(
      t,
      (_, response) => response.writeHead(302, { location: `http://rebind.test:${forbidden.port}/` }).end(),
      { host: '127.0.0.2' },
    )
    const lookup = answering(['127.0.0.2'], ['127.0.0.1'])
    t.match(await run(`http://rebind.test:${open.port}/`, { policy: onlySecond, lookup }), failure('BLOCKED_ADDRESS'))
    t.equal(lookup.calls, 2)
    t.equal(open.connections(), 1)
    t.equal(forbidden.connections(), 0)
  })

  t.test('a name connects to the address that was checked', async (t) => {
    const open = await serve(t, (request, response) => response.end(JSON.stringify(request.headers.host)), {
      host: '127.0.0.2',
    })
    const lookup = answering(['127.0.0.2'], ['127.0.0.1'])
    const url = `http://name.test:${open.port}/`
    t.match(await resultOf(url, { policy: onlySecond, lookup }), { body: `name.test:${open.port}` })
    t.equal(lookup.calls, 1)
  })

  t.test('the next address is tried where the first does not answer', async (t) => {
    const open = await serve(t, (_, response) => response.end('1'), { host: '127.0.0.2' })
    const lookup = answering(['127.0.0.3', '127.0.0.2'])
    t.match(await resultOf(`http://two.test:${open.port}/`, { lookup }), { body: 1 })
  })

  t.test('the address of the connected socket is checked before anything is sent', async (t) => {
    const requests: string[] = []
    const server = await listenRaw(t, (_, request) => requests.push(request))
    let asked = 0
    const policy = { ...lenient, refusalOfAddress: () => (++asked === 1 ? null : 'a loopback address') }
    t.match(await run(server.url, { policy }), failure('BLOCKED_ADDRESS'))
    await server.drained()
    t.same(requests, [])
  })
})
