// A real server under hostile input: it answers, tells no secrets, loses nothing and stays well. `npm run fuzz` is the same for longer.
import t from 'tap'
import { ATTACKS } from '../src/fuzz/attacks.ts'
import { faultOf } from '../src/fuzz/judge.ts'
import { faultText, fuzz } from '../src/fuzz/run.ts'
import { createMemory, request } from '../src/fuzz/samples.ts'
import { parseAnswers } from '../src/fuzz/wire.ts'
import { createRandom, newSeed } from '../src/random.ts'
import { routes } from '../src/routes.ts'

t.setTimeout(600_000)

for (const seed of [1, newSeed()])
  t.test('every attack on every route leaves the server as well as it was', async (t) => {
    t.comment(`npm run fuzz -- --seed ${seed}`)
    const { faults, figures } = await fuzz(t.testdir(), { seed, rounds: 1 })
    t.comment(JSON.stringify(figures))
    t.same(
      faults.map((fault) => faultText(seed, fault)),
      [],
    )
    t.ok(figures.requests >= routes().length * Object.keys(ATTACKS).length, 'each was made')
  })

t.test('a request is made for every route, with a body where it takes one', async (t) => {
  const random = createRandom(1)
  const memory = createMemory()
  for (const route of routes()) {
    const made = Array.from({ length: 30 }, () => request(route, random, memory, 'f-0'))
    t.equal(
      made.some(({ body }) => body !== null),
      route.schema.body !== undefined,
      route.name,
    )
    const arms = { random, memory, routes: routes(), route, agentId: 'f-0' }
    for (const [name, attack] of Object.entries(ATTACKS)) t.ok(attack(arms).parts.length > 0, `${route.name}: ${name}`)
  }
})

t.test('the judge knows a bad answer from a good one', async (t) => {
  const error = { statusCode: 400, error: 'Bad Request', code: 'INVALID_REQUEST', message: 'no', requestId: 'r' }
  const answer = (status: number, body: object, type = 'application/json') => {
    const text = JSON.stringify(body)
    return {
      status,
      head: `HTTP/1.1 ${status} x\r\ncontent-type: ${type}\r\ncontent-length: ${text.length}`,
      body: text,
    }
  }
  t.equal(faultOf(answer(200, {})), null)
  t.equal(faultOf(answer(400, error)), null)
  t.equal(faultOf({ ...answer(404, error), body: '' }), null, 'HEAD')
  t.match(faultOf(answer(500, error)), /answered 500/)
  t.match(faultOf(answer(404, error)), /INVALID_REQUEST came with 404/)
  t.match(faultOf(answer(400, { ...error, code: 'NEW' })), /unknown code/)
  t.match(faultOf(answer(400, { ...error, stack: 'x' })), /one shape/)
  t.match(faultOf(answer(400, { ...error, message: 'at run (/srv/dist/src/app.js:3)' })), /says too much/)
  t.match(faultOf(answer(400, error, 'text/html')), /not JSON/)
  t.match(faultOf({ status: 0, head: 'hello', body: '' }), /not an HTTP answer/)
})

t.test('answers on one connection are told apart, with, without and with cut bodies', async (t) => {
  const text =
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nnooHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ncut'
  t.same(
    parseAnswers(Buffer.from(text)).map(({ status, body }) => [status, body]),
    [
      [200, '{}'],
      [204, ''],
      [200, ''],
      [404, 'noo'],
      [200, ''],
    ],
  )
})
