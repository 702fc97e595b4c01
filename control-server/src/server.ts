#!/usr/bin/env node
/** The control server as a process: reads the settings, opens the store, listens, drains on a signal. */
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  createCrashPoints,
  createLogger,
  createSteadyClock,
  EXIT,
  helpText,
  isFatalSqliteError,
  loadEnvFile,
  printableSettings,
  readSettings,
  refuseInProduction,
  SettingsError,
} from '@agent-executor/runtime'
import { uuidv7 } from 'uuidv7'
import { buildApp } from './app.ts'
import { createBlobs } from './blobs/blobs.ts'
import { SETTINGS } from './config.ts'
import { CRASH_POINT_NAMES, CRASH_POINTS } from './crash-points.ts'
import { loadSeeds } from './documents/seeds.ts'
import { isLoopback } from './http/host-check.ts'
import { createLogFollowers } from './log-followers.ts'
import { createSweeper, type Sweeper } from './maintenance/sweeper.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { openSqliteStore } from './store/sqlite-store.ts'
import { createRenderer } from './templates/renderer.ts'
import { createWakeups } from './wakeups.ts'

const require = createRequire(import.meta.url)
const { version } = require('@agent-executor/control-server/package.json') as { version: string }
const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')

const fail = (message: string, code: number): never => {
  process.stderr.write(`control-server: ${message}\n`)
  process.exit(code)
}

const argv = process.argv.slice(2)
if (argv.includes('--help')) {
  const points = Object.entries(CRASH_POINTS).map(([name, meaning]) => `  ${name.padEnd(26)} ${meaning}`)
  const lines = ['', 'Crash points (development, --crash-at=<point>[:n]):', ...points]
  process.stdout.write(
    helpText(`control-server ${version}`, 'node control-server/dist/src/server.js [flags]', SETTINGS, lines),
  )
  process.exit(0)
}

/** Settings that nobody can mean end the process with a sentence for each. */
const understood = <Result>(body: () => Result): Result => {
  try {
    return body()
  } catch (error) {
    if (error instanceof SettingsError) return fail(error.message, EXIT.config)
    throw error
  }
}

const { settings, warnings } = understood(() => {
  loadEnvFile(resolve('.env'))
  const { values, warnings } = readSettings(SETTINGS, {
    argv: argv.filter((flag) => flag !== '--print-config'),
    env: process.env,
  })
  refuseInProduction(values, process.env)
  if (!isLoopback(values.host) && !values.allowUnauthenticated)
    throw new SettingsError([
      `HOST=${values.host} is not a loopback address and the server has no keys: everybody who reaches it could run commands. Set ALLOW_UNAUTHENTICATED=true if something in front of it decides who may.`,
    ])
  if (values.syncBytesMax < 4 * values.resultBytesMax)
    throw new SettingsError([
      `SYNC_BYTES_MAX=${values.syncBytesMax} must be at least four times RESULT_BYTES_MAX=${values.resultBytesMax}: a result that is within its limit could not be reported.`,
    ])
  return { settings: values, warnings }
})
if (argv.includes('--print-config')) {
  process.stdout.write(`${JSON.stringify(printableSettings(SETTINGS, settings), null, 2)}\n`)
  process.exit(0)
}

const logger = createLogger({
  name: 'control-server',
  level: settings.logLevel,
  ...(settings.logFile ? { file: settings.logFile } : {}),
})
for (const warning of warnings) logger.warn(warning)
const crashPoints = understood(() => createCrashPoints({ ...settings, names: CRASH_POINT_NAMES, log: logger }))

const nowMs = createSteadyClock()
const newId = () => uuidv7()
const policy = { offerMs: settings.offerMs, lostGraceMs: settings.lostGraceMs, poisonAfter: settings.poisonAfter }
const wakeups = createWakeups()
const logFollowers = createLogFollowers(settings.logFollowersMax)
let sweeper: Sweeper | undefined
let metrics: Metrics | undefined

const fatal = (error: unknown): never => {
  logger.fatal({ err: error }, 'the database cannot be trusted any more')
  return process.exit(EXIT.io)
}
process.on('uncaughtException', (error) => {
  logger.fatal({ err: error }, 'uncaught')
  process.exit(1)
})

/** A default lies in the repository, wherever the server was started; what somebody names, where they are. */
const folder = (name: 'dataDir' | 'profilesDir'): string =>
  settings[name] === SETTINGS[name].default ? join(repository, settings[name]) : resolve(settings[name])
const file = join(folder('dataDir'), 'commands.db')
const store = (() => {
  try {
    return openSqliteStore({
      file,
      policy,
      queueMax: settings.queueMax,
      nowMs: nowMs(),
      newEpoch: newId(),
      crashPoint: crashPoints.at,
      onCommit: (changes) => {
        wakeups.changed(changes)
        sweeper?.changed(changes)
        metrics?.changed(changes)
        for (const { command } of changes) logFollowers.changed(command.commandId)
      },
      onFatal: fatal,
    })
  } catch (error) {
    const code = isFatalSqliteError(error) ? EXIT.io : EXIT.config
    return fail(`cannot open ${file}: ${error instanceof Error ? error.message : String(error)}`, code)
  }
})()

if (settings.restored) await store.beginEpoch(newId(), nowMs())
await store.rebaseLeases(nowMs())

metrics = createMetrics({ version, open: await store.openCounts(), ofProcess: true })

const blobs = createBlobs({
  dir: join(folder('dataDir'), 'blobs'),
  files: store.files,
  keptMs: settings.uploadTtlMs,
  nowMs,
})
const tidied = await blobs.tidy()
if (tidied.removed + tidied.lost > 0) logger.warn(tidied, 'files without a row were removed, rows without a file too')

const renderer = createRenderer()
const seeds = {
  folder: folder('profilesDir'),
  shipped: join(repository, SETTINGS.profilesDir.default),
  documents: store.documents,
  renderer,
  maxima: settings,
  nowMs,
  log: logger,
}
/** What the database has of before is as good. */
const loadedSeeds = (): Promise<void> =>
  loadSeeds(seeds).catch((error) => logger.error({ err: error }, 'seeds could not be loaded'))
await loadedSeeds()
let reloaded = Promise.resolve()
process.on('SIGHUP', () => {
  // One after the other: what the first stored is seen by the second.
  reloaded = reloaded.then(loadedSeeds)
})

const stopping = new AbortController()
const app = buildApp({
  store,
  documents: store.documents,
  logs: store.logs,
  files: store.files,
  blobs,
  usage: store.usage,
  prices: store.prices,
  metrics,
  logFollowers,
  renderer,
  wakeups,
  policy,
  limits: settings,
  version,
  nowMs,
  random: Math.random,
  newId,
  stopping: stopping.signal,
  logger,
  connectionsMax: settings.connectionsMax,
  hosts: isLoopback(settings.host) ? settings.allowedHosts : null,
})
sweeper = createSweeper({
  store,
  policy,
  nowMs,
  random: Math.random,
  sweepMs: settings.sweepMs,
  idempotencyMs: settings.idempotencyMs,
  removeUnused: blobs.removeUnused,
  onError: (error) => logger.error({ err: error }, 'sweep failed'),
})

const stop = async (signal: string): Promise<void> => {
  if (stopping.signal.aborted) process.exit(EXIT.ok)
  logger.info({ signal }, 'stopping')
  stopping.abort()
  wakeups.close()
  logFollowers.close()
  const late = setTimeout(() => app.server.closeAllConnections(), settings.drainMs)
  late.unref()
  await sweeper?.stop()
  await app.close()
  await reloaded
  await renderer.close()
  await store.close()
  logger.info('stopped')
  process.exit(EXIT.ok)
}
process.on('SIGTERM', (signal) => void stop(signal))
process.on('SIGINT', (signal) => void stop(signal))

// After the handlers: a signal that follows the line `listening` at once must find them.
try {
  const address = await app.listen({ port: settings.port, host: settings.host })
  sweeper.start()
  logger.info({ address, file, version }, 'listening')
} catch (error) {
  await store.close()
  fail(
    `cannot listen on ${settings.host}:${settings.port}: ${error instanceof Error ? error.message : String(error)}`,
    EXIT.config,
  )
}
