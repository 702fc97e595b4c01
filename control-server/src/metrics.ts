/**
 * What the server counts of itself, for Prometheus. Counters begin anew with the process; what is open is asked of the
 * store once, at the start, and counted along with every commit, so that a scrape costs the same however much there is.
 * Nothing that clients or sandboxes choose makes a label without end.
 */
import {
  COMMAND_TYPES,
  type CommandStatus,
  type CommandType,
  FAILURE_CODES,
  type TokenUsage,
} from '@agent-executor/protocol'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Change } from './lifecycle/agent.ts'
import type { Command, Phase } from './lifecycle/command.ts'
import type { KeptCall } from './lifecycle/usage.ts'

/** PENDING and RUNNING commands. */
export type OpenCount = { type: CommandType; status: CommandStatus; count: number }

/** What is asked for at each scrape. */
export type Scraped = {
  /** Since when the oldest command has waited that an agent may take; null = none does. */
  oldestReadyMs: number | null
  agents: readonly { online: boolean }[]
  nowMs: number
}

/** Names of models come from requests of sandboxes. */
const MODELS_MAX = 200
const OTHER = 'other'
const SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14_400]
const TOKENS = [
  ['input', 'inputTokens'],
  ['cacheRead', 'cacheReadTokens'],
  ['cacheWrite', 'cacheWriteTokens'],
  ['cacheWrite1h', 'cacheWrite1hTokens'],
  ['output', 'outputTokens'],
] as const satisfies (readonly [string, keyof TokenUsage])[]

export type Metrics = ReturnType<typeof createMetrics>

/** `ofProcess`: memory, processor time and the like too, which are those of the whole process. */
export function createMetrics({
  version,
  open,
  ofProcess,
}: {
  version: string
  open: OpenCount[]
  ofProcess: boolean
}) {
  const registry = new Registry()
  const registers = [registry]
  // Each wakes the process, so not as often as by default.
  if (ofProcess) collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 50 })

  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Counter({ name: `agent_executor_${name}`, help, labelNames, registers })
  const gauge = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Gauge({ name: `agent_executor_${name}`, help, labelNames, registers })

  gauge('info', 'The version of the server, as a label', ['version']).set({ version }, 1)
  const commands = gauge('commands', 'Commands that are not final', ['type', 'status'])
  const submitted = counter('commands_submitted_total', 'Commands that were accepted', ['type'])
  const finished = counter('commands_finished_total', 'Commands that became final', ['type', 'status'])
  const attempts = counter('attempts_finished_total', 'Attempts that ended, by how', ['type', 'state', 'code'])
  const lost = counter('attempts_lost_total', 'Attempts whose agent fell silent past its lease', ['type'])
  const retries = counter('command_retries_total', 'Commands that wait for another attempt', ['type'])
  const seconds = (name: string, help: string) =>
    new Histogram({ name: `agent_executor_${name}`, help, labelNames: ['type'] as const, buckets: SECONDS, registers })
  const waits = seconds('command_wait_seconds', 'From when a command could run to its first start')
  const runs = seconds('attempt_duration_seconds', 'From the grant of an attempt to its end')
  const oldest = gauge('queue_oldest_seconds', 'How long the oldest command has waited that could run', [])
  const agents = gauge('agents', 'Agents that are known', ['online'])
  const calls = counter('model_calls_total', 'Calls of language models, as agents have told', ['model', 'state'])
  const tokens = counter('model_tokens_total', 'Tokens of calls; input has what is of a cache', ['model', 'kind'])
  const cost = counter('model_cost_micro_usd_total', 'Millionths of a dollar', ['model'])
  const unpriced = counter('model_unpriced_calls_total', 'Calls whose price nobody knows', ['model'])
  const durations = new Histogram({
    name: 'agent_executor_http_request_duration_seconds',
    help: 'From the headers of a request to the end of its answer',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  })

  for (const type of COMMAND_TYPES) for (const status of ['PENDING', 'RUNNING']) commands.set({ type, status }, 0)
  for (const { type, status, count } of open) commands.set({ type, status }, count)

  const models = new Set<string>()
  const labelOf = (model: string): string => {
    if (models.size < MODELS_MAX) models.add(model)
    return models.has(model) ? model : OTHER
  }

  return {
    contentType: registry.contentType,

    changed(changes: readonly Change[]): void {
      for (const { command, entry } of changes) {
        const { type } = command
        const before = entry.from === null ? null : STATUS_OF[entry.from]
        const after = STATUS_OF[entry.to]
        if (entry.from === null) submitted.inc({ type })
        if (before !== after) {
          if (before !== null && isOpen(before)) commands.dec({ type, status: before })
          if (isOpen(after)) commands.inc({ type, status: after })
          else finished.inc({ type, status: after })
        }
        if (entry.to === 'LOST' && entry.from !== 'LOST') lost.inc({ type })
        if (entry.to === 'WAITING' && before === 'RUNNING') retries.inc({ type })
        if (before === 'PENDING' && after === 'RUNNING' && command.grantedCount === 1)
          waits.observe({ type }, waitOf(command))
        const attempt = command.attempts.find(({ number }) => number === entry.attempt)
        if (attempt?.finishedAtMs != null && attempt.grantedAtMs !== null) {
          attempts.inc({ type, state: attempt.state, code: codeOf(attempt.error?.code) })
          runs.observe({ type }, Math.max(0, attempt.finishedAtMs - attempt.grantedAtMs) / 1000)
        }
      }
    },

    used(added: readonly KeptCall[]): void {
      for (const call of added) {
        const model = labelOf(call.model)
        calls.inc({ model, state: call.state })
        if (call.costMicroUsd === null) unpriced.inc({ model })
        else cost.inc({ model }, call.costMicroUsd)
        if (call.usage !== null) for (const [kind, field] of TOKENS) tokens.inc({ model, kind }, call.usage[field])
      }
    },

    /** `route` is the pattern of the URL; undefined where there is no such route. */
    answered(method: string, route: string | undefined, status: number, ms: number): void {
      const known = route === undefined ? { method: OTHER, route: OTHER } : { method, route }
      durations.observe({ ...known, status: String(status) }, ms / 1000)
    },

    async text({ oldestReadyMs, agents: all, nowMs }: Scraped): Promise<string> {
      oldest.set(oldestReadyMs === null ? 0 : Math.max(0, nowMs - oldestReadyMs) / 1000)
      const online = all.filter((agent) => agent.online).length
      agents.set({ online: 'true' }, online)
      agents.set({ online: 'false' }, all.length - online)
      return registry.metrics()
    },
  }
}

const STATUS_OF: Readonly<Record<Phase, CommandStatus>> = {
  WAITING: 'PENDING',
  OFFERED: 'PENDING',
  RUNNING: 'RUNNING',
  LOST: 'RUNNING',
  COMPLETED: 'COMPLETED',
  FAILED: 'FAILED',
  CANCELLED: 'CANCELLED',
}

const waitOf = ({ spec, createdAtMs, startedAtMs }: Command): number =>
  Math.max(0, (startedAtMs ?? createdAtMs) - Math.max(createdAtMs, spec.notBeforeMs ?? createdAtMs)) / 1000

const isOpen = (status: CommandStatus): boolean => status === 'PENDING' || status === 'RUNNING'

/** Clients of the simple API have codes of their own. */
const codeOf = (code: string | undefined): string =>
  code === undefined ? '' : Object.hasOwn(FAILURE_CODES, code) ? code : OTHER
