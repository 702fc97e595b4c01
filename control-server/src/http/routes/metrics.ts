/** What Prometheus scrapes, and how long requests take. */
import { Type } from '@agent-executor/protocol/typebox'
import { isOnline } from '../../lifecycle/agent.ts'
import type { App, Context } from '../context.ts'

export function metricsRoutes(app: App, { store, metrics, nowMs }: Context): void {
  // With a callback: a promise for each would be a tenth of what a request costs.
  app.addHook('onResponse', (request, reply, done) => {
    metrics.answered(request.method, request.routeOptions.url, reply.statusCode, reply.elapsedTime)
    done()
  })

  app.get('/metrics', { logLevel: 'warn', schema: { response: { 200: Type.String() } } }, async (_request, reply) => {
    const now = nowMs()
    const agents = (await store.agents()).map(({ agent }) => ({ online: isOnline(agent, now) }))
    const text = await metrics.text({ oldestReadyMs: await store.oldestReadyMs(), agents, nowMs: now })
    return reply.type(metrics.contentType).serializer(String).send(text)
  })
}
