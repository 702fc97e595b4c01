/** The routes that the control server registers, found by building it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { type AppOptions, buildApp } from '@agent-executor/control-server/app'
import { SETTINGS } from '@agent-executor/control-server/config'
import { createLogger } from '@agent-executor/runtime'

type Hooks = { addHook: (name: 'onRoute', hook: (route: { method: string | string[]; url: string }) => void) => void }

/** `METHOD /path` of each route, sorted; without the HEAD that accompanies a GET. */
export const registeredRoutes = (): string[] => {
  const routes = new Set<string>()
  // Routes are registered inside buildApp: the channel is where a hook can be added before the first of them.
  const hook = (message: unknown) =>
    (message as { fastify: Hooks }).fastify.addHook('onRoute', ({ method, url }) => {
      for (const each of [method].flat()) if (each !== 'HEAD') routes.add(`${each} ${url}`)
    })
  subscribe('fastify.initialization', hook)
  const limits = Object.fromEntries(Object.entries(SETTINGS).map(([key, setting]) => [key, setting.default]))
  // Nothing is called: a store, a clock and the like are never asked for.
  buildApp({
    limits,
    logger: createLogger({ name: 'routes', level: 'silent' }),
    connectionsMax: 10,
    hosts: null,
  } as unknown as AppOptions)
  unsubscribe('fastify.initialization', hook)
  return [...routes].sort()
}
