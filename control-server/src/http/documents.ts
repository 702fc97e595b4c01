/** What the routes of profiles, templates and engines have in common. */
import { DocumentName } from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { instant } from '../lifecycle/record.ts'
import {
  deleteDocument,
  noSuch,
  notFoundCode,
  type Precondition,
  type Put,
  putDocument,
  type Refusal,
} from '../profiles/change.ts'
import {
  type DocumentKind,
  documentKey,
  type LiveEngine,
  type LiveProfile,
  type LiveTemplate,
} from '../profiles/document.ts'
import type { Rendered } from '../templates/renderer.ts'
import type { App, Context } from './context.ts'
import { ApiError, RETRY_LATER } from './errors.ts'

export const DocumentParams = Type.Object({ name: DocumentName })
export const VersionQuery = Type.Object(
  { version: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })) },
  { additionalProperties: false },
)

/** A profile or template of the longest text, with every character escaped. */
const BODY_BYTES_MAX = 524_288
export const documentBodyLimit = (bodyBytesMax: number): number => Math.min(bodyBytesMax, BODY_BYTES_MAX)

export const refuse = ({ code, message, details }: Refusal): ApiError => {
  const first = details?.[0]
  return new ApiError(code, message ?? (first && `${first.path} ${first.message}`), {
    ...(details === undefined ? {} : { details }),
    ...(code === 'OVERLOADED' ? { headers: RETRY_LATER } : {}),
  })
}

/** What came of a template; a failure is the caller's, with the place where the template stands. */
export const rendered = <Value>(answer: Rendered<Value>, what: string): Value => {
  if (answer.ok) return answer.value
  throw refuse({
    code: answer.code,
    message: answer.code === 'OVERLOADED' ? answer.message : `${what} ${answer.message}`,
  })
}

export const headOf = ({ name, version, origin, createdAtMs }: LiveProfile | LiveTemplate | LiveEngine) => ({
  name,
  version,
  origin,
  updatedAt: instant(createdAtMs),
})

export const etagOf = ({ version }: { version: number }): string => `"${version}"`

/** Bare numbers too; what is no version of ours is one that nothing has. */
export const preconditionOf = (header: string | undefined): Precondition => {
  if (header === undefined) return null
  if (header.trim() === '*') return 'any'
  const versions = header
    .split(',')
    .map((tag) => Number(/^\s*(?:"(\d{1,15})"|(\d{1,15}))\s*$/.exec(tag)?.slice(1).join('')))
  return { versions: versions.filter((version) => Number.isSafeInteger(version) && version > 0) }
}

export function deleteRoute(
  app: App,
  kind: DocumentKind,
  { remove }: Pick<ReturnType<typeof documentCalls>, 'remove'>,
): void {
  app.delete(`/${kind}s/:name`, { schema: { params: DocumentParams } }, async (request, reply) => {
    const { name } = request.params
    await remove(name, preconditionOf(request.headers['if-match']))
    request.log.info({ [kind]: name }, `${kind} deleted`)
    return reply.status(204).send()
  })
}

type Live<Kind extends DocumentKind> = { profile: LiveProfile; template: LiveTemplate; engine: LiveEngine }[Kind]

export function documentCalls<Kind extends DocumentKind>(kind: Kind, { documents, nowMs, wakeups }: Context) {
  /** Agents find out with their next sync what they can run of it. */
  const stored = (): void => {
    if (kind === 'engine') wakeups.changedForAll()
  }
  return {
    async list(): Promise<Live<Kind>[]> {
      const all = [...(await documents.newest()).values()]
      return all.filter((each) => each.kind === kind && each.content !== null) as Live<Kind>[]
    },

    /** The newest version, or the one that is asked for, which may be of a document that was deleted since. */
    async read(name: string, version: number | undefined): Promise<Live<Kind>> {
      const found =
        version === undefined
          ? (await documents.newest()).get(documentKey(kind, name))
          : await documents.version(kind, name, version)
      if (found === undefined || found.content === null)
        throw refuse({
          code: notFoundCode(kind),
          message:
            version === undefined ? noSuch(kind, name) : `There is no version ${version} of the ${kind} ${name}.`,
        })
      return found as Live<Kind>
    },

    /** `at` is where the content stands in the body: what is wrong between it and other documents is a fault of it. */
    async put(put: Omit<Put, 'nowMs'>, at: string): Promise<{ document: Live<Kind>; created: boolean }> {
      const changed = await documents.change((all) => {
        const answer = putDocument(all, { ...put, nowMs: nowMs() })
        return { answer, added: answer.ok && answer.isNew ? [answer.document] : [] }
      })
      if (!changed.ok) {
        const { code, details = [] } = changed.refusal
        const own =
          code === 'INVALID_REQUEST' ? { details: details.map((each) => ({ ...each, path: at + each.path })) } : {}
        throw refuse({ ...changed.refusal, ...own })
      }
      if (changed.isNew) stored()
      return { document: changed.document as Live<Kind>, created: changed.created }
    },

    async remove(name: string, precondition: Precondition): Promise<void> {
      const changed = await documents.change((all) => {
        const answer = deleteDocument(all, { kind, name, precondition, nowMs: nowMs() })
        return { answer, added: answer.ok ? [answer.document] : [] }
      })
      if (!changed.ok) throw refuse(changed.refusal)
      stored()
    },
  }
}
