/** The routes that the control server registers, found by building it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { type AppOptions, buildApp } from '@agent-executor/control-server/app'
import { SETTINGS } from '@agent-executor/control-server/config'
import { createLogger } from '@agent-executor/runtime'

/** As much of JSON Schema as the routes use. */
export type Schema = {
  type?: string
  const?: unknown
  enum?: unknown[]
  anyOf?: Schema[]
  oneOf?: Schema[]
  properties?: Record<string, Schema>
  required?: string[]
  patternProperties?: Record<string, Schema>
  additionalProperties?: boolean | Schema
  items?: Schema
  pattern?: string
  format?: string
  minLength?: number
  minimum?: number
  maximum?: number
}
export type Route = {
  /** `METHOD /path` */
  name: string
  method: string
  url: string
  schema: { body?: Schema; querystring?: Schema }
}

type Registered = { method: string | string[]; url: string; schema?: Route['schema'] }
type Hooks = { addHook: (name: 'onRoute', hook: (route: Registered) => void) => void }

/** Sorted by name; without the HEAD that accompanies a GET. */
export const routes = (): Route[] => {
  const found: Route[] = []
  // Routes are registered inside buildApp: the channel is where a hook can be added before the first of them.
  const hook = (message: unknown) =>
    (message as { fastify: Hooks }).fastify.addHook('onRoute', ({ method, url, schema = {} }) => {
      for (const each of [method].flat())
        if (each !== 'HEAD') found.push({ name: `${each} ${url}`, method: each, url, schema })
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
  return found.sort((one, other) => (one.name < other.name ? -1 : 1))
}

export const registeredRoutes = (): string[] => routes().map(({ name }) => name)
