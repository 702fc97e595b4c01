/** Profiles: read, write, and what one comes to for a request. */
import { ProfileRecord, ProfileSummary, Resolution, TEXT_CHARACTERS_MAX } from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { readProfile } from '../../documents/read-content.ts'
import { runRefusal } from '../../profiles/profile-run.ts'
import { configurationOf, type Resolved } from '../../profiles/resolve.ts'
import type { App, Context } from '../context.ts'
import { DocumentParams, documentBodyLimit, headOf } from '../documents.ts'
import { queryJson } from '../json-body.ts'
import { resolvedRequest, shownPrompt } from '../profile-request.ts'
import { tomlDocumentRoutes } from '../toml-documents.ts'

const closed = { additionalProperties: false }
const JsonText = Type.Optional(Type.String({ maxLength: TEXT_CHARACTERS_MAX }))
const ResolveQuery = Type.Object({ overrides: JsonText, variables: JsonText }, closed)
const Anything = Type.Optional(Type.Unsafe<unknown>({ type: 'object' }))
const ResolveBody = Type.Object({ overrides: Anything, variables: Anything }, closed)

export function profileRoutes(app: App, context: Context): void {
  const { renderer, limits } = context
  const bodyLimit = documentBodyLimit(limits.bodyBytesMax)

  tomlDocumentRoutes(app, context, {
    kind: 'profile',
    schemas: { record: ProfileRecord, summary: ProfileSummary },
    read: (source, at) => readProfile(source, at, { renderer, maxima: limits }),
    summaries: async (documents) =>
      documents.map((document) => ({
        ...headOf(document),
        description: document.content.profile.description ?? null,
        extends: document.content.profile.extends ?? null,
      })),
    record: async (document) => ({
      ...headOf(document),
      profile: document.content.profile,
      toml: document.content.toml,
    }),
  })

  const resolution = async (name: string, given: { overrides: unknown; variables: unknown }): Promise<Resolution> => {
    const resolved = await resolvedRequest(context, name, given)
    return resolutionRecord(name, resolved, await shownPrompt(context, resolved))
  }

  const resolveResponse = { response: { 200: Resolution } }
  app.get(
    '/profiles/:name/resolve',
    { schema: { params: DocumentParams, querystring: ResolveQuery, ...resolveResponse } },
    async ({ params, query }, reply) => {
      // Values of variables, secret ones among them, do not belong into anybody's cache.
      reply.header('cache-control', 'no-store')
      const overrides = queryJson('overrides', query.overrides)
      return resolution(params.name, { overrides, variables: queryJson('variables', query.variables) })
    },
  )
  app.post(
    '/profiles/:name/resolve',
    { bodyLimit, schema: { params: DocumentParams, body: ResolveBody, ...resolveResponse } },
    async ({ params, body }) =>
      resolution(params.name, { overrides: body.overrides ?? {}, variables: body.variables ?? {} }),
  )
}

const resolutionRecord = (name: string, resolved: Resolved, prompt: Resolution['prompt']): Resolution => ({
  name,
  chain: resolved.chain.map((each) => ({ ...each })),
  configuration: configurationOf(resolved.fields),
  fields: Object.fromEntries(resolved.fields),
  variables: Object.fromEntries(
    [...resolved.variables].map(([variable, { variable: declared, value, ...origin }]) => [
      variable,
      {
        type: declared.type,
        value: declared.type === 'secret' ? null : (value ?? null),
        given: value !== undefined,
        ...origin,
      },
    ]),
  ),
  prompt,
  problems: runRefusal(resolved)?.details ?? [],
})
