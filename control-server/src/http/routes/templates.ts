/** Templates: read, write, and what one makes of given values. */
import {
  DocumentName,
  TEXT_CHARACTERS_MAX,
  TemplateRecord,
  TemplateSummary,
  VariableValues,
} from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { readTemplate } from '../../documents/read-content.ts'
import type { LiveTemplate, TemplateContent } from '../../profiles/document.ts'
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
  rendered,
  VersionQuery,
} from '../documents.ts'

const Text = Type.String({ maxLength: TEXT_CHARACTERS_MAX })
const closed = { additionalProperties: false }
const NewTemplate = Type.Object({ name: DocumentName, text: Text }, closed)
const ChangedTemplate = Type.Object({ text: Text }, closed)
const PreviewBody = Type.Object(
  {
    text: Type.Optional(Type.String({ maxLength: TEXT_CHARACTERS_MAX, description: 'In place of what is stored' })),
    variables: Type.Optional(VariableValues),
  },
  closed,
)
const Preview = Type.Object({ text: Type.String(), variables: Type.Array(Type.String()) })

export function templateRoutes(app: App, context: Context): void {
  const { renderer, limits } = context
  const calls = documentCalls('template', context)
  const bodyLimit = documentBodyLimit(limits.bodyBytesMax)

  const contentOf = async (text: string): Promise<TemplateContent> => {
    const read = await readTemplate(text, renderer)
    if (!read.ok) throw refuse(read.refusal)
    return read.content
  }

  app.get('/templates', { schema: { response: { 200: Type.Array(TemplateSummary) } } }, async () =>
    (await calls.list()).map((document) => ({ ...headOf(document), variables: document.content.names })),
  )

  app.post(
    '/templates',
    { bodyLimit, schema: { body: NewTemplate, response: { 201: TemplateRecord } } },
    async (request, reply) => {
      const { name, text } = request.body
      const content = { kind: 'template' as const, content: await contentOf(text) }
      const { document } = await calls.put({ name, content, mustBeNew: true, precondition: null }, '')
      request.log.info({ template: name, version: document.version }, 'template created')
      return reply
        .status(201)
        .header('location', `/templates/${name}`)
        .header('etag', etagOf(document))
        .send(templateRecord(document))
    },
  )

  app.get(
    '/templates/:name',
    { schema: { params: DocumentParams, querystring: VersionQuery, response: { 200: TemplateRecord } } },
    async (request, reply) => {
      const document = await calls.read(request.params.name, request.query.version)
      reply.header('etag', etagOf(document))
      return templateRecord(document)
    },
  )

  app.put(
    '/templates/:name',
    {
      bodyLimit,
      schema: { params: DocumentParams, body: ChangedTemplate, response: { 200: TemplateRecord, 201: TemplateRecord } },
    },
    async (request, reply) => {
      const { name } = request.params
      const content = { kind: 'template' as const, content: await contentOf(request.body.text) }
      const precondition = preconditionOf(request.headers['if-match'])
      const { document, created } = await calls.put({ name, content, mustBeNew: false, precondition }, '')
      request.log.info({ template: name, version: document.version }, 'template stored')
      return reply
        .status(created ? 201 : 200)
        .header('etag', etagOf(document))
        .send(templateRecord(document))
    },
  )

  deleteRoute(app, 'template', calls)

  app.post(
    '/templates/:name/preview',
    { bodyLimit, schema: { params: DocumentParams, body: PreviewBody, response: { 200: Preview } } },
    async ({ params, body }) => {
      const stored = await calls.read(params.name, undefined)
      const { text, names } = body.text === undefined ? stored.content : await contentOf(body.text)
      const { variables = {} } = body
      const missing = names.filter((name) => !Object.hasOwn(variables, name))
      if (missing.length > 0)
        throw refuse({
          code: 'INVALID_REQUEST',
          details: missing.map((name) => ({ path: `/variables/${name}`, message: 'is named by the template' })),
        })
      const [made = ''] = rendered(await renderer.render([text], variables), 'the template')
      return { text: made, variables: names }
    },
  )
}

const templateRecord = (document: LiveTemplate): TemplateRecord => ({
  ...headOf(document),
  text: document.content.text,
  variables: document.content.names,
})
