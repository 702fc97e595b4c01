/**
 * The books of the gateway: one SQLite file, every commit synced. A call is written, with what it may come to, before it
 * goes out, and settled with what it came to; so whatever crashes, no spend is missing, and what is under way at the same
 * time can never exceed a limit together. Throws the errors of the driver.
 */
import { fileURLToPath } from 'node:url'
import { closeSqliteFile, openSqliteFile } from '@agent-executor/runtime'
import { type Allowance, type Amounts, UNITS, type Unit } from './allowance.ts'
import type { WireName } from './wire/index.ts'
import type { Usage } from './wire/wire.ts'

const MIGRATIONS = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/src/') ? '../../sql/sqlite/migrations' : '../sql/sqlite/migrations',
    import.meta.url,
  ),
)

/** Everything that a call counts for. `day` has the date in UTC as its id, `global` one id for all. */
export type Scope = { scope: 'command' | 'profile' | 'day' | 'global'; id: string }
/** At most so much, all calls of the scope together. */
export type Limit = Scope & { unit: Unit; most: number }

export type NewCall = { attemptId: string; wire: WireName; model: string; atMs: number; rates: object | null }

export type Settlement = {
  callId: number
  atMs: number
  /** `estimated`: the answer broke off before its usage was told. */
  state: 'settled' | 'estimated'
  /** Of the answer; null where there was none. */
  status: number | null
  usage: Usage
  costMicroUsd: number | null
}

type CallState = 'started' | 'settled' | 'estimated' | 'unknown'
export type Call = {
  callId: number
  attemptId: string
  wire: WireName
  model: string
  startedAtMs: number
  endedAtMs: number | null
  state: CallState
  status: number | null
  reserved: Amounts
  usage: Usage | null
  costMicroUsd: number | null
  rates: object | null
}

export type Begun =
  | { ok: true; callId: number; outputTokensMax: number }
  | { ok: false; unit: Unit | null; scope: Scope | null }

export type Ledger = ReturnType<typeof openLedger>

type Row = Record<string, unknown>

export function openLedger({ file, nowMs }: { file: string; nowMs: number }) {
  const db = openSqliteFile({ file, migrations: MIGRATIONS, nowMs })
  const sql = {
    budget: db.prepare('SELECT spent, reserved FROM budgets WHERE scope = ? AND id = ? AND unit = ?'),
    reserve: db.prepare(
      'INSERT INTO budgets (scope, id, unit, reserved) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET reserved = reserved + excluded.reserved',
    ),
    spend: db.prepare(
      'UPDATE budgets SET spent = spent + :spent, reserved = reserved - :reserved WHERE scope = :scope AND id = :id AND unit = :unit',
    ),
    begin: db.prepare(
      "INSERT INTO calls (attempt_id, wire, model, started_at_ms, state, reserved, rates) VALUES (:attemptId, :wire, :model, :atMs, 'started', :reserved, :rates)",
    ),
    link: db.prepare('INSERT INTO call_budgets (call_id, scope, id) VALUES (?, ?, ?)'),
    links: db.prepare('SELECT scope, id FROM call_budgets WHERE call_id = ?'),
    end: db.prepare(
      "UPDATE calls SET state = :state, ended_at_ms = :atMs, status = :status, usage = :usage, cost_micro_usd = :costMicroUsd WHERE call_id = :callId AND state = 'started'",
    ),
    call: db.prepare('SELECT * FROM calls WHERE call_id = ?'),
    ofAttempt: db.prepare('SELECT * FROM calls WHERE attempt_id = ? ORDER BY call_id'),
    started: db.prepare("SELECT * FROM calls WHERE state = 'started'"),
  }

  const usedOf = (scope: Scope, unit: Unit): { spent: number; reserved: number } =>
    (sql.budget.get(scope.scope, scope.id, unit) as { spent: number; reserved: number } | undefined) ?? {
      spent: 0,
      reserved: 0,
    }

  /** Moves what a call had reserved to what it has used, in everything that it counts for. */
  const book = (call: Call, used: Amounts): void => {
    for (const scope of sql.links.all(call.callId) as Scope[])
      for (const unit of UNITS) sql.spend.run({ ...scope, unit, spent: used[unit], reserved: call.reserved[unit] })
  }

  const begin = db.transaction(
    (call: NewCall, scopes: readonly Scope[], limits: readonly Limit[], allow: (left: Amounts) => Allowance): Begun => {
      const lefts = limits.map((limit) => {
        const { spent, reserved } = usedOf(limit, limit.unit)
        return { limit, left: limit.most - spent - reserved }
      })
      const tightest = (unit: Unit) =>
        lefts.filter(({ limit }) => limit.unit === unit).sort((one, other) => one.left - other.left)[0]
      const left = (unit: Unit): number => tightest(unit)?.left ?? Number.POSITIVE_INFINITY
      const allowed = allow({ microUsd: left('microUsd'), tokens: left('tokens'), requests: left('requests') })
      if (!allowed.ok) {
        const limit = tightest(allowed.unit ?? 'microUsd')?.limit
        return {
          ok: false,
          unit: allowed.unit,
          scope: limit === undefined ? null : { scope: limit.scope, id: limit.id },
        }
      }
      const { attemptId, wire, model, atMs, rates } = call
      const { lastInsertRowid } = sql.begin.run({
        ...{ attemptId, wire, model, atMs },
        reserved: JSON.stringify(allowed.reserved),
        rates: rates === null ? null : JSON.stringify(rates),
      })
      const callId = Number(lastInsertRowid)
      for (const { scope, id } of scopes) {
        sql.link.run(callId, scope, id)
        for (const unit of UNITS) sql.reserve.run(scope, id, unit, allowed.reserved[unit])
      }
      return { ok: true, callId, outputTokensMax: allowed.outputTokensMax }
    },
  )

  const settle = db.transaction(({ callId, atMs, state, status, usage, costMicroUsd }: Settlement): void => {
    const row = sql.call.get(callId) as Row | undefined
    if (row === undefined || row.state !== 'started') return
    sql.end.run({ callId, atMs, state, status, usage: JSON.stringify(usage), costMicroUsd })
    const tokens = usage.inputTokens + usage.outputTokens
    book(callOf(row), { microUsd: costMicroUsd ?? 0, tokens, requests: 1 })
  })

  /** Of a life before this one: whatever they came to, it was not more than this. */
  const closeStarted = db.transaction((): void => {
    for (const row of sql.started.all() as Row[]) {
      const call = callOf(row)
      const costMicroUsd = call.rates === null ? null : call.reserved.microUsd
      sql.end.run({ callId: call.callId, atMs: nowMs, state: 'unknown', status: null, usage: null, costMicroUsd })
      book(call, call.reserved)
    }
  })
  closeStarted.immediate()

  return {
    /**
     * `scopes`: all that it counts for; `limits` may be of these alone. `allow` is asked with what is left of the tightest
     * limit of each unit, in the same transaction in which the answer is reserved.
     */
    begin: (
      call: NewCall,
      scopes: readonly Scope[],
      limits: readonly Limit[],
      allow: (left: Amounts) => Allowance,
    ): Begun => begin.immediate(call, scopes, limits, allow),
    /** Once; a repetition changes nothing. */
    settle: (settlement: Settlement): void => settle.immediate(settlement),
    used: (scope: Scope, unit: Unit): { spent: number; reserved: number } => usedOf(scope, unit),
    calls: (attemptId: string): Call[] => (sql.ofAttempt.all(attemptId) as Row[]).map(callOf),
    close: (): void => closeSqliteFile(db),
  }
}

const callOf = (row: Row): Call => ({
  callId: row.call_id as number,
  attemptId: row.attempt_id as string,
  wire: row.wire as WireName,
  model: row.model as string,
  startedAtMs: row.started_at_ms as number,
  endedAtMs: row.ended_at_ms as number | null,
  state: row.state as CallState,
  status: row.status as number | null,
  reserved: JSON.parse(row.reserved as string) as Amounts,
  usage: row.usage === null ? null : (JSON.parse(row.usage as string) as Usage),
  costMicroUsd: row.cost_micro_usd as number | null,
  rates: row.rates === null ? null : (JSON.parse(row.rates as string) as object),
})
