// Profiles and templates in the store: the promises of src/store/documents.ts.
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import type { DocumentVersion } from '../../src/profiles/document.ts'
import { openSqliteStore } from '../../src/store/sqlite-store.ts'
import { policy, waiting } from '../lifecycle/builders.ts'
import { profileVersion, templateVersion } from '../profiles/builders.ts'

const open = async (t: Test) => {
  const file = join(t.testdir(), 'commands.db')
  const openFile = () =>
    openSqliteStore({
      ...{ file, policy, nowMs: 1, newEpoch: 'epoch-one' },
      onFatal: (error) => {
        throw error
      },
    })
  let store = openFile()
  t.teardown(() => store.close())
  return {
    file,
    store: () => store,
    async reopen() {
      await store.close()
      store = openFile()
    },
  }
}
const add =
  (...added: DocumentVersion[]) =>
  () => ({ answer: added.length, added })

t.test('what was added is there, newest first of all, also after a restart; older versions are kept', async (t) => {
  const { store, reopen } = await open(t)
  const { documents } = store()
  const first = profileVersion('p', { description: 'ü\u2028"\\👍', tools: { allow: [] } })
  const second: DocumentVersion = { ...profileVersion('p', {}, {}, 2), origin: 'seed', seedSha256: 'f'.repeat(64) }
  const text = templateVersion('p', 'of the same name', ['a'])
  t.equal(await documents.change(add(first, text)), 2)
  await documents.change(add(second))
  for (const when of ['before', 'after a restart']) {
    const newest = await store().documents.newest()
    t.same(newest.get('profile/p'), second, when)
    t.same(newest.get('template/p'), text, when)
    t.equal(newest.size, 2)
    t.same(await store().documents.version('profile', 'p', 1), first)
    t.equal(await store().documents.version('profile', 'p', 3), undefined)
    t.equal(await store().documents.version('template', 'q', 1), undefined)
    await reopen()
  }
})

t.test('a deleted document is shown as deleted, and its versions stay', async (t) => {
  const { store, reopen } = await open(t)
  const gone: DocumentVersion = { ...profileVersion('p', {}, {}, 2), content: null } as DocumentVersion
  await store().documents.change(add(profileVersion('p', {}), gone))
  await reopen()
  t.same((await store().documents.newest()).get('profile/p'), gone)
  t.ok((await store().documents.version('profile', 'p', 1))?.content)
})

t.test('a version that exists is not written again, and nothing of that change stays', async (t) => {
  const { store } = await open(t)
  const { documents } = store()
  await documents.change(add(profileVersion('p', { description: 'first' })))
  const other = profileVersion('q', {})
  await t.rejects(documents.change(add(other, profileVersion('p', { description: 'second' }))))
  const newest = await documents.newest()
  t.same([...newest.keys()], ['profile/p'])
  t.match(newest.get('profile/p'), { content: { profile: { description: 'first' } } })
  await documents.change(add(other))
  t.equal((await documents.newest()).size, 2)
})

t.test('a decision that throws rejects alone: what shared its commit is stored', async (t) => {
  const { store } = await open(t)
  const { documents } = store()
  const failed = documents.change(() => {
    throw new Error('no')
  })
  const submitted = store().submit(waiting('a'), null)
  const added = documents.change(add(profileVersion('p', {})))
  await t.rejects(failed, { message: 'no' })
  t.match(await submitted, { outcome: 'created' })
  t.equal(await added, 1)
  t.ok(await store().get('a'))
  t.equal((await documents.newest()).size, 1)
})

t.test('each of many changes at a time sees the one before it', async (t) => {
  const { store, reopen } = await open(t)
  const { documents } = store()
  await Promise.all(
    Array.from({ length: 50 }, () =>
      documents.change((all) => {
        const version = (all.get('profile/p')?.version ?? 0) + 1
        return { answer: version, added: [profileVersion('p', {}, {}, version)] }
      }),
    ),
  )
  await reopen()
  t.equal((await store().documents.newest()).get('profile/p')?.version, 50)
})

t.test('what was read stays as it was read', async (t) => {
  const { store } = await open(t)
  const before = await store().documents.newest()
  await store().documents.change(add(profileVersion('p', {})))
  t.equal(before.size, 0)
})

t.test('the database refuses rows that cannot be', async (t) => {
  const { file } = await open(t)
  const db = new Database(file)
  t.teardown(() => db.close())
  const insert = db.prepare('INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)')
  t.doesNotThrow(() => insert.run('profile', 'a', 1, '{}', 'api', null, 1))
  const bad = [
    ['profile', 'a', 1, '{}', 'api', null, 1],
    ['preset', 'a', 1, '{}', 'api', null, 1],
    ['profile', '', 1, '{}', 'api', null, 1],
    ['profile', 'a', 0, '{}', 'api', null, 1],
    ['profile', 'b', 1, '{}', 'seed', null, 1],
    ['profile', 'b', 1, null, 'seed', 'x', 1],
    ['profile', 'b', 1, '{}', 'file', 'x', 1],
  ]
  for (const row of bad) t.throws(() => insert.run(...row), JSON.stringify(row))
})
