/** Profiles: read, write, and what one comes to for a request. */
import { DocumentName, ProfileRecord, ProfileSummary, Resolution, TEXT_CHARACTERS_MAX } from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { readProfile } from '../../documents/read-content.ts'
import type { LiveProfile, ProfileContent } from '../../profiles/document.ts'
import { runRefusal } from '../../profiles/profile-run.ts'
import { configurationOf, type Resolved } from '../../profiles/resolve.ts'
import type { App, Context } from '../context.ts'
import {
  DocumentParams,
  deleteRoute,
  documentBodyLimit,
  documentCalls,
  etagOf,
  headOf,
  preconditionOf,
  refuse,
  VersionQuery,
} from '../documents.ts'
import { queryJson } from '../json-body.ts'
import { resolvedRequest, shownPrompt } from '../profile-request.ts'

/** The TOML text or the same as JSON; its schema is that of the profile, and held against it after the text was read. */
const source = {
  toml: Type.Optional(Type.String({ maxLength: TEXT_CHARACTERS_MAX })),
  profile: Type.Optional(Type.Unsafe<unknown>({ type: 'object' })),
}
const closed = { additionalProperties: false }
const NewProfile = Type.Object({ name: DocumentName, ...source }, closed)
const ChangedProfile = Type.Object(source, closed)

const JsonText = Type.Optional(Type.String({ maxLength: TEXT_CHARACTERS_MAX }))
const ResolveQuery = Type.Object({ overrides: JsonText, variables: JsonText }, closed)
const Anything = Type.Optional(Type.Unsafe<unknown>({ type: 'object' }))
const ResolveBody = Type.Object({ overrides: Anything, variables: Anything }, closed)

export function profileRoutes(app: App, context: Context): void {
  const { renderer, limits } = context
  const calls = documentCalls('profile', context)
  const bodyLimit = documentBodyLimit(limits.bodyBytesMax)
  const config = { toml: true }

  const contentOf = async ({
    toml,
    profile,
  }: {
    toml?: string | undefined
    profile?: unknown
  }): Promise<ProfileContent> => {
    if ((toml === undefined) === (profile === undefined))
      throw refuse({
        code: 'INVALID_REQUEST',
        details: [{ path: '/profile', message: 'or toml is required, and not both' }],
      })
    const tools = { renderer, maxima: limits }
    const read = await readProfile(toml === undefined ? { profile } : { toml }, placeOf({ toml }), tools)
    if (!read.ok) throw refuse(read.refusal)
    return read.content
  }

  app.get('/profiles', { schema: { response: { 200: Type.Array(ProfileSummary) } } }, async () =>
    (await calls.list()).map((document) => ({
      ...headOf(document),
      description: document.content.profile.description ?? null,
      extends: document.content.profile.extends ?? null,
    })),
  )

  app.post(
    '/profiles',
    { bodyLimit, config, schema: { body: NewProfile, response: { 201: ProfileRecord } } },
    async (request, reply) => {
      const { name, ...given } = request.body
      const content = { kind: 'profile' as const, content: await contentOf(given) }
      const at = placeOf(given)
      const { document } = await calls.put({ name, content, mustBeNew: true, precondition: null }, at)
      request.log.info({ profile: name, version: document.version }, 'profile created')
      return reply
        .status(201)
        .header('location', `/profiles/${name}`)
        .header('etag', etagOf(document))
        .send(profileRecord(document))
    },
  )

  app.get(
    '/profiles/:name',
    { schema: { params: DocumentParams, querystring: VersionQuery, response: { 200: ProfileRecord } } },
    async (request, reply) => {
      const document = await calls.read(request.params.name, request.query.version)
      reply.header('etag', etagOf(document)).header('vary', 'accept')
      if (/\bapplication\/toml\b/.test(request.headers.accept ?? ''))
        return reply
          .type('application/toml; charset=utf-8')
          .serializer(String)
          .send(document.content.toml as never)
      return profileRecord(document)
    },
  )

  app.put(
    '/profiles/:name',
    {
      bodyLimit,
      config,
      schema: { params: DocumentParams, body: ChangedProfile, response: { 200: ProfileRecord, 201: ProfileRecord } },
    },
    async (request, reply) => {
      const { name } = request.params
      const content = { kind: 'profile' as const, content: await contentOf(request.body) }
      const precondition = preconditionOf(request.headers['if-match'])
      const at = placeOf(request.body)
      const { document, created } = await calls.put({ name, content, mustBeNew: false, precondition }, at)
      request.log.info({ profile: name, version: document.version }, 'profile stored')
      return reply
        .status(created ? 201 : 200)
        .header('etag', etagOf(document))
        .send(profileRecord(document))
    },
  )

  deleteRoute(app, 'profile', calls)

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

/** Where the profile stands in the body. */
const placeOf = ({ toml }: { toml?: string | undefined }): string => (toml === undefined ? '/profile' : '/toml')

const profileRecord = (document: LiveProfile): ProfileRecord => ({
  ...headOf(document),
  profile: document.content.profile,
  toml: document.content.toml,
})

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
