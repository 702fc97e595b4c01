/** The HTTP application, ready to listen or to be injected into. No process, no port, no timers of its own. */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { App, Context } from './http/context.ts'
import { ApiError, installErrors } from './http/errors.ts'
import { installHostCheck } from './http/host-check.ts'
import { installJsonBody } from './http/json-body.ts'
import { answerClientError, installExpectation } from './http/raw-errors.ts'
import { agentRoutes } from './http/routes/agents.ts'
import { commandRoutes } from './http/routes/commands.ts'
import { healthRoutes } from './http/routes/health.ts'
import { simpleApiRoutes } from './http/routes/simple-api.ts'
import { installValidation } from './http/validation.ts'

export type AppOptions = Context & {
  logger: FastifyBaseLogger
  connectionsMax: number
  /** Host headers to accept; null = any. */
  hosts: readonly string[] | null
}

export function buildApp(options: AppOptions): App {
  const app = fastify({
    loggerInstance: options.logger,
    disableRequestLogging: true,
    genReqId: () => randomUUID(),
    bodyLimit: options.limits.bodyBytesMax,
    // 0 by default, which lets a body trickle in for ever.
    requestTimeout: 30_000,
    keepAliveTimeout: 72_000,
    forceCloseConnections: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: 200 },
    frameworkErrors: (error, request, reply) => {
      const app = request.server as FastifyInstance
      return app.errorHandler(error, request, reply)
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket as Socket, randomUUID()),
    http: { headersTimeout: 10_000, connectionsCheckingInterval: 1000, maxHeaderSize: 16_384 },
  }).withTypeProvider<TypeBoxTypeProvider>() as App
  app.server.maxConnections = options.connectionsMax
  installExpectation(app.server, randomUUID)

  installErrors(app as unknown as FastifyInstance)
  installValidation(app as unknown as FastifyInstance)
  installJsonBody(app as unknown as FastifyInstance)
  if (options.hosts !== null) installHostCheck(app as unknown as FastifyInstance, options.hosts)

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-content-type-options', 'nosniff')
    reply.header('x-request-id', request.id)
    if (options.stopping.aborted && !request.url.startsWith('/readyz'))
      throw new ApiError('SHUTTING_DOWN', undefined, { headers: { 'retry-after': '2', connection: 'close' } })
  })

  healthRoutes(app, options)
  commandRoutes(app, options)
  simpleApiRoutes(app, options)
  agentRoutes(app, options)
  return app
}
