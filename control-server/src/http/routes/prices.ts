/** What models cost here: operators say it, agents bring it to their gateways. */
import { Model, PROVIDERS, PriceList, PriceRecord, PriceSubmission } from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import { deletePrice, priceRecord, putPrice } from '../../lifecycle/prices.ts'
import type { App, Context } from '../context.ts'
import { ApiError } from '../errors.ts'

const PriceParams = Type.Object({
  provider: Type.Unsafe<(typeof PROVIDERS)[number]>({ type: 'string', enum: [...PROVIDERS] }),
  model: Model,
})
const FromQuery = Type.Object(
  { effectiveFrom: Type.Optional(Type.String({ format: 'date-time' })) },
  { additionalProperties: false },
)

export function priceRoutes(app: App, { prices }: Context): void {
  app.get('/prices', { schema: { response: { 200: PriceList, 304: Type.Null() } } }, async (request, reply) => {
    const list = { prices: (await prices.list()).map(priceRecord) }
    const etag = `"${sha256(canonicalJson(list)).slice(0, 32)}"`
    reply.header('etag', etag).header('cache-control', 'private, no-cache')
    if (isNamed(request.headers['if-none-match'], etag)) return reply.status(304).send(null)
    return list
  })

  app.put(
    '/prices/:provider/:model',
    { schema: { params: PriceParams, body: PriceSubmission, response: { 200: PriceRecord, 201: PriceRecord } } },
    async (request, reply) => {
      const { answer } = await prices.change((all) => putPrice(all, request.params, request.body))
      if (!answer.ok) {
        const { code, message, path } = answer
        const details = path === undefined ? undefined : [{ path, message }]
        throw new ApiError(code, path === undefined ? message : `${path} ${message}`, details && { details })
      }
      const record = priceRecord(answer.price)
      request.log.info({ ...record, created: answer.created }, 'price stored')
      return reply.status(answer.created ? 201 : 200).send(record)
    },
  )

  app.delete(
    '/prices/:provider/:model',
    { schema: { params: PriceParams, querystring: FromQuery } },
    async (request, reply) => {
      const { answer, removed } = await prices.change((all) =>
        deletePrice(all, request.params, request.query.effectiveFrom),
      )
      if (!answer.ok) throw new ApiError(answer.code, answer.message)
      request.log.info({ ...request.params, removed: removed.length }, 'price deleted')
      return reply.status(204).send()
    },
  )
}

/** Of a list; weak or not, which for GET is the same (RFC 9110, 13.1.2). */
const isNamed = (header: string | undefined, etag: string): boolean =>
  header?.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag) ?? false
