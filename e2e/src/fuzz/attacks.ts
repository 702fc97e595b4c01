/** The kinds of attack. Each makes bytes for one connection out of requests that would be right. */
import { gzipSync } from 'node:zlib'
import type { Random } from '../random.ts'
import type { Route } from '../routes.ts'
import { mutateBytes, mutateJson } from './mutate.ts'
import { bytesOf, type Json, type Memory, type Request, request } from './samples.ts'

export type Shot = {
  parts: (Buffer | string)[]
  pauseMs?: number
  drop?: boolean
  /** It is a whole request, and the server owes an answer. */
  owed?: boolean
}
/** `route` is the one under attack, `agentId` the agent that the request speaks for. */
type Arms = { random: Random; memory: Memory; routes: readonly Route[]; route: Route; agentId: string }

const right = ({ random, memory, route, agentId }: Arms): Request => request(route, random, memory, agentId)
const another = (arms: Arms): Request => right({ ...arms, route: arms.random.pick(arms.routes) })
const textOf = ({ body }: Request): Buffer => body ?? Buffer.from('{}')
const jsonOf = (sent: Request): Json => JSON.parse(textOf(sent).toString()) as Json
const whole = (sent: Request): Shot => ({ parts: [bytesOf(sent)], owed: true })
const withText = (sent: Request, text: string | Buffer, headers: Record<string, string> = {}): Shot =>
  whole({ ...sent, headers: { 'Content-Type': 'application/json', ...headers }, body: Buffer.from(text) })

const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'PATCH',
  'OPTIONS',
  'TRACE',
  'CONNECT',
  'PROPFIND',
  'FOO',
  'get',
  '',
]
const PATHS = [
  '/%2e%2e/',
  '/..%2f..%2fetc/passwd',
  '//',
  '/./',
  '/%00',
  '/%zz',
  '/%c0%ae',
  '/;x=1',
  '\\..\\',
  '/%2F%2F',
  '#x',
  '/\u00fc',
  '*',
]
const HEADERS = [
  'Host: evil.example',
  'Host: ',
  'Content-Length: 0',
  'Content-Length: 99999999999999999999',
  'Content-Length: -1',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Content-Type: text/plain',
  'Content-Type: application/json; charset=utf-16',
  'Content-Encoding: gzip',
  'Expect: banana',
  'Expect: 100-continue',
  'Upgrade: websocket\r\nConnection: Upgrade',
  'Connection: keep-alive, close, x',
  'Idempotency-Key: ',
  `Idempotency-Key: ${'a'.repeat(256)}`,
  'Idempotency-Key: \u00fc',
  'Authorization: Bearer \u0001',
  'Range: bytes=0-0',
  'If-None-Match: *',
  'X-Forwarded-Host: evil\r\nX-Request-Id: <script>',
  'Accept: application/\ud83d\ude42',
  ' folded: x',
  'no colon',
  ': empty',
  `X-Long: ${'a'.repeat(17_000)}`,
  'Trailer: x\r\nTE: trailers',
]
const QUERIES = [
  'limit=-1',
  'limit=1e9',
  'limit=1&limit=2',
  'limit[]=1',
  'cursor=%00',
  'cursor=AAAA',
  'cursor=__proto__',
  'status=PENDING,PENDING,',
  'fields=__proto__',
  'createdFrom=9999-12-31T23:59:60Z',
  'createdTo=0000-01-01T00:00:00%2B14:00',
  'text=%25%5F%27%22',
  `text=${'%F0%9F%98%80'.repeat(60)}`,
  'rev=99999999999999999999',
  'rev=1e400',
  'agentId=',
  'agentId[a]=b',
  '__proto__[x]=1',
  '=&=&=',
  `a=${'b'.repeat(9000)}`,
]
const BAD_TEXT = ['\xff\xfe', '\xc0\x80', '\xed\xa0\x80', '\xf4\x90\x80\x80', '\x80', '\xe2\x28']

const chunked = (body: Buffer, random: Random): Buffer => {
  const size = random.pick([1, 7, 1000])
  const chunks: Buffer[] = []
  for (let at = 0; at < body.length; at += size) {
    const piece = body.subarray(at, at + size)
    const length = random.chance(0.95)
      ? piece.length.toString(16)
      : random.pick(['-1', 'zz', '0', 'ffffffffffffffff', '', '1;x=y'])
    chunks.push(Buffer.from(`${length}\r\n`), piece, Buffer.from(random.chance(0.97) ? '\r\n' : 'x'))
  }
  return Buffer.concat([...chunks, Buffer.from(random.chance(0.9) ? '0\r\n\r\n' : '0\r\nX: y\r\n')])
}

/** The attack that is none. */
export const PEACE = 'nothing wrong'

export const ATTACKS: Readonly<Record<string, (arms: Arms) => Shot>> = {
  [PEACE]: (arms) => whole(right(arms)),

  'a wrong value': (arms) => {
    const sent = right(arms)
    let value = jsonOf(sent)
    for (let count = arms.random.between(1, 3); count > 0; count -= 1) value = mutateJson(value, arms.random)
    return withText(sent, JSON.stringify(value))
  },

  'wounded bytes': (arms) => {
    const sent = right(arms)
    return { parts: [mutateBytes(bytesOf(sent), bytesOf(another(arms)), arms.random)] }
  },

  'a wounded body': (arms) => {
    const sent = right(arms)
    return withText(sent, mutateBytes(textOf(sent), textOf(another(arms)), arms.random))
  },

  'a huge body': (arms) => {
    const { random } = arms
    const size = random.pick([1_048_577, 2_500_000])
    const text = random.pick([
      () => `{"a":"${'a'.repeat(size)}"}`,
      () => `[${'0,'.repeat(size / 2)}0]`,
      () => `{${Array.from({ length: 120_000 }, (_, index) => `"k${index}":1`)}}`,
      () => ' '.repeat(size),
    ])()
    return withText(right(arms), text)
  },

  'a deep body': (arms) => {
    const depth = arms.random.pick([33, 121, 5000, 100_000])
    const sent = right(arms)
    const nest = `${'['.repeat(depth)}${']'.repeat(depth)}`
    const text = JSON.stringify(mutateJson(jsonOf(sent), arms.random)).replace(/"[^"]{1,60}"(?=[,}\]])/, nest)
    return withText(sent, arms.random.chance(0.3) ? `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}` : text)
  },

  'bad UTF-8': (arms) => {
    const sent = right(arms)
    const body = textOf(sent)
    const at = arms.random.between(0, body.length)
    const bad = Buffer.from(arms.random.pick(BAD_TEXT), 'latin1')
    return withText(sent, Buffer.concat([body.subarray(0, at), bad, body.subarray(at)]))
  },

  'odd headers': (arms) => {
    const { random } = arms
    const sent = right(arms)
    const text = bytesOf(sent, random.chance(0.8)).toString('latin1')
    const odd = Array.from({ length: random.between(1, 4) }, () => random.pick(HEADERS)).join('\r\n')
    return { parts: [Buffer.from(text.replace('\r\n', `\r\n${odd}\r\n`), 'latin1')] }
  },

  'many headers': (arms) => {
    const sent = right(arms)
    const many = Array.from({ length: arms.random.pick([100, 3000]) }, (_, index) => `X-${index}: a`).join('\r\n')
    return { parts: [bytesOf(sent).toString('latin1').replace('\r\n', `\r\n${many}\r\n`)] }
  },

  'an encoding': (arms) => {
    const sent = right(arms)
    return withText(sent, gzipSync(Buffer.alloc(arms.random.pick([10, 5_000_000]), ' ')), {
      'Content-Encoding': 'gzip',
    })
  },

  'a slow body': (arms) => {
    const sent = right(arms)
    const bytes = bytesOf(sent)
    const size = Math.ceil(bytes.length / arms.random.between(2, 6))
    const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.subarray(index * size, (index + 1) * size),
    )
    // Some never end what they began.
    return { parts: arms.random.chance(0.3) ? parts.slice(0, -1) : parts, pauseMs: arms.random.between(5, 60) }
  },

  'another method': (arms) => whole({ ...right(arms), method: arms.random.pick(METHODS) }),

  'another path': (arms) => {
    const { random } = arms
    const sent = right(arms)
    const [path = '/', query = ''] = sent.path.split('?')
    const odd = random.pick([
      () => path + random.pick(PATHS),
      () => random.pick(PATHS) + path,
      () => path.replace(/[^/]+/, 'a'.repeat(random.pick([101, 201, 10_000]))),
      () => path.toUpperCase(),
      () => [...path].map((each) => `%${each.charCodeAt(0).toString(16)}`).join(''),
      () => `http://evil.example${path}`,
      () => path.replaceAll('/', '/%2e/'),
    ])()
    // A wait that nobody limits would be a long one.
    return whole({ ...sent, path: `${odd}?${query}` })
  },

  'an absurd query': (arms) => {
    const { random } = arms
    const sent = right(arms)
    const [path = '/'] = sent.path.split('?')
    const query = Array.from({ length: random.between(1, 3) }, () => random.pick(QUERIES)).join('&')
    // A wait that nobody limits would be a long one.
    return whole({ ...sent, path: `${path}?${query}${path.endsWith('/wait') ? '&timeoutMs=10' : ''}` })
  },

  'broken chunks': (arms) => {
    const sent = right(arms)
    const head = bytesOf({ ...sent, body: null, headers: { ...sent.headers, 'Transfer-Encoding': 'chunked' } })
    return { parts: [head, chunked(textOf(sent), arms.random)] }
  },

  'a train of requests': (arms) => {
    const { random } = arms
    const cars = Array.from({ length: random.between(2, 5) }, () => bytesOf(another(arms), false))
    const last = random.pick([
      bytesOf(right(arms)),
      Buffer.from('\x16\x03\x01\x00\xf8'),
      Buffer.from('GARBAGE\r\n\r\n'),
      Buffer.alloc(200),
    ])
    return { parts: [Buffer.concat([...cars, last])] }
  },

  'gone before the answer': (arms) => {
    const sent = right(arms)
    const bytes = bytesOf(sent)
    return { parts: [bytes.subarray(0, arms.random.between(1, bytes.length))], drop: true }
  },
}
