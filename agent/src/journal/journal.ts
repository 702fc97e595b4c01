/**
 * The agent's journal: one SQLite file, locked by one process, every commit fsynced. An entry goes
 * ACCEPTED → STARTED → FINISHED → ACKED and is kept after the ack, since a slow old offer may still arrive. Decides
 * nothing: `decide/` says what is written, this says that it is.
 */
import { fileURLToPath } from 'node:url'
import type { AckVerdict, Offer, Outcome, OutcomeState } from '@agent-executor/protocol'
import { closeSqliteFile, openSqliteFile } from '@agent-executor/runtime'
import type { CrashPoint } from '../crash-points.ts'

export type Phase = 'ACCEPTED' | 'STARTED' | 'FINISHED' | 'ACKED'

export type Entry = {
  attemptId: string
  phase: Phase
  offer: Offer
  startedAtMs: number | null
  /** Of the container that was made for it; logged before that is started. */
  containerId: string | null
  outcomeState: OutcomeState | null
  outcomeSha256: string | null
  /** Size of the outcome's JSON text. */
  outcomeBytes: number
  /** What the server said of the outcome last; kept where it is reported again. */
  verdict: AckVerdict | 'dropped' | null
}

export type Identity = {
  agentId: string
  journalId: string
  incarnation: number
  epoch: string | null
  revSeen: number
  logSeq: number
  /** Registrations that were sent and never answered, newest last. */
  nonces: string[]
}

export type Write =
  | { type: 'accept'; offer: Offer; atMs: number }
  | { type: 'start'; attemptId: string; atMs: number }
  | { type: 'container'; attemptId: string; containerId: string }
  | { type: 'finish'; attemptId: string; outcome: Outcome; outcomeSha256: string; atMs: number }
  | { type: 'ack'; attemptId: string; verdict: AckVerdict | 'dropped'; atMs: number }
  /** An outcome that was acknowledged is asked for again. */
  | { type: 'reopen'; attemptId: string }
  | { type: 'seen'; rev: number }

/** Registrations remembered at most; an older one would have to win after 16 lost answers in a row. */
const NONCES_MAX = 16

const MIGRATIONS = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/src/') ? '../../../sql/sqlite/migrations' : '../../sql/sqlite/migrations',
    import.meta.url,
  ),
)

export type Journal = ReturnType<typeof openJournal>

/**
 * Opens the journal, or makes one for `newAgentId`. Throws the errors of `openSqliteFile` where the file is locked by
 * another process, damaged or read-only. Every method throws the driver's errors: after one that `isFatalSqliteError`
 * names, nothing may be written any more.
 */
export function openJournal(options: {
  file: string
  newAgentId: string
  newJournalId: string
  nowMs: number
  crashPoint?: (name: CrashPoint) => void
}) {
  const { crashPoint = () => {} } = options
  const db = openSqliteFile({ file: options.file, migrations: MIGRATIONS, nowMs: options.nowMs })
  const sql = {
    identity: db.prepare('SELECT * FROM identity'),
    create: db.prepare(
      'INSERT INTO identity (id, agent_id, journal_id, incarnation, epoch, rev_seen, log_seq) VALUES (1, ?, ?, 0, NULL, 0, 0)',
    ),
    nonces: db.prepare('SELECT nonce FROM nonces ORDER BY number').pluck(),
    addNonce: db.prepare('INSERT INTO nonces VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM nonces))'),
    trimNonces: db.prepare('DELETE FROM nonces WHERE number <= (SELECT max(number) FROM nonces) - ?'),
    clearNonces: db.prepare('DELETE FROM nonces'),
    registered: db.prepare(
      `UPDATE identity SET incarnation = :incarnation, epoch = :epoch,
         rev_seen = CASE WHEN epoch = :epoch THEN max(rev_seen, :rev) ELSE :rev END`,
    ),
    seen: db.prepare('UPDATE identity SET rev_seen = max(rev_seen, ?)'),
    advance: db.prepare('UPDATE identity SET log_seq = log_seq + 1'),
    open: db.prepare(
      "SELECT *, coalesce(length(CAST(outcome AS BLOB)), 0) AS outcome_bytes FROM entries WHERE phase <> 'ACKED'",
    ),
    get: db.prepare(
      'SELECT *, coalesce(length(CAST(outcome AS BLOB)), 0) AS outcome_bytes FROM entries WHERE attempt_id = ?',
    ),
    outcome: db.prepare('SELECT outcome FROM entries WHERE attempt_id = ?').pluck(),
    accept: db.prepare(
      `INSERT INTO entries (attempt_id, phase, type, offer, accepted_at_ms) VALUES (?, 'ACCEPTED', ?, ?, ?)
       ON CONFLICT DO NOTHING`,
    ),
    // An attempt that was dropped before it started may be offered again, with less of its time left.
    acceptAgain: db.prepare(
      "UPDATE entries SET phase = 'ACCEPTED', offer = ?, acked_at_ms = NULL, verdict = NULL WHERE attempt_id = ?",
    ),
    start: db.prepare(
      "UPDATE entries SET phase = 'STARTED', started_at_ms = ? WHERE attempt_id = ? AND phase = 'ACCEPTED'",
    ),
    container: db.prepare(
      "UPDATE entries SET container_id = ? WHERE attempt_id = ? AND phase = 'STARTED' AND container_id IS NULL",
    ),
    finish: db.prepare(
      `UPDATE entries SET phase = 'FINISHED', finished_at_ms = ?, outcome_state = ?, outcome = ?, outcome_sha256 = ?
       WHERE attempt_id = ? AND phase IN ('ACCEPTED', 'STARTED')`,
    ),
    ack: db.prepare(
      "UPDATE entries SET phase = 'ACKED', acked_at_ms = ?, verdict = ? WHERE attempt_id = ? AND phase <> 'ACKED'",
    ),
    reopen: db.prepare(
      "UPDATE entries SET phase = 'FINISHED', acked_at_ms = NULL WHERE attempt_id = ? AND phase = 'ACKED' AND outcome IS NOT NULL",
    ),
    reopenAll: db.prepare(
      "UPDATE entries SET phase = 'FINISHED', acked_at_ms = NULL WHERE phase = 'ACKED' AND outcome IS NOT NULL",
    ),
    prune: db.prepare(
      `DELETE FROM entries WHERE attempt_id IN (
         SELECT attempt_id FROM entries WHERE phase = 'ACKED' AND (acked_at_ms < :beforeMs OR acked_at_ms <= coalesce((
           SELECT acked_at_ms FROM entries WHERE phase = 'ACKED' ORDER BY acked_at_ms DESC LIMIT 1 OFFSET :rowsMax
         ), -1)) LIMIT :limit)`,
    ),
  }
  if (sql.identity.get() === undefined) sql.create.run(options.newAgentId, options.newJournalId)

  /** Attempts that the commit under way found in the file. */
  const acceptedAgain = new Set<string>()
  /** Each answers how many rows it changed. */
  const written = {
    accept: ({ offer, atMs }: Extract<Write, { type: 'accept' }>) => {
      const text = JSON.stringify(offer)
      const inserted = sql.accept.run(offer.attemptId, offer.type, text, atMs)
      if (inserted.changes === 1) return inserted
      acceptedAgain.add(offer.attemptId)
      return sql.acceptAgain.run(text, offer.attemptId)
    },
    start: ({ attemptId, atMs }: Extract<Write, { type: 'start' }>) => {
      const started = sql.start.run(atMs, attemptId)
      if (started.changes !== 1) throw new Error(`attempt ${attemptId} cannot be started`)
      return started
    },
    container: ({ attemptId, containerId }: Extract<Write, { type: 'container' }>) => {
      const logged = sql.container.run(containerId, attemptId)
      if (logged.changes !== 1) throw new Error(`attempt ${attemptId} is not one that waits for a container`)
      return logged
    },
    finish: ({ attemptId, outcome, outcomeSha256, atMs }: Extract<Write, { type: 'finish' }>) =>
      sql.finish.run(atMs, outcome.state, JSON.stringify(outcome), outcomeSha256, attemptId),
    ack: ({ attemptId, verdict, atMs }: Extract<Write, { type: 'ack' }>) => sql.ack.run(atMs, verdict, attemptId),
    reopen: ({ attemptId }: Extract<Write, { type: 'reopen' }>) => sql.reopen.run(attemptId),
    seen: ({ rev }: Extract<Write, { type: 'seen' }>) => sql.seen.run(rev),
  } as const
  const steps = ['accept', 'start', 'container', 'finish', 'ack'] as const

  const read = (attemptId: string): Entry | undefined => {
    const row = sql.get.get(attemptId) as Row | undefined
    return row && entryOf(row)
  }
  /** What `open` answers, as it is in the file; null where that has to be read first. */
  let openEntries: Map<string, Entry> | null = null
  const entries = (): Map<string, Entry> => {
    openEntries ??= new Map((sql.open.all() as Row[]).map(entryOf).map((entry) => [entry.attemptId, entry]))
    return openEntries
  }
  /** A write that is committed and changed a row. */
  const remember = (write: Write): void => {
    if (write.type === 'seen' || openEntries === null) return
    if (write.type === 'reopen') openEntries = null
    else if (write.type === 'accept') {
      const { attemptId } = write.offer
      openEntries.set(attemptId, acceptedAgain.has(attemptId) ? (read(attemptId) as Entry) : newEntry(write.offer))
    } else if (write.type === 'ack') openEntries.delete(write.attemptId)
    else {
      const entry = openEntries.get(write.attemptId)
      if (entry === undefined) throw new Error(`attempt ${write.attemptId} is not open`)
      openEntries.set(write.attemptId, Object.assign({ ...entry }, stepOf(write)))
    }
  }

  const inTransaction = db.transaction((body: () => void) => body()).immediate
  const commit = (writes: readonly Write[], counts: boolean): void => {
    if (writes.length === 0) return
    const touched = steps.filter((step) => writes.some(({ type }) => type === step))
    let changed: Write[] = []
    acceptedAgain.clear()
    inTransaction(() => {
      changed = writes.filter((write) => written[write.type](write as never).changes === 1)
      if (counts) sql.advance.run()
      for (const step of touched) crashPoint(`${step}.before-commit`)
    })
    for (const write of changed) remember(write)
    for (const step of touched) crashPoint(`${step}.after-commit`)
  }

  return {
    identity(): Identity {
      const row = sql.identity.get() as Record<string, unknown>
      return {
        agentId: row.agent_id as string,
        journalId: row.journal_id as string,
        incarnation: row.incarnation as number,
        epoch: row.epoch as string | null,
        revSeen: row.rev_seen as number,
        logSeq: row.log_seq as number,
        nonces: sql.nonces.all() as string[],
      }
    },

    /** A registration is about to be sent. */
    registering(nonce: string): void {
      inTransaction(() => {
        sql.addNonce.run(nonce)
        sql.trimNonces.run(NONCES_MAX)
      })
    },

    /**
     * It was answered. In a new epoch the revisions seen before mean nothing; in the same one they are what shows that
     * the server was set back.
     */
    registered(answer: { incarnation: number; epoch: string; rev: number }): void {
      inTransaction(() => {
        sql.registered.run(answer)
        sql.clearNonces.run()
      })
    },

    /** Everything in one commit, durable when this returns. */
    write: (writes: readonly Write[]): void => commit(writes, true),

    /**
     * As `write`, for what a new life finds before it has registered. It does not count in `logSeq`: an older copy of this
     * file would catch up with what the server has seen, one life after the other, and not be found out any more.
     */
    recovered: (writes: readonly Write[]): void => commit(writes, false),

    /** Every entry the server has not acknowledged, in the order of their ids. */
    open(): Entry[] {
      return [...entries().values()].sort((a, b) => (a.attemptId < b.attemptId ? -1 : 1))
    },

    get(attemptId: string): Entry | undefined {
      return entries().get(attemptId) ?? read(attemptId)
    },

    outcome(attemptId: string): Outcome | undefined {
      const text = sql.outcome.get(attemptId) as string | null | undefined
      return text ? (JSON.parse(text) as Outcome) : undefined
    },

    /** The server was restored from a backup: it may have forgotten what it acknowledged. */
    reopenAll(): void {
      sql.reopenAll.run()
      openEntries = null
    },

    /** Forgets acknowledged entries older than `beforeMs`, and the oldest beyond `rowsMax`; at most `limit` a call. Answers how many. */
    prune(beforeMs: number, rowsMax: number, limit: number): number {
      return sql.prune.run({ beforeMs, rowsMax, limit }).changes
    },

    close(): void {
      closeSqliteFile(db)
    },
  }
}

type Row = Record<string, unknown>

const newEntry = (offer: Offer): Entry => ({
  attemptId: offer.attemptId,
  phase: 'ACCEPTED',
  offer,
  startedAtMs: null,
  containerId: null,
  outcomeState: null,
  outcomeSha256: null,
  outcomeBytes: 0,
  verdict: null,
})

const stepOf = (write: Extract<Write, { type: 'start' | 'container' | 'finish' }>): Partial<Entry> => {
  switch (write.type) {
    case 'start':
      return { phase: 'STARTED', startedAtMs: write.atMs }
    case 'container':
      return { containerId: write.containerId }
    case 'finish':
      return {
        phase: 'FINISHED',
        outcomeState: write.outcome.state,
        outcomeSha256: write.outcomeSha256,
        outcomeBytes: Buffer.byteLength(JSON.stringify(write.outcome)),
      }
  }
}

const entryOf = (row: Row): Entry => ({
  attemptId: row.attempt_id as string,
  phase: row.phase as Phase,
  offer: JSON.parse(row.offer as string) as Offer,
  startedAtMs: row.started_at_ms as number | null,
  containerId: row.container_id as string | null,
  outcomeState: row.outcome_state as OutcomeState | null,
  outcomeSha256: row.outcome_sha256 as string | null,
  outcomeBytes: row.outcome_bytes as number,
  verdict: row.verdict as Entry['verdict'],
})
