/**
 * The books of the gateway: one SQLite file, every commit synced. A call is written, with what it may come to, before it
 * goes out, and settled with what it came to; so whatever crashes, no spend is missing, and what is under way at the same
 * time can never exceed a limit together. Throws the errors of the driver.
 */
import { fileURLToPath } from 'node:url'
import { closeSqliteFile, openSqliteFile } from '@agent-executor/runtime'
import { type Allowance, type Amounts, UNITS, type Unit } from './allowance.ts'
import type { PriceRow } from './prices.ts'
import type { WireName } from './wire/index.ts'
import type { ProviderName, Usage } from './wire/wire.ts'

const MIGRATIONS = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/src/') ? '../../sql/sqlite/migrations' : '../sql/sqlite/migrations',
    import.meta.url,
  ),
)

/** A transaction that takes long holds calls up. */
const PRUNED_AT_ONCE = 200
const OF_ATTEMPT = ['calls', 'refusals', 'tunnels', 'sessions'].map((table) => `${table} WHERE attempt_id = ?`)

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
  /** What went wrong, in a sentence without what the provider said; null or absent where nothing did. */
  failure?: string | null
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
  /** `isForNow`: only what is under way leaves no room; nothing is written of it. */
  | { ok: false; unit: Unit | null; scope: Scope | null; isForNow?: boolean }

export type NewSession = { attemptId: string; agentId: string; commandId: string; profile: string | null }
export type SessionRow = NewSession & {
  openedAtMs: number
  closedAtMs: number | null
  /** Of the newest call, where that failed. */
  lastError: { status: number | null; message: string } | null
}

/** `unit` is null where nobody knew the price, `scope` where no limit of its own was named. */
export type RefusalCount = { unit: Unit | null; scope: Scope['scope'] | null; count: number }

export type Tunnel = {
  host: string
  port: number
  /** Where it went to; null where it came to none. */
  address: string | null
  startedAtMs: number
  /** Null while it is open, and where the gateway died meanwhile. */
  endedAtMs: number | null
  bytesUp: number
  bytesDown: number
  /** Why it was not made, or ended before its time. */
  refused: string | null
}

/** `unreserved`: what would be left if nothing were under way. */
type Allow = (left: Amounts, unreserved: Amounts) => Allowance

export type Ledger = ReturnType<typeof openLedger>

type Row = Record<string, unknown>

/** `newGatewayId` is for a file that has none yet. */
export function openLedger({ file, nowMs, newGatewayId = '' }: { file: string; nowMs: number; newGatewayId?: string }) {
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
    unreported: db.prepare(
      "SELECT calls.* FROM calls JOIN sessions USING (attempt_id) WHERE reported = 0 AND state != 'started' AND agent_id = ? ORDER BY call_id LIMIT ?",
    ),
    report: db.prepare("UPDATE calls SET reported = 1 WHERE call_id = ? AND state != 'started'"),
    identity: db.prepare('SELECT gateway_id FROM identity'),
    identify: db.prepare('INSERT INTO identity (gateway_id) VALUES (?)'),
    session: db.prepare('SELECT * FROM sessions WHERE attempt_id = ?'),
    openSession: db.prepare(
      'INSERT INTO sessions (attempt_id, agent_id, command_id, profile, opened_at_ms) VALUES (:attemptId, :agentId, :commandId, :profile, :atMs) ON CONFLICT DO UPDATE SET agent_id = excluded.agent_id, closed_at_ms = NULL',
    ),
    closeSession: db.prepare(
      'UPDATE sessions SET closed_at_ms = :atMs WHERE attempt_id = :attemptId AND closed_at_ms IS NULL',
    ),
    openSessions: db.prepare('SELECT attempt_id FROM sessions WHERE closed_at_ms IS NULL'),
    fail: db.prepare(
      'UPDATE sessions SET error_status = :status, error_message = :message WHERE attempt_id = :attemptId',
    ),
    refuse: db.prepare(
      'INSERT INTO refusals (attempt_id, unit, scope, count) VALUES (:attemptId, :unit, :scope, 1) ON CONFLICT DO UPDATE SET count = count + 1',
    ),
    refusals: db.prepare('SELECT unit, scope, count FROM refusals WHERE attempt_id = ? ORDER BY unit, scope'),
    prices: db.prepare('SELECT * FROM prices ORDER BY provider, model, effective_from_ms'),
    clearPrices: db.prepare('DELETE FROM prices'),
    addPrice: db.prepare(
      'INSERT INTO prices (provider, model, effective_from_ms, price) VALUES (:provider, :model, :effectiveFromMs, :price) ON CONFLICT DO UPDATE SET price = excluded.price',
    ),
    addTunnel: db.prepare(
      'INSERT INTO tunnels (attempt_id, host, port, address, started_at_ms, ended_at_ms, refused) VALUES (:attemptId, :host, :port, :address, :startedAtMs, :endedAtMs, :refused)',
    ),
    endTunnel: db.prepare(
      'UPDATE tunnels SET ended_at_ms = :endedAtMs, bytes_up = :bytesUp, bytes_down = :bytesDown, refused = :refused WHERE tunnel_id = :tunnelId',
    ),
    overBefore: db.prepare(
      'SELECT attempt_id, command_id FROM sessions WHERE closed_at_ms < ? AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.attempt_id = sessions.attempt_id AND reported = 0) LIMIT ?',
    ),
    forget: ['call_budgets WHERE call_id IN (SELECT call_id FROM calls WHERE attempt_id = ?)', ...OF_ATTEMPT].map(
      (what) => db.prepare(`DELETE FROM ${what}`),
    ),
    forgetBudget: db.prepare(
      "DELETE FROM budgets WHERE scope = 'command' AND id = :id AND NOT EXISTS (SELECT 1 FROM sessions WHERE command_id = :id)",
    ),
    tunnels: db.prepare('SELECT * FROM tunnels WHERE attempt_id = ? ORDER BY tunnel_id'),
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
    (call: NewCall, scopes: readonly Scope[], limits: readonly Limit[], allow: Allow): Begun => {
      const lefts = limits.map((limit) => {
        const { spent, reserved } = usedOf(limit, limit.unit)
        return { limit, left: limit.most - spent - reserved, unreserved: limit.most - spent }
      })
      const tightest = (unit: Unit) =>
        lefts.filter(({ limit }) => limit.unit === unit).sort((one, other) => one.left - other.left)[0]
      const least = (unit: Unit, of: 'left' | 'unreserved'): number =>
        Math.min(...lefts.flatMap((each) => (each.limit.unit === unit ? [each[of]] : [])))
      const amounts = (of: 'left' | 'unreserved'): Amounts => ({
        microUsd: least('microUsd', of),
        tokens: least('tokens', of),
        requests: least('requests', of),
      })
      const allowed = allow(amounts('left'), amounts('unreserved'))
      if (!allowed.ok) {
        const limit = tightest(allowed.unit ?? 'microUsd')?.limit
        const scope = limit === undefined ? null : { scope: limit.scope, id: limit.id }
        if (allowed.isForNow) return { ok: false, unit: allowed.unit, scope, isForNow: true }
        sql.refuse.run({ attemptId: call.attemptId, unit: allowed.unit ?? '', scope: scope?.scope ?? '' })
        return { ok: false, unit: allowed.unit, scope }
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

  const settle = db.transaction((settlement: Settlement): void => {
    const { callId, atMs, state, status, usage, costMicroUsd, failure = null } = settlement
    const row = sql.call.get(callId) as Row | undefined
    if (row === undefined || row.state !== 'started') return
    sql.end.run({ callId, atMs, state, status, usage: JSON.stringify(usage), costMicroUsd })
    const tokens = usage.inputTokens + usage.outputTokens
    const call = callOf(row)
    book(call, { microUsd: costMicroUsd ?? 0, tokens, requests: 1 })
    sql.fail.run({ attemptId: call.attemptId, status: failure === null ? null : status, message: failure })
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

  const identified = db.transaction((): string => {
    const row = sql.identity.get() as { gateway_id: string } | undefined
    if (row === undefined) sql.identify.run(newGatewayId)
    return row?.gateway_id ?? newGatewayId
  })
  const gatewayId = identified.immediate()

  const prune = db.transaction((beforeMs: number): number => {
    const over = sql.overBefore.all(beforeMs, PRUNED_AT_ONCE) as { attempt_id: string; command_id: string }[]
    for (const { attempt_id } of over) for (const forget of sql.forget) forget.run(attempt_id)
    for (const { command_id } of over) sql.forgetBudget.run({ id: command_id })
    return over.length
  })

  const report = db.transaction((callIds: readonly number[]): void => {
    for (const callId of callIds) sql.report.run(callId)
  })

  const replacePrices = db.transaction((rows: readonly PriceRow[]): void => {
    sql.clearPrices.run()
    for (const { provider, model, effectiveFromMs, ...price } of rows)
      sql.addPrice.run({ provider, model, effectiveFromMs, price: JSON.stringify(price) })
  })

  return {
    /** Made with the file: calls are numbered within it. */
    gatewayId,
    /**
     * `scopes`: all that it counts for; `limits` may be of these alone. `allow` is asked with what is left of the tightest
     * limit of each unit, in the same transaction in which the answer is reserved, or its refusal counted.
     */
    begin: (call: NewCall, scopes: readonly Scope[], limits: readonly Limit[], allow: Allow): Begun =>
      begin.immediate(call, scopes, limits, allow),
    /** Once; a repetition changes nothing. */
    settle: (settlement: Settlement): void => settle.immediate(settlement),
    used: (scope: Scope, unit: Unit): { spent: number; reserved: number } => usedOf(scope, unit),
    calls: (attemptId: string): Call[] => (sql.ofAttempt.all(attemptId) as Row[]).map(callOf),
    /** The oldest of this agent's calls that have ended and were not passed on. */
    unreported: (agentId: string, most: number): Call[] => (sql.unreported.all(agentId, most) as Row[]).map(callOf),
    report: (callIds: readonly number[]): void => report.immediate(callIds),

    /** A session that was closed is open again. */
    openSession: (session: NewSession, atMs: number): void => void sql.openSession.run({ ...session, atMs }),
    closeSession: (attemptId: string, atMs: number): void => void sql.closeSession.run({ attemptId, atMs }),
    openSessions: (): string[] => (sql.openSessions.all() as { attempt_id: string }[]).map((row) => row.attempt_id),
    session(attemptId: string): SessionRow | null {
      const row = sql.session.get(attemptId) as Row | undefined
      return row === undefined ? null : sessionOf(row)
    },
    /** Of a call that was never begun. */
    failed: (attemptId: string, status: number | null, message: string): void =>
      void sql.fail.run({ attemptId, status, message }),
    refusals: (attemptId: string): RefusalCount[] =>
      (sql.refusals.all(attemptId) as { unit: string; scope: string; count: number }[]).map(
        ({ unit, scope, count }) => ({
          unit: (unit || null) as Unit | null,
          scope: (scope || null) as Scope['scope'] | null,
          count,
        }),
      ),

    prices: (): PriceRow[] =>
      (sql.prices.all() as Row[]).map((row) => ({
        provider: row.provider as ProviderName,
        model: row.model as string,
        effectiveFromMs: row.effective_from_ms as number,
        ...(JSON.parse(row.price as string) as Pick<PriceRow, 'input' | 'output'>),
      })),
    replacePrices: (rows: readonly PriceRow[]): void => replacePrices.immediate(rows),

    /**
     * Forgets attempts that were over before then and that agents have passed on, a few at a time; what they cost stays in
     * the budgets of profiles, days and all. Returns how many.
     */
    prune: (beforeMs: number): number => prune.immediate(beforeMs),

    /** Returns its number, for `endTunnel`. */
    addTunnel: (attemptId: string, tunnel: Omit<Tunnel, 'bytesUp' | 'bytesDown'>): number =>
      Number(sql.addTunnel.run({ attemptId, ...tunnel }).lastInsertRowid),
    endTunnel: (tunnelId: number, end: Pick<Tunnel, 'endedAtMs' | 'bytesUp' | 'bytesDown' | 'refused'>): void =>
      void sql.endTunnel.run({ tunnelId, ...end }),
    tunnels: (attemptId: string): Tunnel[] => (sql.tunnels.all(attemptId) as Row[]).map(tunnelOf),
    close: (): void => closeSqliteFile(db),
  }
}

const sessionOf = (row: Row): SessionRow => ({
  attemptId: row.attempt_id as string,
  agentId: row.agent_id as string,
  commandId: row.command_id as string,
  profile: row.profile as string | null,
  openedAtMs: row.opened_at_ms as number,
  closedAtMs: row.closed_at_ms as number | null,
  lastError:
    row.error_message === null
      ? null
      : { status: row.error_status as number | null, message: row.error_message as string },
})

const tunnelOf = (row: Row): Tunnel => ({
  host: row.host as string,
  port: row.port as number,
  address: row.address as string | null,
  startedAtMs: row.started_at_ms as number,
  endedAtMs: row.ended_at_ms as number | null,
  bytesUp: row.bytes_up as number,
  bytesDown: row.bytes_down as number,
  refused: row.refused as string | null,
})

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
