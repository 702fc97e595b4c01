/** Usage in SQLite, in the commits of everything else. */
import type { TokenUsage, UsageSum } from '@agent-executor/protocol'
import { dayOf, type KeptCall, type UsageOrigin } from '../lifecycle/usage.ts'
import type { LogStatements } from './sqlite-logs.ts'
import type { StoredCall, UsageStore } from './usage.ts'

type Row = Record<string, unknown>

/** About 10 ms, in which the server does nothing else (docs/adr/0010). */
const ROWS_MAX = 20_000
const NO_TOKENS: TokenUsage = {
  ...{ inputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, cacheWrite1hTokens: 0 },
  ...{ outputTokens: 0, webSearches: 0 },
}
const NOTHING: UsageSum = { calls: 0, ...NO_TOKENS, isEstimated: false, costMicroUsd: 0, unpricedCalls: 0 }

export function createSqliteUsage(statements: LogStatements, rowsMax = ROWS_MAX): UsageStore {
  const { all, get, run, write, command, attempt, agent, epoch } = statements

  const add = (commandId: string, number: number, origin: UsageOrigin, call: KeptCall): void => {
    const sums = {
      ...{ commandId, attempt: number, day: dayOf(call.startedAtMs) },
      ...(call.usage ?? NO_TOKENS),
      isEstimated: call.state === 'settled' ? 0 : 1,
      costMicroUsd: call.costMicroUsd ?? 0,
      unpricedCalls: call.costMicroUsd === null ? 1 : 0,
    }
    run('usage-attempt-add', sums)
    const { agentId, profile, engine } = origin
    run('usage-day-add', { ...sums, agentId, profile: profile ?? '', engine: engine ?? '', model: call.model })
  }

  return {
    change: (commandId, number, agentId, nowMs, decide) =>
      write(() => {
        const known = attempt(commandId, number) ?? null
        const found = command(commandId) ?? null
        const decision = decide({
          epoch: epoch(),
          agent: agent(agentId),
          hasCommand: found !== null,
          attempt: known,
          command: found,
        })
        const { answer, calls } = decision
        if (!answer.ok) return { decision, added: [] }
        const added = calls.filter((call) => run('llm-call-save', rowOf(commandId, number, call, nowMs)) > 0)
        for (const call of added) add(commandId, number, answer.origin, call)
        return { decision, added }
      }),

    async ofCommand(commandId, after, limit) {
      const place = after ?? { attempt: 0, gatewayId: '', callId: 0 }
      return {
        attempts: all('usage-attempt-list', { commandId }).map((row) => ({
          attempt: row.attempt as number,
          ...sumOf(row),
        })),
        calls: all('llm-call-list', { commandId, ...place, limit }).map(callOf),
      }
    },

    async groups({ groupBy, from, to, limit }) {
      const [counted, summed] =
        groupBy === 'command' ? ['usage-attempt-rows', 'usage-attempt-groups'] : ['usage-day-rows', 'usage-day-groups']
      const days = { from, to }
      const rows = get(counted, { ...days, limit: rowsMax + 1 })?.count as number
      const [total] = all(summed, { ...days, groupBy: '', limit: 1, rowsMax })
      const groups = all(summed, { ...days, groupBy, limit, rowsMax })
      return {
        total: total === undefined ? NOTHING : sumOf(total),
        groupCount: (groups[0]?.groups as number | undefined) ?? 0,
        groups: groups.map((row) => ({ key: row.key === '' ? null : (row.key as string), ...sumOf(row) })),
        isComplete: rows <= rowsMax,
      }
    },
  }
}

const rowOf = (commandId: string, attempt: number, call: KeptCall, nowMs: number): Row => ({
  ...call,
  ...{ commandId, attempt, receivedAtMs: nowMs },
  usage: call.usage === null ? null : JSON.stringify(call.usage),
  rates: call.rates === null ? null : JSON.stringify(call.rates),
})

const callOf = (row: Row): StoredCall => ({
  attempt: row.attempt as number,
  gatewayId: row.gateway_id as string,
  callId: row.call_id as number,
  wire: row.wire as string,
  model: row.model as string,
  startedAtMs: row.started_at_ms as number,
  endedAtMs: row.ended_at_ms as number,
  state: row.state as StoredCall['state'],
  status: row.status as number | null,
  usage: row.usage === null ? null : JSON.parse(row.usage as string),
  costMicroUsd: row.cost_micro_usd as number | null,
  rates: row.rates === null ? null : JSON.parse(row.rates as string),
  receivedAtMs: row.received_at_ms as number,
})

const sumOf = (row: Row): UsageSum => ({
  calls: row.calls as number,
  inputTokens: row.input_tokens as number,
  cacheReadTokens: row.cache_read_tokens as number,
  cacheWriteTokens: row.cache_write_tokens as number,
  cacheWrite1hTokens: row.cache_write_1h_tokens as number,
  outputTokens: row.output_tokens as number,
  webSearches: row.web_searches as number,
  isEstimated: row.is_estimated === 1,
  costMicroUsd: row.cost_micro_usd as number,
  unpricedCalls: row.unpriced_calls as number,
})
