/** The HTTP application, ready to listen or to be injected into. No process, no port, no timers of its own. */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import type { App, Context } from './http/context.ts'
import { ApiError, installErrors, RETRY_LATER } from './http/errors.ts'
import { installHostCheck } from './http/host-check.ts'
import { installJsonBody } from './http/json-body.ts'
import { answerClientError, installRawAnswers } from './http/raw-errors.ts'
import { agentRoutes } from './http/routes/agents.ts'
import { commandRoutes } from './http/routes/commands.ts'
import { engineRoutes } from './http/routes/engines.ts'
import { fileRoutes } from './http/routes/files.ts'
import { healthRoutes } from './http/routes/health.ts'
import { logRoutes } from './http/routes/logs.ts'
import { metricsRoutes } from './http/routes/metrics.ts'
import { priceRoutes } from './http/routes/prices.ts'
import { profileRoutes } from './http/routes/profiles.ts'
import { simpleApiRoutes } from './http/routes/simple-api.ts'
import { templateRoutes } from './http/routes/templates.ts'
import { usageRoutes } from './http/routes/usage.ts'
import { installValidation } from './http/validation.ts'

export type AppOptions = Context & {
  logger: FastifyBaseLogger
  connectionsMax: number
  /** Host headers to accept; null = any. */
  hosts: readonly string[] | null
  /** How long a request may take to arrive, in milliseconds: its headers, and all of it. */
  arrival?: { headersMs: number; requestMs: number; checkMs: number }
}

const ARRIVAL = { headersMs: 10_000, requestMs: 30_000, checkMs: 1000 }

export function buildApp(options: AppOptions): App {
  const { headersMs, requestMs, checkMs } = options.arrival ?? ARRIVAL
  const app = fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    bodyLimit: options.limits.bodyBytesMax,
    // 0 by default, which lets a body trickle in for ever.
    requestTimeout: requestMs,
    keepAliveTimeout: 72_000,
    // Requests in flight are answered; whoever closes the app decides how long to wait for them.
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: 200 },
    frameworkErrors: (error, request, reply) => {
      const app = request.server as FastifyInstance
      return app.errorHandler(error, request, reply)
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket as Socket, randomUUID()),
    http: {
      headersTimeout: headersMs,
      connectionsCheckingInterval: checkMs,
      maxHeaderSize: 16_384,
      // Checked with the rest of Host.
      requireHostHeader: false,
    },
  }).withTypeProvider<TypeBoxTypeProvider>() as App
  app.server.maxConnections = options.connectionsMax
  installRawAnswers(app.server, randomUUID)

  installErrors(app as unknown as FastifyInstance)
  installValidation(app as unknown as FastifyInstance)
  installJsonBody(app as unknown as FastifyInstance)
  installHostCheck(app as unknown as FastifyInstance, options.hosts)

  // With callbacks: a promise for each hook would be a tenth of what a request costs.
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-content-type-options', 'nosniff')
    reply.header('x-request-id', request.id)
    const isProbe = request.routeOptions.url === '/readyz' || request.routeOptions.url === '/livez'
    if (options.stopping.aborted && !isProbe)
      throw new ApiError('SHUTTING_DOWN', undefined, { headers: { ...RETRY_LATER, connection: 'close' } })
    done()
  })

  // A connection that is kept alive would keep the stopping server waiting for its next request.
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (options.stopping.aborted) reply.header('connection', 'close')
    done()
  })

  // First: it counts the others.
  metricsRoutes(app, options)
  healthRoutes(app, options)
  commandRoutes(app, options)
  simpleApiRoutes(app, options)
  agentRoutes(app, options)
  logRoutes(app, options)
  fileRoutes(app, options)
  usageRoutes(app, options)
  priceRoutes(app, options)
  engineRoutes(app, options)
  profileRoutes(app, options)
  templateRoutes(app, options)
  return app
}
