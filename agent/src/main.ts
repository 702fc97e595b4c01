#!/usr/bin/env node
/** The agent as a process: reads the settings, opens the journal, runs, drains on a signal. */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { COMMAND_TYPES } from '@agent-executor/protocol'
import {
  createAddressPolicy,
  createCrashPoints,
  createLeaseClock,
  createLogger,
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
import { type AgentEnd, createAgent } from './agent.ts'
import { createControlServer } from './client/control-server.ts'
import { SETTINGS } from './config.ts'
import { CRASH_POINT_NAMES, CRASH_POINTS } from './crash-points.ts'
import { createDocker } from './docker/docker.ts'
import { examine, findingText, isFit } from './doctor.ts'
import { createDelayExecutor } from './executors/delay.ts'
import type { Executor } from './executors/executor.ts'
import { createHttpGetJsonExecutor } from './executors/http-get-json.ts'
import { SESSION_OUTPUT } from './executors/run-agent/input.ts'
import { ARTIFACT_FILE_BYTES_MAX } from './executors/run-agent/pack.ts'
import { createPool } from './executors/run-agent/pool.ts'
import { createRunAgentExecutor } from './executors/run-agent/run-agent.ts'
import { createCollector } from './files/collect.ts'
import { createConversations } from './files/conversations.ts'
import { openInputs } from './files/inputs.ts'
import { openArtifactSpools } from './files/spools.ts'
import { createArtifactUploader } from './files/uploader.ts'
import { createGatewayClient } from './gateway/client.ts'
import { gatewayEnv, hasProvider } from './gateway/environment.ts'
import { createPricesKeeper } from './gateway/prices.ts'
import { createGatewaySessions } from './gateway/sessions.ts'
import { superviseGateway } from './gateway/supervisor.ts'
import { createUsageUploader } from './gateway/usage-uploader.ts'
import { startHeartbeat } from './heartbeat/heartbeat.ts'
import { openJournal } from './journal/journal.ts'
import { openSpools } from './logs/spools.ts'
import { createLogUploader } from './logs/uploader.ts'
import { createTrigger } from './trigger.ts'

/** Of `agent doctor`. */
const HEALTH_MS = 10_000
/** How long the server may be silent until an attempt fails whose uploads it has. */
const FETCH_PATIENCE_MS = 120_000

const require = createRequire(import.meta.url)
const { version } = require('@agent-executor/agent/package.json') as { version: string }
const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')

const fail = (message: string, code: number): never => {
  process.stderr.write(`agent: ${message}\n`)
  process.exit(code)
}

const isDoctor = process.argv[2] === 'doctor'
const argv = process.argv.slice(isDoctor ? 3 : 2)
if (argv.includes('--help')) {
  const points = Object.entries(CRASH_POINTS).map(([name, meaning]) => `  ${name.padEnd(24)} ${meaning}`)
  const lines = ['', 'Crash points (development, --crash-at=<point>[:n]):', ...points]
  process.stdout.write(helpText(`agent ${version}`, 'node agent/dist/src/main.js [doctor] [flags]', SETTINGS, lines))
  process.exit(0)
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

const { settings, slots, warnings } = understood(() => {
  loadEnvFile(resolve('.env'))
  const read = readSettings(SETTINGS, { argv: argv.filter((flag) => flag !== '--print-config'), env: process.env })
  refuseInProduction(read.values, process.env)
  const slots = { ...slotsOf(read.values.slots), RUN_AGENT: read.values.maxConcurrentAgents }
  return { settings: read.values, slots, warnings: read.warnings }
})
if (argv.includes('--print-config')) {
  process.stdout.write(`${JSON.stringify(printableSettings(SETTINGS, settings), null, 2)}\n`)
  process.exit(0)
}

const dataDir =
  settings.dataDir === SETTINGS.dataDir.default ? join(repository, settings.dataDir) : resolve(settings.dataDir)
const file = join(dataDir, 'idempotency.db')
if (isDoctor) {
  const answerOf = async (path: string): Promise<unknown> => {
    const answer = await fetch(new URL(path, settings.serverUrl), { signal: AbortSignal.timeout(HEALTH_MS) })
    if (!answer.ok) throw new Error(`GET ${path} answers ${answer.status}`)
    return answer.json()
  }
  const findings = await examine(
    {
      ...{ dataDir, serverUrl: settings.serverUrl, slots: settings.maxConcurrentAgents },
      ...{ dockerSocket: settings.dockerSocket, runtime: settings.runAgentRuntime },
      images: [settings.runAgentImage, ...settings.runAgentImages],
      hasGateway: settings.gatewaySocket !== '' || hasProvider(process.env),
    },
    {
      docker: createDocker({ socketPath: settings.dockerSocket, onChange() {} }),
      health: () => answerOf('/health'),
      engines: () => answerOf('/engines'),
      ...(settings.gatewaySocket === ''
        ? {}
        : {
            async gateway() {
              const client = createGatewayClient({ socketPath: resolve(settings.gatewaySocket) })
              try {
                await client.health()
              } finally {
                await client.disconnect()
              }
            },
          }),
      openJournal() {
        if (!existsSync(file)) return { agentId: `${settings.agentId || 'a new id'}, made at the first start` }
        const journal = openJournal({
          ...{ file, newAgentId: '', newJournalId: '', nowMs: Date.now(), crashPoint: () => {} },
        })
        const { agentId } = journal.identity()
        journal.close()
        return { agentId }
      },
    },
  )
  process.stdout.write(findingText(findings))
  process.exit(isFit(findings) ? EXIT.ok : 1)
}

const logger = createLogger({
  name: 'agent',
  level: settings.logLevel,
  ...(settings.logFile ? { file: settings.logFile } : {}),
})
for (const warning of warnings) logger.warn(warning)
const crashPoints = understood(() =>
  createCrashPoints({
    names: CRASH_POINT_NAMES,
    crashAt: settings.crashAt,
    randomFailures: settings.randomFailures,
    randomSeed: settings.randomSeed,
    killAfterS: settings.killAfterS,
    log: logger,
  }),
)
const fatal = (error: unknown): never => {
  logger.fatal({ err: error }, 'the journal cannot be trusted any more')
  return process.exit(EXIT.io)
}
process.on('uncaughtException', (error) => {
  logger.fatal({ err: error }, 'uncaught')
  process.exit(1)
})

const journal = (() => {
  try {
    const newAgentId = settings.agentId || `agent-${randomBytes(4).toString('hex')}`
    return openJournal({ file, newAgentId, newJournalId: uuidv7(), nowMs: Date.now(), crashPoint: crashPoints.at })
  } catch (error) {
    return fail(
      `cannot open ${file}: ${error instanceof Error ? error.message : String(error)}`,
      isFatalSqliteError(error) ? EXIT.io : EXIT.config,
    )
  }
})()
const { agentId } = journal.identity()
if (settings.agentId !== '' && settings.agentId !== agentId)
  fail(`${file} is the journal of agent ${agentId}, not of ${settings.agentId}: choose another DATA_DIR.`, EXIT.config)

const leaseClockMs = createLeaseClock()
const controlServer = createControlServer({ url: settings.serverUrl })
const heartbeat = startHeartbeat({
  serverUrl: settings.serverUrl,
  agentId,
  leaseClockMs,
  onError: (error) => logger.error({ err: error }, 'the heartbeat thread failed'),
})
const secrets = settings.logRedact.split(',').filter((secret) => secret !== '')
const logHalfBytes = Math.floor(settings.logStreamBytesMax / 2)
const spooled = createTrigger()
const spools = await openSpools({
  dir: join(dataDir, 'logs'),
  limits: { headBytesMax: logHalfBytes, tailBytesMax: logHalfBytes },
  onCommitted: spooled.ring,
  warn: (facts, message) => logger.warn(facts, message),
})
const filed = createTrigger()
const artifactSpools = await openArtifactSpools({
  dir: join(dataDir, 'artifacts'),
  bytesMax: settings.artifactSpoolBytesMax,
  onFinished: filed.ring,
  warn: (facts, message) => logger.warn(facts, message),
})
const inputs = await openInputs({
  dir: join(dataDir, 'inputs'),
  fetchBlob: controlServer.fetchBlob,
  random: Math.random,
  patienceMs: FETCH_PATIENCE_MS,
})
const docker = createDocker({
  socketPath: settings.dockerSocket,
  onChange(up, reason) {
    if (up) logger.info({ dockerSocket: settings.dockerSocket }, 'Docker answers, RUN_AGENT is offered')
    else
      logger.warn({ dockerSocket: settings.dockerSocket, reason }, 'Docker does not answer, RUN_AGENT is not offered')
    agent.readyChanged()
    pool.look()
  },
})
const defaults = {
  memoryBytes: Math.min(settings.runAgentMemoryBytes, settings.runAgentMemoryBytesLimit),
  cpus: Math.min(settings.runAgentCpus, settings.runAgentCpusLimit),
  pidsMax: Math.min(settings.runAgentPidsMax, settings.runAgentPidsMaxLimit),
  workspaceBytes: Math.min(settings.runAgentWorkspaceBytes, settings.runAgentWorkspaceBytesLimit),
}
const maxima = {
  memoryBytes: settings.runAgentMemoryBytesLimit,
  cpus: settings.runAgentCpusLimit,
  pidsMax: settings.runAgentPidsMaxLimit,
  workspaceBytes: settings.runAgentWorkspaceBytesLimit,
}
const { runAgentImage: image, runAgentRuntime: runtime } = settings
const warn = (facts: object, message: string) => logger.warn(facts, message)
/** Null where there is neither a gateway nor a key to start one with. */
const gateway = (() => {
  const isAlone = settings.gatewaySocket !== ''
  if (settings.maxConcurrentAgents === 0 || !(isAlone || hasProvider(process.env))) return null
  const folder = dirname(require.resolve('@agent-executor/gateway/package.json'))
  const gatewayDir = resolve(process.env.GATEWAY_DATA_DIR ?? join(dataDir, 'gateway'))
  const socketPath = isAlone ? resolve(settings.gatewaySocket) : join(gatewayDir, 'control.sock')
  const client = createGatewayClient({ socketPath })
  const sessions = createGatewaySessions({
    client,
    onChange(up, reason) {
      if (up) logger.info({ socketPath }, 'the gateway answers, engines with language models are offered')
      else
        logger.warn({ socketPath, reason }, 'the gateway does not answer, engines with language models are not offered')
      agent.readyChanged()
      void prices.look()
      used.ring()
    },
    warn,
  })
  const used = createTrigger()
  const prices = createPricesKeeper({ server: controlServer, gateway: client, gatewayId: sessions.gatewayId, warn })
  const supervisor = isAlone
    ? null
    : superviseGateway({
        script: join(folder, 'dist/src/main.js'),
        args: ['--parent', '--data-dir', gatewayDir, '--log-level', settings.logLevel],
        env: gatewayEnv(process.env),
        warn,
      })
  const forwarder = readFileSync(join(folder, 'sandbox/forwarder.mjs'), 'utf8')
  return { client, sessions, prices, supervisor, used, forwarder }
})()
const pool = createPool({
  ...{ docker, agentId, image, runtime, maxima, warn },
  resources: defaults,
  size: Math.min(settings.poolSize, settings.maxConcurrentAgents),
  idleMs: settings.poolIdleMs,
})
const runAgent = createRunAgentExecutor({
  ...{ docker, spools, inputs, secrets, agentId, image, runtime, defaults, maxima, pool, warn },
  artifacts: createCollector({
    spools: artifactSpools,
    limits: {
      countMax: settings.artifactsMax,
      fileBytesMax: ARTIFACT_FILE_BYTES_MAX,
      bytesMax: settings.artifactBytesMax,
    },
    crashPoint: crashPoints.at,
  }),
  gateway: gateway && {
    ...gateway.sessions,
    end: async (attemptId) => {
      const used = await gateway.sessions.end(attemptId)
      gateway.used.ring()
      return used
    },
    freshPrices: gateway.prices.fresh,
    forwarder: gateway.forwarder,
  },
  conversations: createConversations({
    artifacts: controlServer.artifactsOf,
    name: SESSION_OUTPUT.slice(1),
    random: Math.random,
    patienceMs: FETCH_PATIENCE_MS,
  }),
  images: settings.runAgentImages,
  slots: settings.maxConcurrentAgents,
  probes: settings.engineProbes === 'true',
  changed: () => agent.readyChanged(),
  crashPoint: crashPoints.at,
})
const policy = createAddressPolicy({ allowPrivate: settings.httpAllowPrivate === 'true', allow: settings.httpAllow })
const agent = createAgent({
  journal,
  client: controlServer,
  heartbeat,
  executors: [createDelayExecutor({ nowMs: Date.now }), createHttpGetJsonExecutor({ policy }), runAgent] as Executor[],
  slots,
  labels: settings.labels,
  version,
  pollIntervalMs: settings.pollIntervalMs,
  retention: { ms: settings.journalRetentionMs, rowsMax: settings.journalRowsMax },
  nowMs: Date.now,
  leaseClockMs,
  random: Math.random,
  newId: () => uuidv7(),
  crashPoint: crashPoints.at,
  logger,
  onFatal: fatal,
})

const uploader = createLogUploader({
  spools,
  client: controlServer,
  registration: agent.identity,
  stateOf: agent.stateOf,
  news: spooled,
  random: Math.random,
  warn: (facts, message) => logger.warn(facts, message),
})

const artifactUploader = createArtifactUploader({
  spools: artifactSpools,
  client: controlServer,
  registration: agent.identity,
  stateOf: agent.stateOf,
  news: filed,
  random: Math.random,
  warn: (facts, message) => logger.warn(facts, message),
})

const usageUploader =
  gateway &&
  createUsageUploader({
    ...{ agentId, warn, server: controlServer, books: gateway.client, up: gateway.sessions.up, news: gateway.used },
    registration: agent.identity,
    isOpen: (attemptId) => agent.stateOf(attemptId) === 'open',
    random: Math.random,
  })

let signals = 0
const onSignal = (signal: string): void => {
  signals += 1
  logger.info({ signal }, signals === 1 ? 'draining' : 'stopping now')
  void pool.close()
  if (signals === 1) void agent.drain(settings.drainMs)
  else agent.stop()
}
process.on('SIGTERM', onSignal)
process.on('SIGINT', onSignal)

logger.info({ agentId, serverUrl: settings.serverUrl, file, version }, 'agent started')
if (settings.maxConcurrentAgents > 0) {
  docker.watch()
  pool.open()
}
gateway?.sessions.watch()
const end = await agent.run()
await pool.close()
docker.unwatch()
await uploader.stop()
await artifactUploader.stop()
// What breaks off with it is booked, and told by the next life.
gateway?.sessions.unwatch()
gateway?.prices.stop()
await gateway?.supervisor?.stop()
await usageUploader?.stop()
await gateway?.client.disconnect()
await heartbeat.stop()
await controlServer.close()
journal.close()
logger.info({ end }, 'agent stopped')
process.exit({ drained: EXIT.ok, superseded: EXIT.superseded, unsupported: EXIT.config }[end satisfies AgentEnd])

/** `10` gives every type ten; `DELAY=100,HTTP_GET_JSON=10` names them; a type not named has none. Without RUN_AGENT. */
function slotsOf(list: readonly string[]): Record<string, number> {
  const slots: Record<string, number> = {}
  const types: readonly string[] = COMMAND_TYPES.filter((type) => type !== 'RUN_AGENT')
  for (const item of list) {
    const [name = '', count] = item.split('=')
    if (count === undefined) for (const type of types) slots[type] = Number(name)
    else if (types.includes(name)) slots[name] = Number(count)
    else if (name === 'RUN_AGENT') throw new SettingsError(['SLOTS: those of RUN_AGENT are MAX_CONCURRENT_AGENTS'])
    else throw new SettingsError([`SLOTS: ${name} is not a command type (${types.join(', ')})`])
  }
  return slots
}
