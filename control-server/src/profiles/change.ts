/**
 * Every decision about a change of profiles, templates and engines: what may be stored, replaced, deleted, and taken over from a
 * file. Nothing is stored that could not be used, and nothing is changed or deleted under a profile that then could not.
 */
import type { ApiErrorCode } from '@agent-executor/protocol'
import { chainProblems, dependsOn, profileNames } from './chain.ts'
import {
  type DocumentKind,
  type Documents,
  type DocumentVersion,
  documentKey,
  type EngineContent,
  type Problem,
  type ProfileContent,
  profileIn,
  type TemplateContent,
} from './document.ts'

/** Of all kinds together. Deleted ones do not count: they cost next to nothing, and to delete one makes room. */
export const DOCUMENTS_MAX = 1000
/** Of the newest versions together, which are in memory. */
export const DOCUMENTS_CHARACTERS_MAX = 16 * 1_048_576

export type Refusal = { code: ApiErrorCode; message?: string; details?: Problem[] }
export type Changed =
  | { ok: true; document: DocumentVersion; created: boolean; isNew: boolean }
  | { ok: false; refusal: Refusal }

/** The versions that If-Match allows; `any` that there is; null = the header is missing. */
export type Precondition = { versions: readonly number[] } | 'any' | null

export type Put = {
  name: string
  content:
    | { kind: 'profile'; content: ProfileContent }
    | { kind: 'template'; content: TemplateContent }
    | { kind: 'engine'; content: EngineContent }
  /** Refused where there is one already. */
  mustBeNew: boolean
  precondition: Precondition
  nowMs: number
}

/** What a profile does with a document that it refers to. */
const VERB = { profile: 'extends', template: 'names', engine: 'names' } as const satisfies Record<DocumentKind, string>

const refused = (code: ApiErrorCode, message?: string, details?: Problem[]): { ok: false; refusal: Refusal } => ({
  ok: false,
  refusal: { code, ...(message === undefined ? {} : { message }), ...(details === undefined ? {} : { details }) },
})

/** `isNew` = there is something to store; a repeat of what is there changes nothing, whatever version it expects. */
export function putDocument(documents: Documents, put: Put): Changed {
  const { kind, content } = put.content
  const before = documents.get(documentKey(kind, put.name))
  const current = before === undefined || before.content === null ? undefined : before
  if (current !== undefined) {
    if (put.mustBeNew) return refused('NAME_TAKEN', `There is a ${kind} ${put.name}.`)
    if (sameContent(current.content, content)) return { ok: true, document: current, created: false, isNew: false }
  }
  const wrong = preconditionProblem(kind, put.name, current, put.precondition)
  if (wrong !== null) return wrong
  const document = {
    ...put.content,
    name: put.name,
    version: (before?.version ?? 0) + 1,
    origin: 'api',
    seedSha256: null,
    createdAtMs: put.nowMs,
  } as DocumentVersion
  const problem = storingProblem(documents, document)
  return problem ?? { ok: true, document, created: current === undefined, isNew: true }
}

export function deleteDocument(
  documents: Documents,
  { kind, name, precondition, nowMs }: { kind: DocumentKind; name: string; precondition: Precondition; nowMs: number },
): Changed {
  const current = documents.get(documentKey(kind, name))
  if (current === undefined || current.content === null) return refused(notFoundCode(kind), noSuch(kind, name))
  const wrong = preconditionProblem(kind, name, current, precondition)
  if (wrong !== null) return wrong
  const users = usersOf(documents, kind, name)
  if (users.length > 0)
    return refused(
      'IN_USE',
      `${users.join(', ')} ${VERB[kind]} the ${kind} ${name}.`,
      users.map((user) => ({
        path: `/profiles/${user}`,
        message: kind === 'profile' ? `extends ${name}` : `${VERB[kind]} the ${kind} ${name}`,
      })),
    )
  const version = current.version + 1
  const document: DocumentVersion = {
    ...current,
    content: null,
    version,
    origin: 'api',
    seedSha256: null,
    createdAtMs: nowMs,
  }
  return { ok: true, document, created: false, isNew: true }
}

/** A seed whose file was read and understood. */
export type Seed = { name: string; content: Put['content']; sha256: string }

/** Whether a file has something that the database has not seen: never where somebody has written or deleted since. */
export function isSeedWanted(documents: Documents, kind: DocumentKind, name: string, sha256: string): boolean {
  const newest = documents.get(documentKey(kind, name))
  return newest === undefined || (newest.origin === 'seed' && newest.seedSha256 !== sha256)
}

/** What to store of the seeds, in an order in which each finds what it refers to, and why not the others. */
export function seedDocuments(
  documents: Documents,
  seeds: readonly Seed[],
  nowMs: number,
): { stored: DocumentVersion[]; refused: { seed: Seed; refusal: Refusal }[] } {
  const after = new Map(documents)
  const stored: DocumentVersion[] = []
  let left = seeds.filter(({ name, content, sha256 }) => isSeedWanted(documents, content.kind, name, sha256))
  for (;;) {
    const refusedNow: { seed: Seed; refusal: Refusal }[] = []
    for (const seed of left) {
      const key = documentKey(seed.content.kind, seed.name)
      const document = {
        ...seed.content,
        name: seed.name,
        version: (after.get(key)?.version ?? 0) + 1,
        origin: 'seed',
        seedSha256: seed.sha256,
        createdAtMs: nowMs,
      } as DocumentVersion
      const problem = storingProblem(after, document)
      if (problem !== null) refusedNow.push({ seed, refusal: problem.refusal })
      else {
        after.set(key, document)
        stored.push(document)
      }
    }
    // A round that stored nothing will not do better the next time.
    if (refusedNow.length === left.length) return { stored, refused: refusedNow }
    left = refusedNow.map(({ seed }) => seed)
  }
}

const NOT_FOUND = {
  profile: 'PROFILE_NOT_FOUND',
  template: 'TEMPLATE_NOT_FOUND',
  engine: 'ENGINE_NOT_FOUND',
} as const satisfies Record<DocumentKind, ApiErrorCode>
export const notFoundCode = (kind: DocumentKind): ApiErrorCode => NOT_FOUND[kind]
export const noSuch = (kind: DocumentKind, name: string): string => `There is no ${kind} ${name}.`

function preconditionProblem(
  kind: DocumentKind,
  name: string,
  current: DocumentVersion | undefined,
  precondition: Precondition,
): { ok: false; refusal: Refusal } | null {
  if (current === undefined)
    return precondition === null ? null : refused('VERSION_MISMATCH', `There is no ${kind} ${name}, in any version.`)
  if (precondition === null) return refused('VERSION_REQUIRED')
  const isMet = precondition === 'any' || precondition.versions.includes(current.version)
  return isMet
    ? null
    : refused('VERSION_MISMATCH', `The newest version of the ${kind} ${name} is "${current.version}".`)
}

function storingProblem(documents: Documents, document: DocumentVersion): { ok: false; refusal: Refusal } | null {
  const { kind, name } = document
  const key = documentKey(kind, name)
  const after = new Map(documents).set(key, document)
  const { count, characters } = sizeOf(after)
  if (count > DOCUMENTS_MAX || characters > DOCUMENTS_CHARACTERS_MAX) return refused('DOCUMENTS_FULL')
  if (kind === 'profile') {
    const problems = chainProblems(after, name)
    if (problems.length > 0) return refused('INVALID_REQUEST', undefined, problems)
  }
  const users = profileNames(after).filter(
    (profile) => (kind !== 'profile' || profile !== name) && dependsOn(after, profile, document),
  )
  const broken = users.flatMap((profile) => {
    const problems = chainProblems(after, profile)
    // Who is unusable already cannot be made worse, and nobody could repair a chain step by step.
    return problems.length === 0 || chainProblems(documents, profile).length > 0
      ? []
      : problems.map(({ path, message }) => ({ path: `/profiles/${profile}${path}`, message }))
  })
  return broken.length > 0 ? refused('IN_USE', undefined, broken) : null
}

const usersOf = (documents: Documents, kind: DocumentKind, name: string): string[] =>
  profileNames(documents).filter((user) => {
    const profile = profileIn(documents, user)?.content.profile
    const referredTo = {
      profile: profile?.extends,
      template: profile?.prompt?.template,
      engine: profile?.agent?.engine,
    }
    return referredTo[kind] === name
  })

const sizeOf = (documents: Documents): { count: number; characters: number } => {
  let count = 0
  let characters = 0
  for (const { content } of documents.values())
    if (content !== null) {
      count += 1
      characters += 'toml' in content ? content.toml.length : content.text.length
    }
  return { count, characters }
}

/** Both were made by the same reader, so that equal ones have equal texts. */
const sameContent = (one: DocumentVersion['content'], other: Put['content']['content']): boolean =>
  JSON.stringify(one) === JSON.stringify(other)
