// Profiles, templates and engines that come as files, in a real folder and a real database.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { loadSeeds } from '../../src/documents/seeds.ts'
import { enginesIn } from '../../src/profiles/document.ts'
import { openSqliteStore } from '../../src/store/sqlite-store.ts'
import { createRenderer } from '../../src/templates/renderer.ts'
import { policy } from '../lifecycle/builders.ts'
import { MAXIMA, profileVersion } from '../profiles/builders.ts'

const SHIPPED = fileURLToPath(new URL('../../../seeds/', import.meta.url))

const loading = async (t: Test, files: Record<string, string> = {}) => {
  const dir = t.testdir()
  const folder = join(dir, 'seeds')
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  for (const [path, text] of Object.entries(files)) write(path, text)
  const store = openSqliteStore({
    ...{ file: join(dir, 'commands.db'), policy, nowMs: 1, newEpoch: 'epoch-one' },
    onFatal: (error) => {
      throw error
    },
  })
  const renderer = createRenderer()
  t.teardown(async () => {
    await renderer.close()
    await store.close()
  })
  const { documents } = store
  return {
    documents,
    folder,
    write,
    /** What was logged, as sentences. */
    async load(from = folder, shipped = from): Promise<string[]> {
      const lines: string[] = []
      const log = {
        info: (facts: object, message: string) => void lines.push(`${message}: ${Object.values(facts).join(' ')}`),
        warn: (facts: object, message: string) => void lines.push(`${message}: ${JSON.stringify(facts)}`),
      }
      await loadSeeds({ folder: from, shipped, documents, renderer, maxima: MAXIMA, nowMs: () => 5, log })
      return lines
    },
    async shown(): Promise<string[]> {
      return [...(await documents.newest())].map(([key, { version, origin }]) => `${key} ${version} ${origin}`).sort()
    },
  }
}

t.test('the seeds that come with the server are right', async (t) => {
  const { load, shown } = await loading(t)
  t.notMatch((await load(SHIPPED)).join('\n'), /refused/)
  t.same(await shown(), [
    ...['claude-code', 'codex', 'gemini', 'opencode', 'shell'].map((name) => `engine/${name} 1 seed`),
    'profile/code-review 1 seed',
    'profile/default 1 seed',
    'profile/researcher 1 seed',
    'profile/script 1 seed',
    'template/code-review 1 seed',
    'template/research 1 seed',
  ])
  t.same(await load(SHIPPED), [], 'loaded once')
})

t.test('the image of an engine has the version of its lock, and is asked for it', async (t) => {
  const { load, documents } = await loading(t)
  await load(SHIPPED)
  for (const { name, content } of enginesIn(await documents.newest())) {
    const { image, probe } = content.engine
    if (name === 'shell') continue
    const file = new URL(`../../../../engines/images/${name}/package.json`, import.meta.url)
    const [version] = Object.values(JSON.parse(readFileSync(file, 'utf8')).dependencies)
    t.equal(image, `agent-executor/${name}:${version}`)
    t.equal(probe?.prints, version)
  }
})

t.test('engines of the product are there whatever folder is given, and its own go before them', async (t) => {
  const { load, shown, documents } = await loading(t, {
    'engines/own.toml': 'adapter = "program"\n[program]\nargv = ["own"]',
    'engines/codex.toml': 'adapter = "codex"\nimage = "own/codex:1"',
  })
  t.equal((await load(undefined, SHIPPED)).length, 6)
  t.same(await load(undefined, SHIPPED), [], 'neither comes again')
  const engines = ['claude-code', 'codex', 'gemini', 'opencode', 'own', 'shell']
  t.same(
    await shown(),
    engines.map((name) => `engine/${name} 1 seed`),
  )
  t.match((await documents.newest()).get('engine/codex'), { content: { engine: { image: 'own/codex:1' } } })
})

t.test('a changed file is loaded again, unless somebody has written or deleted meanwhile', async (t) => {
  const { load, write, shown, documents } = await loading(t, {
    'profiles/a.toml': 'description = "a"',
    'profiles/b.toml': 'description = "b"',
    'profiles/c.toml': 'description = "c"',
    'templates/t.md': 'one',
  })
  t.equal((await load()).length, 4)
  const edited = profileVersion('b', { description: 'edited' }, {}, 2)
  const gone = { ...profileVersion('c', {}, {}, 2), content: null } as typeof edited
  await documents.change(() => ({ answer: null, added: [edited, gone] }))
  for (const name of ['a', 'b', 'c']) write(`profiles/${name}.toml`, `description = "${name}, again"`)
  t.same(await load(), ['seed loaded: a 2'])
  t.same(await shown(), ['profile/a 2 seed', 'profile/b 2 api', 'profile/c 2 api', 'template/t 1 seed'])
  t.match((await documents.newest()).get('profile/b'), { content: { profile: { description: 'edited' } } })
})

t.test('a file that cannot be understood is named, and the others are loaded', async (t) => {
  const { load, shown } = await loading(t, {
    'profiles/good.toml': 'extends = "base"',
    'profiles/base.toml': '',
    'profiles/broken.toml': '[agent\n',
    'profiles/unknown.toml': '[agent]\nprivileged = true',
    'profiles/orphan.toml': 'extends = "nobody"',
    'profiles/Bad Name.toml': '',
    'profiles/notes.txt': 'not a profile',
    'profiles/.hidden.toml': '[',
    'templates/broken.md': '{{',
    'templates/long.md': 'x'.repeat(65_537),
    'templates/good.jinja': '{# nothing #}',
    'elsewhere/x.toml': '[',
  })
  const lines = await load()
  t.same(await shown(), ['profile/base 1 seed', 'profile/good 1 seed', 'template/good 1 seed'])
  const refused = lines.filter((line) => line.startsWith('seed refused')).join('\n')
  for (const part of [
    'broken.toml',
    'line 1, column',
    '/agent/privileged',
    'orphan',
    'Bad Name',
    'broken.md',
    'long.md',
  ])
    t.match(refused, part)
  t.equal(lines.length, 9)
})

t.test('a folder that is not there has no seeds', async (t) => {
  const { load, shown, folder } = await loading(t)
  rmSync(folder, { recursive: true, force: true })
  t.same(await load(), [])
  t.same(await shown(), [])
})
