/**
 * Profiles, templates and engines that come as files: `profiles/<name>.toml`, `templates/<name>.<anything>` and
 * `engines/<name>.toml` below one folder; engines also from the one that the product brings, which is looked at second.
 * Loaded where the database has not seen them, at the start and whenever somebody asks for it. A file that cannot be
 * understood is logged and leaves things as they are.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DOCUMENT_NAME_PATTERN, TEXT_CHARACTERS_MAX } from '@agent-executor/protocol'
import { sha256 } from '@agent-executor/runtime'
import { isSeedWanted, type Refusal, type Seed, seedDocuments } from '../profiles/change.ts'
import type { DocumentKind, Documents } from '../profiles/document.ts'
import type { Maxima } from '../profiles/profile.ts'
import type { DocumentStore } from '../store/documents.ts'
import type { Renderer } from '../templates/renderer.ts'
import { readEngine, readProfile, readTemplate } from './read-content.ts'

export type SeedOptions = {
  folder: string
  /** Of the product. */
  shipped: string
  documents: DocumentStore
  renderer: Renderer
  maxima: Maxima
  nowMs: () => number
  log: {
    info: (facts: object, message: string) => void
    warn: (facts: object, message: string) => void
  }
}

const FOLDERS: readonly [folder: string, kind: DocumentKind, ending: RegExp][] = [
  ['templates', 'template', /\.[A-Za-z0-9]+$/],
  ['engines', 'engine', /\.toml$/],
  ['profiles', 'profile', /\.toml$/],
]
/** In bytes: a character has at most four. */
const FILE_BYTES_MAX = 4 * TEXT_CHARACTERS_MAX

export async function loadSeeds(options: SeedOptions): Promise<void> {
  const { documents, renderer, maxima, nowMs, log } = options
  const known = await documents.newest()
  const seeds: Seed[] = []
  for (const [below, kind, ending] of FOLDERS)
    for (const { folder, file } of await filesOf(options, { below, kind, ending })) {
      const read = await readSeed(join(folder, below, file), { name: file.replace(ending, ''), kind, known })
      if (read === null) continue
      if ('refusal' in read) log.warn({ file: join(below, file), ...read.refusal }, 'seed refused')
      else seeds.push(read)
    }
  if (seeds.length === 0) return
  const { stored, refused } = await documents.change((all) => {
    const answer = seedDocuments(all, seeds, nowMs())
    return { answer, added: answer.stored }
  })
  for (const { kind, name, version } of stored) log.info({ [kind]: name, version }, 'seed loaded')
  for (const { seed, refusal } of refused) log.warn({ [seed.content.kind]: seed.name, ...refusal }, 'seed refused')

  /** null where the database has seen it, or where somebody has changed what it made. */
  async function readSeed(
    path: string,
    { name, kind, known }: { name: string; kind: DocumentKind; known: Documents },
  ): Promise<Seed | { refusal: Refusal } | null> {
    const bytes = await readFile(path)
    const text = bytes.toString('utf8')
    const fault = new RegExp(DOCUMENT_NAME_PATTERN).test(name)
      ? bytes.length > FILE_BYTES_MAX || text.length > TEXT_CHARACTERS_MAX
        ? `is longer than ${TEXT_CHARACTERS_MAX} characters`
        : null
      : 'has a name that no document may have'
    if (fault !== null) return { refusal: { code: 'INVALID_REQUEST', message: fault } }
    const fingerprint = sha256(text)
    if (!isSeedWanted(known, kind, name, fingerprint)) return null
    if (kind === 'template') {
      const read = await readTemplate(text, renderer)
      return read.ok ? { name, content: { kind, content: read.content }, sha256: fingerprint } : read
    }
    if (kind === 'engine') {
      const read = readEngine({ toml: text }, '')
      return read.ok ? { name, content: { kind, content: read.content }, sha256: fingerprint } : read
    }
    const read = await readProfile({ toml: text }, '', { renderer, maxima })
    return read.ok ? { name, content: { kind, content: read.content }, sha256: fingerprint } : read
  }
}

/** What an operator has in the place of a file of the product goes before it. */
async function filesOf(
  { folder, shipped }: SeedOptions,
  { below, kind, ending }: { below: string; kind: DocumentKind; ending: RegExp },
): Promise<{ folder: string; file: string }[]> {
  const own = await filesIn(join(folder, below), ending)
  const more = kind === 'engine' && folder !== shipped ? await filesIn(join(shipped, below), ending) : []
  return [
    ...own.map((file) => ({ folder, file })),
    ...more.filter((file) => !own.includes(file)).map((file) => ({ folder: shipped, file })),
  ]
}

/** Sorted; none where there is no such folder. */
async function filesIn(folder: string, ending: RegExp): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    return entries
      .filter((entry) => entry.isFile() && ending.test(entry.name) && !entry.name.startsWith('.'))
      .map(({ name }) => name)
      .sort()
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return []
    throw error
  }
}
