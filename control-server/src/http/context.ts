/** What the routes stand on. Made once by `app.ts`. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type { Blobs } from '../blobs/blobs.ts'
import type { LifecyclePolicy } from '../lifecycle/transition.ts'
import type { LogFollowers } from '../log-followers.ts'
import type { Metrics } from '../metrics.ts'
import type { Maxima } from '../profiles/profile.ts'
import type { DocumentStore } from '../store/documents.ts'
import type { FileStore } from '../store/files.ts'
import type { LogStore } from '../store/logs.ts'
import type { PriceStore } from '../store/prices.ts'
import type { Store } from '../store/store.ts'
import type { UsageStore } from '../store/usage.ts'
import type { Renderer } from '../templates/renderer.ts'
import type { Wakeups } from '../wakeups.ts'

export type Limits = Maxima & {
  leaseMs: number
  cancelGraceMs: number
  delayMsMax: number
  bodyBytesMax: number
  syncBytesMax: number
  resultBytesMax: number
  inFlightBytesMax: number
  logBytesMax: number
  logSettleMs: number
  uploadBytesMax: number
  artifactBytesMax: number
}

export type Context = {
  store: Store
  /** Profiles, templates and engines. */
  documents: DocumentStore
  logs: LogStore
  files: FileStore
  blobs: Blobs
  usage: UsageStore
  prices: PriceStore
  metrics: Metrics
  logFollowers: LogFollowers
  renderer: Renderer
  wakeups: Wakeups
  policy: LifecyclePolicy
  limits: Limits
  version: string
  /** The server's clock, whole milliseconds. */
  nowMs: () => number
  /** A number in [0, 1). */
  random: () => number
  /** Ids in time order. */
  newId: () => string
  /** Aborts when the server stops: parked requests answer at once. */
  stopping: AbortSignal
}

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>
