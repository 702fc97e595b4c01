/** Routes of documents that are written as TOML, or as the same in JSON: profiles and engines. */
import { DocumentName, TEXT_CHARACTERS_MAX } from '@agent-executor/protocol'
import { type TSchema, Type } from '@agent-executor/protocol/typebox'
import type { Read } from '../documents/read-content.ts'
import type { LiveEngine, LiveProfile } from '../profiles/document.ts'
import type { App, Context } from './context.ts'
import {
  DocumentParams,
  deleteRoute,
  documentBodyLimit,
  documentCalls,
  etagOf,
  preconditionOf,
  refuse,
  VersionQuery,
} from './documents.ts'

type TomlKind = 'profile' | 'engine'
type Live<Kind extends TomlKind> = Kind extends 'profile' ? LiveProfile : LiveEngine

type Documents<Kind extends TomlKind> = {
  kind: Kind
  schemas: { record: TSchema; summary: TSchema }
  read: (source: { toml: string } | { json: unknown }, at: string) => Promise<Read<Live<Kind>['content']>>
  summaries: (documents: readonly Live<Kind>[]) => Promise<object[]>
  record: (document: Live<Kind>) => Promise<object>
}

type Body = { name: string; toml?: string } & Record<string, unknown>

export function tomlDocumentRoutes<Kind extends TomlKind>(app: App, context: Context, of: Documents<Kind>): void {
  const { kind, schemas, summaries, record } = of
  const calls = documentCalls(kind, context)
  const bodyLimit = documentBodyLimit(context.limits.bodyBytesMax)
  const config = { toml: true }
  /** Held against its own schema after the text was read. */
  const source = {
    toml: Type.Optional(Type.String({ maxLength: TEXT_CHARACTERS_MAX })),
    [kind]: Type.Optional(Type.Unsafe<unknown>({ type: 'object' })),
  }
  const closed = { additionalProperties: false }
  const NewDocument = Type.Object({ name: DocumentName, ...source }, closed)
  const ChangedDocument = Type.Object(source, closed)

  /** What is put, and where it stands in the body. */
  const given = async ({ toml, [kind as string]: json }: Body) => {
    if ((toml === undefined) === (json === undefined))
      throw refuse({
        code: 'INVALID_REQUEST',
        details: [{ path: `/${kind}`, message: 'or toml is required, and not both' }],
      })
    const at = toml === undefined ? `/${kind}` : '/toml'
    const read = await of.read(toml === undefined ? { json } : { toml }, at)
    if (!read.ok) throw refuse(read.refusal)
    return { content: { kind, content: read.content } as Parameters<typeof calls.put>[0]['content'], at }
  }

  app.get(`/${kind}s`, { schema: { response: { 200: Type.Array(schemas.summary) } } }, async () =>
    summaries((await calls.list()) as Live<Kind>[]),
  )

  app.post(
    `/${kind}s`,
    { bodyLimit, config, schema: { body: NewDocument, response: { 201: schemas.record } } },
    async (request, reply) => {
      const body = request.body as Body
      const { content, at } = await given(body)
      const { document } = await calls.put({ name: body.name, content, mustBeNew: true, precondition: null }, at)
      request.log.info({ [kind]: body.name, version: document.version }, `${kind} created`)
      return reply
        .status(201)
        .header('location', `/${kind}s/${body.name}`)
        .header('etag', etagOf(document))
        .send(await record(document as Live<Kind>))
    },
  )

  app.get(
    `/${kind}s/:name`,
    { schema: { params: DocumentParams, querystring: VersionQuery, response: { 200: schemas.record } } },
    async (request, reply) => {
      const document = (await calls.read(request.params.name, request.query.version)) as Live<Kind>
      reply.header('etag', etagOf(document)).header('vary', 'accept')
      if (/\bapplication\/toml\b/.test(request.headers.accept ?? ''))
        return reply.type('application/toml; charset=utf-8').serializer(String).send(document.content.toml)
      return record(document)
    },
  )

  app.put(
    `/${kind}s/:name`,
    {
      bodyLimit,
      config,
      schema: {
        params: DocumentParams,
        body: ChangedDocument,
        response: { 200: schemas.record, 201: schemas.record },
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const { content, at } = await given(request.body as Body)
      const precondition = preconditionOf(request.headers['if-match'])
      const { document, created } = await calls.put({ name, content, mustBeNew: false, precondition }, at)
      request.log.info({ [kind]: name, version: document.version }, `${kind} stored`)
      return reply
        .status(created ? 201 : 200)
        .header('etag', etagOf(document))
        .send(await record(document as Live<Kind>))
    },
  )

  deleteRoute(app, kind, calls)
}
