/** The list where a page looks at a few commands only: whatever is asked for, its pages add up to all of it. */
import assert from 'node:assert/strict'
import type { CommandRecord } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import type { Command } from '../../src/lifecycle/command.ts'
import { type AttemptOptions, after, completed, failed, running, waiting } from '../lifecycle/builders.ts'
import { type Server, startServer } from './harness.ts'

type Item = Partial<CommandRecord>
type Page = { items: Item[]; nextCursor: string | null }

const COMMANDS = 2000
const START_MS = Date.parse('2026-01-01T00:00:00Z')
const isoAt = (index: number) => new Date(START_MS + index * 1000).toISOString()

/** Mostly final, as in a server that has run for long. What each has in common with others is told by its number. */
const commandAt = (index: number): Command => {
  const commandId = `c${String(index).padStart(5, '0')}`
  const options: AttemptOptions = {
    ...(index % 3 === 0 ? { type: 'HTTP_GET_JSON', payload: { url: `http://example.test/${index}` } } : {}),
    labels: index % 500 === 1 ? ['gpu'] : [],
    metadata: { ticket: `T-${index}` },
    createdAtMs: START_MS + index * 1000,
    agentId: `agent-${index % 5}`,
  }
  if (index % 50 === 0) return waiting(commandId, options)
  if (index % 50 === 1) return running(commandId, options)
  if (index % 7 === 0) return failed(commandId, options)
  if (index % 11 === 0)
    return after(waiting(commandId, options), { type: 'cancel', nowMs: START_MS, reason: 'no more needed' })
  return completed(commandId, options)
}

const pagesOf = async ({ call }: Server, query: URLSearchParams): Promise<Page[]> => {
  const pages: Page[] = []
  for (let cursor: string | null = null; pages.length === 0 || cursor !== null; ) {
    if (cursor !== null) query.set('cursor', cursor)
    const page = (await call('GET', `/commands?${query}`)).body as Page
    assert.ok(page.items.length <= Number(query.get('limit')))
    assert.notEqual(page.nextCursor, cursor ?? '', 'each page goes on')
    pages.push(page)
    cursor = page.nextCursor
  }
  return pages
}

t.test('the list with a bound', async (t) => {
  const server = await startServer(t, { listMax: { rows: 100, bytes: 1_000_000 } })
  for (let index = 0; index < COMMANDS; index += 1) await server.store.submit(commandAt(index), null)
  const everything = (await pagesOf(server, new URLSearchParams({ limit: '1000' }))).flatMap(({ items }) => items)

  await t.test('has every command once, the newest first', async (t) => {
    const ids = everything.map(({ commandId }) => commandId as string)
    t.equal(ids.length, COMMANDS)
    t.strictSame(ids, ids.toSorted().toReversed())
    const statuses = new Set(everything.map(({ status }) => status))
    t.strictSame([...statuses].sort(), ['CANCELLED', 'COMPLETED', 'FAILED', 'PENDING', 'RUNNING'])
  })

  await t.test('looks at so many commands a page, and goes on where it stopped', async (t) => {
    const pages = await pagesOf(server, new URLSearchParams({ limit: '7', text: 'T-1950' }))
    t.equal(pages.length, COMMANDS / 100)
    t.same(
      pages.map(({ items }) => items.length),
      [1, ...Array.from({ length: COMMANDS / 100 - 1 }, () => 0)],
    )
  })

  await t.test('does not pass over final commands where none can be meant', async (t) => {
    const pending = everything.filter(({ status }) => status === 'PENDING')
    const pages = await pagesOf(server, new URLSearchParams({ limit: '1000', status: 'PENDING' }))
    t.strictSame(pages, [{ items: pending, nextCursor: null }])
  })

  await t.test('links to the next page where it is a bare array', async (t) => {
    const first = await server.call('GET', '/commands?text=T-1850')
    t.strictSame(first.body, [])
    const path = /^<([^>]+)>; rel="next"$/.exec(first.headers.get('link') ?? '')?.[1] ?? ''
    t.match((await server.call('GET', path)).body, { items: [{ commandId: 'c01850' }], nextCursor: String })
  })

  await t.test('pages joined are what the filters leave of all', async () => {
    const some = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined, freq: 2 })
    const filters = fc.record({
      status: some(fc.subarray(['PENDING', 'RUNNING', 'COMPLETED', 'CANCELLED', 'FAILED'], { minLength: 1 })),
      type: some(fc.constantFrom('DELAY', 'HTTP_GET_JSON')),
      agentId: some(fc.constantFrom('agent-1', 'agent-3', 'nobody')),
      label: some(fc.constant('gpu')),
      createdFrom: some(fc.nat(COMMANDS)),
      createdTo: some(fc.nat(COMMANDS)),
      text: some(fc.constantFrom('t-1', 'EXAMPLE.test/2', 'c019', 'no such text')),
    })
    type Filters = typeof filters extends fc.Arbitrary<infer Value> ? Value : never
    const passes = (item: Item, { status, type, agentId, label, createdFrom, createdTo, text }: Filters): boolean => {
      const index = Number(item.commandId?.slice(1))
      const searched = [item.commandId, `T-${index}`, index % 3 === 0 ? `http://example.test/${index}` : '']
      return (
        (status?.includes(item.status as string) ?? true) &&
        (type ?? item.type) === item.type &&
        (agentId ?? item.agentId) === item.agentId &&
        (label === undefined || (item.labels?.includes(label) ?? false)) &&
        index >= (createdFrom ?? 0) &&
        index < (createdTo ?? COMMANDS) &&
        (text === undefined || searched.some((each) => each?.toLowerCase().includes(text.toLowerCase())))
      )
    }
    const property = fc.asyncProperty(filters, fc.integer({ min: 20, max: 1000 }), async (asked, limit) => {
      const { createdFrom, createdTo, ...others } = asked
      const query = new URLSearchParams({ limit: String(limit) })
      for (const [name, value] of Object.entries(others)) if (value !== undefined) query.set(name, String(value))
      if (createdFrom !== undefined) query.set('createdFrom', isoAt(createdFrom))
      if (createdTo !== undefined) query.set('createdTo', isoAt(createdTo))
      const items = (await pagesOf(server, query)).flatMap((page) => page.items)
      assert.deepEqual(
        items,
        everything.filter((item) => passes(item, asked)),
      )
    })
    await fc.assert(property, { numRuns: 50 })
  })
})

t.test('a page of hundreds is whole, though it is read in slices', async (t) => {
  const server = await startServer(t)
  for (let index = 0; index < 500; index += 1) await server.store.submit(commandAt(index), null)
  for (const [query, lengths] of [
    [{ limit: '450' }, [450, 50]],
    [{ limit: '500' }, [500]],
    [{ limit: '250', type: 'DELAY' }, [250, 83]],
  ] as const) {
    const pages = await pagesOf(server, new URLSearchParams(query))
    t.same(
      pages.map(({ items }) => items.length),
      lengths,
    )
  }
})

t.test('large commands count by their bytes, and each page has at least one', async (t) => {
  const server = await startServer(t, { listMax: { rows: 100, bytes: 50_000 } })
  for (let index = 0; index < 5; index += 1)
    await server.submit({ metadata: { note: 'x' }, payload: { ms: 1 }, labels: [], ...(index === 2 ? large() : {}) })
  const lengthsOf = async (query: object) =>
    (await pagesOf(server, new URLSearchParams({ limit: '100', ...query }))).map(({ items }) => items.length)
  t.same(await lengthsOf({ text: 'no such text' }), [0, 0])
  t.same(await lengthsOf({ type: 'HTTP_GET_JSON,DELAY' }), [3, 2])
  t.same(await lengthsOf({ fields: 'commandId,payload' }), [3, 2])
  t.same(await lengthsOf({}), [5], 'a plain list shows nothing large')
})

const large = () => ({
  type: 'HTTP_GET_JSON',
  payload: {
    url: 'http://example.test/',
    headers: Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`x-${index}`, 'x'.repeat(4000)])),
  },
})
