/** Profiles, templates and engines as they are stored: documents with a name, of which every version is kept. */
import { definitionOf, type Engine, type EngineDefinition, type Profile } from '@agent-executor/protocol'

export type DocumentKind = 'profile' | 'template' | 'engine'

/** `names`: the variables that the inline prompt and the system prompt name. */
export type ProfileContent = { profile: Profile; toml: string; names: { text: string[]; system: string[] } }
export type TemplateContent = { text: string; names: string[] }
export type EngineContent = { engine: Engine; toml: string }

type Version<Kind extends DocumentKind, Content> = {
  kind: Kind
  name: string
  /** Counts from 1, and goes on after a deletion, so that none ever comes back as another text. */
  version: number
  /** null: this version deletes the document. */
  content: Content | null
  origin: 'api' | 'seed'
  /** Of the file that it was loaded from. */
  seedSha256: string | null
  createdAtMs: number
}
export type ProfileVersion = Version<'profile', ProfileContent>
export type TemplateVersion = Version<'template', TemplateContent>
export type EngineVersion = Version<'engine', EngineContent>
export type DocumentVersion = ProfileVersion | TemplateVersion | EngineVersion

/** The newest version of every document, deleted ones included, under `documentKey`. */
export type Documents = ReadonlyMap<string, DocumentVersion>

export const documentKey = (kind: DocumentKind, name: string): string => `${kind}/${name}`

type Live<Kind extends DocumentKind> = Extract<DocumentVersion, { kind: Kind }> & {
  content: NonNullable<Extract<DocumentVersion, { kind: Kind }>['content']>
}
export type LiveProfile = Live<'profile'>
export type LiveTemplate = Live<'template'>
export type LiveEngine = Live<'engine'>

/** Undefined where there is none, or where it is deleted. */
export function profileIn(documents: Documents, name: string): LiveProfile | undefined {
  const found = documents.get(documentKey('profile', name))
  return found?.kind === 'profile' && found.content !== null ? (found as LiveProfile) : undefined
}

export function templateIn(documents: Documents, name: string): LiveTemplate | undefined {
  const found = documents.get(documentKey('template', name))
  return found?.kind === 'template' && found.content !== null ? (found as LiveTemplate) : undefined
}

export function engineIn(documents: Documents, name: string): LiveEngine | undefined {
  const found = documents.get(documentKey('engine', name))
  return found?.kind === 'engine' && found.content !== null ? (found as LiveEngine) : undefined
}

/** By name. */
export const enginesIn = (documents: Documents): LiveEngine[] =>
  [...documents.values()]
    .filter((document): document is LiveEngine => document.kind === 'engine' && document.content !== null)
    .sort((a, b) => (a.name < b.name ? -1 : 1))

export const definitionIn = ({ name, version, content }: LiveEngine): EngineDefinition =>
  definitionOf(name, version, content.engine)

/** What is wrong, and where: a JSON pointer. */
export type Problem = { path: string; message: string }
