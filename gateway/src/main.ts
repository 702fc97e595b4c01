#!/usr/bin/env node
/** The gateway as a process: reads the settings, opens the ledger, serves the control API, ends with its parent. */
import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  createAddressPolicy,
  createLogger,
  EXIT,
  helpText,
  isFatalSqliteError,
  loadEnvFile,
  printableSettings,
  readSettings,
  SettingsError,
  SqliteFileLockedError,
} from '@agent-executor/runtime'
import { SETTINGS } from './config.ts'
import { configuredProviders } from './configured-providers.ts'
import { buildControl } from './control/control.ts'
import { listenOn, SocketInUseError } from './control-socket.ts'
import { createEgress } from './egress.ts'
import { createGateway } from './gateway.ts'
import { type Ledger, openLedger } from './ledger.ts'
import { createPrices, type PriceRow } from './prices.ts'
import { createSessions } from './sessions.ts'

/** A gateway whose parent was killed may still be booking what was under way. */
const LOCK_PATIENCE_MS = 5000
const LOCK_PAUSE_MS = 50
const PRUNE_EVERY_MS = 3_600_000
const PRUNE_PAUSE_MS = 100

const require = createRequire(import.meta.url)
const { version } = require('@agent-executor/gateway/package.json') as { version: string }
const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')

const fail = (message: string, code: number): never => {
  process.stderr.write(`gateway: ${message}\n`)
  process.exit(code)
}
/** What is wrong with a setting is told in a sentence, to whoever has to change it. */
const understood = <Result>(body: () => Result): Result => {
  try {
    return body()
  } catch (error) {
    if (error instanceof SettingsError) return fail(error.message, EXIT.config)
    throw error
  }
}

const argv = process.argv.slice(2)
if (argv.includes('--help')) {
  process.stdout.write(`${helpText(`gateway ${version}`, 'node gateway/dist/src/main.js [flags]', SETTINGS)}\n`)
  process.exit(0)
}
const { settings, warnings } = understood(() => {
  loadEnvFile(resolve('.env'))
  const read = readSettings(SETTINGS, { argv: argv.filter((flag) => flag !== '--print-config'), env: process.env })
  return { settings: read.values, warnings: read.warnings }
})
if (argv.includes('--print-config')) {
  process.stdout.write(`${JSON.stringify(printableSettings(SETTINGS, settings), null, 2)}\n`)
  process.exit(0)
}

// Whatever is made here is the owner's alone, from its first moment.
process.umask(0o077)
const logger = createLogger({
  name: 'gateway',
  level: settings.logLevel,
  ...(settings.logFile ? { file: settings.logFile } : {}),
})
const warn = (facts: object, message: string) => logger.warn(facts, message)
for (const warning of warnings) logger.warn(warning)
process.on('uncaughtException', (error) => {
  logger.fatal({ err: error }, 'uncaught')
  process.exit(isFatalSqliteError(error) ? EXIT.io : 1)
})

const { providers, reload } = understood(() => configuredProviders(settings, warn))
process.on('SIGHUP', reload)

const aliases = understood(() => aliasesOf(settings.modelAliases))

const dataDir =
  settings.dataDir === SETTINGS.dataDir.default ? join(repository, settings.dataDir) : resolve(settings.dataDir)
const file = join(dataDir, 'gateway.db')
const ledger = await (async (): Promise<Ledger> => {
  const untilMs = Date.now() + LOCK_PATIENCE_MS
  for (;;) {
    try {
      return openLedger({ file, nowMs: Date.now(), newGatewayId: randomUUID() })
    } catch (error) {
      if (!(error instanceof SqliteFileLockedError) || Date.now() > untilMs)
        return fail(
          `cannot open ${file}: ${error instanceof Error ? error.message : String(error)}`,
          isFatalSqliteError(error) ? EXIT.io : EXIT.config,
        )
      await sleep(LOCK_PAUSE_MS)
    }
  }
})()

let prices = createPrices(ledger.prices())
const gateway = createGateway({
  ...{ ledger, providers, nowMs: Date.now, log: warn },
  prices: { of: (...call) => prices.of(...call) },
  everywhere: (atMs) => {
    const day = { scope: 'day', id: new Date(atMs).toISOString().slice(0, 10) } as const
    const global = { scope: 'global', id: '' } as const
    const { dayMicroUsdMax, totalMicroUsdMax } = settings
    return {
      scopes: [day, global],
      limits: [
        ...(dayMicroUsdMax > 0 ? [{ ...day, unit: 'microUsd', most: dayMicroUsdMax } as const] : []),
        ...(totalMicroUsdMax > 0 ? [{ ...global, unit: 'microUsd', most: totalMicroUsdMax } as const] : []),
      ],
    }
  },
  models: settings.models,
  aliases,
  isOpen: settings.providerTools === 'pass',
  egress: createEgress({
    ...{ ledger, nowMs: Date.now, bytesMax: settings.egressBytesMax },
    policy: createAddressPolicy({ allowPrivate: settings.allowPrivateEgress, allow: [] }),
  }),
  isUnmetered: settings.unknownModel === 'unmetered',
  inputBytesPerToken: settings.inputBytesPerToken,
})
const sessions = createSessions({ dir: join(dataDir, 'sockets'), gateway, ledger, nowMs: Date.now })
sessions.removeStale()

const stopping = new AbortController()
const setPrices = (rows: readonly PriceRow[]): void => {
  ledger.replacePrices(rows)
  prices = createPrices(rows)
}
const control = buildControl({
  ...{ ledger, sessions, providers, version, setPrices, log: warn },
  stopping: stopping.signal,
})
const socket = settings.socket === '' ? join(dataDir, 'control.sock') : resolve(settings.socket)
try {
  await listenOn(socket, (path) => control.listen({ path }))
} catch (error) {
  ledger.close()
  if (error instanceof SocketInUseError) fail(error.message, EXIT.config)
  throw error
}

/** Leaves room between two steps for calls, which want the ledger too. */
const prune = (): void => {
  if (!isEnding && ledger.prune(Date.now() - settings.retentionMs) > 0) setTimeout(prune, PRUNE_PAUSE_MS).unref()
}
setInterval(prune, PRUNE_EVERY_MS).unref()

let isEnding = false
let hurry = (): void => {}
const stopNow = new Promise<void>((resolve) => {
  hurry = resolve
})
const end = async (why: string, drainMs: number): Promise<void> => {
  if (isEnding) return
  isEnding = true
  stopping.abort()
  logger.info({ why }, 'gateway stopping')
  if (drainMs > 0) await Promise.race([gateway.drain(), sleep(drainMs), stopNow])
  await sessions.stop()
  await gateway.close()
  await control.close()
  ledger.close()
  logger.info('gateway stopped')
  process.exit(EXIT.ok)
}

if (settings.parent) {
  // A signal to all of the group is for the parent: it may have work that needs this process to its end.
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => logger.info({ signal }, 'left to the parent'))
  process.stdin.resume()
  process.stdin.once('end', () => void end('the parent is gone', 0))
  process.stdin.once('error', () => void end('the parent is gone', 0))
} else {
  for (const signal of ['SIGTERM', 'SIGINT'])
    process.on(signal, () => {
      if (isEnding) hurry()
      else void end(signal, settings.drainMs)
    })
}
/** Throws `SettingsError` where one name has two models. */
function aliasesOf(list: readonly string[]): Record<string, string> {
  const aliases: Record<string, string> = Object.create(null)
  for (const item of list) {
    const [alias = '', model = ''] = item.split('=')
    if (alias in aliases) throw new SettingsError([`GATEWAY_MODEL_ALIASES: ${alias} is there twice`])
    aliases[alias] = model
  }
  return aliases
}

prune()
logger.info({ gatewayId: ledger.gatewayId, socket, file, version }, 'gateway started')
