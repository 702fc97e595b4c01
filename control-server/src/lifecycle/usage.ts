/**
 * What is kept of the calls of language models that agents bring. Pure. A call is evidence of its attempt: whether that
 * is current makes no difference, and it decides nothing; that a budget holds is the gateway's matter.
 */
import type { CallState, LlmCall, LogUploader, TokenUsage, UsageReport } from '@agent-executor/protocol'
import type { Command } from './command.ts'
import { type LogRefusal, type UploadFacts, uploadRefusal } from './logs.ts'

export type KeptCall = {
  gatewayId: string
  callId: number
  wire: string
  model: string
  startedAtMs: number
  endedAtMs: number
  state: CallState
  status: number | null
  usage: TokenUsage | null
  costMicroUsd: number | null
  rates: Record<string, unknown> | null
}

/** Who has made them: what the sums are by, besides model and day. Null where a command says nothing of it. */
export type UsageOrigin = { agentId: string; profile: string | null; engine: string | null }

export type UsageFacts = UploadFacts & { command: Command | null }

/** Of `calls` those are new that the store does not have. */
export type UsageDecision = { answer: { ok: true; origin: UsageOrigin } | LogRefusal; calls: KeptCall[] }

/** All that is wrong with a report beyond its schema, which allows a leap second. */
export const usageProblems = ({ calls }: UsageReport): { path: string; message: string }[] =>
  calls.flatMap((call, index) =>
    (['startedAt', 'endedAt'] as const)
      .filter((field) => Number.isNaN(Date.parse(call[field])))
      .map((field) => ({ path: `/calls/${index}/${field}`, message: 'must be a date that exists' })),
  )

export function takeUsage(facts: UsageFacts, uploader: LogUploader, { gatewayId, calls }: UsageReport): UsageDecision {
  const refusal = uploadRefusal(facts, uploader)
  if (refusal !== null) return { answer: refusal, calls: [] }
  return {
    answer: { ok: true, origin: { agentId: uploader.agentId, ...runOf(facts.command) } },
    calls: calls.map((call) => keptCall(gatewayId, call)),
  }
}

/** A newer gateway may tell more than this server knows. */
const keptCall = (gatewayId: string, call: LlmCall): KeptCall => ({
  gatewayId,
  callId: call.callId,
  wire: call.wire,
  model: call.model,
  startedAtMs: Date.parse(call.startedAt),
  endedAtMs: Date.parse(call.endedAt),
  state: call.state,
  status: call.status,
  usage: call.usage && {
    inputTokens: call.usage.inputTokens,
    cacheReadTokens: call.usage.cacheReadTokens,
    cacheWriteTokens: call.usage.cacheWriteTokens,
    cacheWrite1hTokens: call.usage.cacheWrite1hTokens,
    outputTokens: call.usage.outputTokens,
    webSearches: call.usage.webSearches,
  },
  costMicroUsd: call.costMicroUsd,
  rates: call.rates,
})

/** Of a journal, after a restore, a payload may be anything. */
function runOf(command: Command | null): { profile: string | null; engine: string | null } {
  const { engine, resolvedFrom } = (command?.spec.payload ?? {}) as { engine?: unknown; resolvedFrom?: unknown }
  const { profile } = (resolvedFrom ?? {}) as { profile?: unknown }
  return { profile: nameOf(profile), engine: nameOf(engine) }
}

const nameOf = (value: unknown): string | null =>
  typeof value === 'string' && value !== '' && value.length <= 100 ? value : null

/** In UTC. */
export const dayOf = (timeMs: number): string => new Date(timeMs).toISOString().slice(0, 10)

const DAY_MS = 86_400_000
/** Today and the days before it. */
const DAYS_DEFAULT = 30

/** The days that are asked for, the last of them included. */
export function daysAsked(
  { from, to }: { from?: string | undefined; to?: string | undefined },
  nowMs: number,
): { from: string; to: string; isNone: boolean } {
  const last = to ?? dayOf(nowMs)
  // Of a year 0000 the days before it have no name of ten characters.
  const earliestMs = Math.max(Date.parse(last) - (DAYS_DEFAULT - 1) * DAY_MS, Date.parse('0000-01-01'))
  const first = from ?? dayOf(earliestMs)
  return { from: first, to: last, isNone: first > last }
}
