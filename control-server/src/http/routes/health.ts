/** Is it there, is it alive, can it serve. The only routes that will never ask for a key. */
import { PROTOCOL } from '@agent-executor/protocol'
import { Type } from '@agent-executor/protocol/typebox'
import type { App, Context } from '../context.ts'

const Health = Type.Object({
  status: Type.Union([Type.Literal('ok'), Type.Literal('unavailable')]),
  version: Type.String(),
  protocol: Type.Object({ min: Type.Integer(), max: Type.Integer() }),
  uptimeMs: Type.Integer(),
  epoch: Type.String(),
  recovery: Type.Union([
    Type.Object({ waitingFor: Type.Array(Type.String(), { description: 'Agents whose journal is awaited' }) }),
    Type.Null(),
  ]),
})

export function healthRoutes(app: App, context: Context): void {
  const { store, version } = context
  const startedMs = performance.now()

  const health = async () => {
    const { epoch, recovering } = await store.serverState()
    return {
      status: 'ok' as const,
      version,
      protocol: { ...PROTOCOL },
      uptimeMs: Math.round(performance.now() - startedMs),
      epoch,
      recovery: recovering === null ? null : { waitingFor: [...recovering] },
    }
  }

  app.get('/health', { logLevel: 'warn', schema: { response: { 200: Health } } }, health)

  app.get(
    '/livez',
    { logLevel: 'warn', schema: { response: { 200: Type.Object({ status: Type.Literal('ok') }) } } },
    async () => ({ status: 'ok' as const }),
  )

  const Ready = Type.Object({
    status: Type.Union([Type.Literal('ok'), Type.Literal('unavailable')]),
    checks: Type.Object({ database: Type.Boolean(), accepting: Type.Boolean() }),
  })
  app.get(
    '/readyz',
    { logLevel: 'warn', schema: { response: { 200: Ready, 503: Ready } } },
    async (_request, reply) => {
      const database = await store.check().then(
        () => true,
        () => false,
      )
      const checks = { database, accepting: !context.stopping.aborted }
      const ready = checks.database && checks.accepting
      return reply
        .status(ready ? 200 : 503)
        .send({ status: ready ? ('ok' as const) : ('unavailable' as const), checks })
    },
  )
}
