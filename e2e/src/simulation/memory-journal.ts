/** The agent's journal without a file: the contract of `journal.ts`, a disk that can lose its power, and copies of it. */
import type { CrashPoint } from '@agent-executor/agent/crash-points'
import type { Entry, Identity, Write } from '@agent-executor/agent/journal/journal'
import type { SessionOptions } from '@agent-executor/agent/session'
import type { Outcome } from '@agent-executor/protocol'

/** Never changed in place: a copy of the maps is a copy of the disk. */
type StoredEntry = Entry & { outcome: Outcome | null }
export type Disk = { identity: Identity; entries: Map<string, StoredEntry> }

export type MemoryJournal = SessionOptions['journal'] & {
  disk: () => Disk
  /** Everything that was not synced is gone. */
  cutPower: (random: number) => void
}

const NONCES_MAX = 16
/** Commits that a disk without fsync may lose at most. */
const UNSYNCED_MAX = 4

const STEPS = ['accept', 'start', 'container', 'finish', 'ack'] as const

export const newDisk = (agentId: string, journalId: string): Disk => ({
  identity: { agentId, journalId, incarnation: 0, epoch: null, revSeen: 0, logSeq: 0, nonces: [] },
  entries: new Map(),
})

export const copyOf = ({ identity, entries }: Disk): Disk => ({ identity, entries: new Map(entries) })

const inOrder = (a: Entry, b: Entry): number => (a.attemptId < b.attemptId ? -1 : 1)

/** `fsync` false: a disk on which a commit is not durable, which must be found out. */
export function createMemoryJournal(options: {
  disk: Disk
  crashPoint: (name: CrashPoint) => void
  fsync?: boolean
}): MemoryJournal {
  const { crashPoint, fsync = true } = options
  let disk = options.disk
  const unsynced: Disk[] = []

  const commit = (body: () => void): void => {
    if (!fsync) {
      unsynced.push(copyOf(disk))
      if (unsynced.length > UNSYNCED_MAX) unsynced.shift()
    }
    body()
  }
  const identify = (change: Partial<Identity>): void => {
    disk.identity = { ...disk.identity, ...change }
  }
  const put = (attemptId: string, change: Partial<StoredEntry>): void => {
    disk.entries.set(attemptId, { ...(disk.entries.get(attemptId) as StoredEntry), ...change })
  }
  const forward = () => new Error('the journal only goes forward')
  const reopened = { phase: 'FINISHED' } as const

  const apply = (write: Write) => {
    if (write.type === 'seen') return identify({ revSeen: Math.max(disk.identity.revSeen, write.rev) })
    if (write.type === 'accept') {
      const { offer } = write
      const { attemptId } = offer
      const known = disk.entries.get(attemptId)
      if (known !== undefined && known.startedAtMs !== null) throw forward()
      const nothing = { outcomeState: null, outcomeSha256: null, outcomeBytes: 0, outcome: null }
      const blank = { attemptId, offer, startedAtMs: null, containerId: null, ...nothing, verdict: null }
      disk.entries.set(attemptId, { ...blank, ...known, phase: 'ACCEPTED', offer, verdict: null })
      return
    }
    const { attemptId } = write
    const entry = disk.entries.get(attemptId)
    if (write.type === 'start') {
      if (entry?.phase !== 'ACCEPTED') throw new Error(`attempt ${attemptId} cannot be started`)
      put(attemptId, { phase: 'STARTED', startedAtMs: write.atMs })
    } else if (write.type === 'container') {
      if (entry?.phase !== 'STARTED' || entry.containerId !== null) throw forward()
      put(attemptId, { containerId: write.containerId })
    } else if (write.type === 'finish') {
      if (entry?.phase !== 'ACCEPTED' && entry?.phase !== 'STARTED') return
      const { outcome, outcomeSha256 } = write
      if (entry.outcomeSha256 !== null && entry.outcomeSha256 !== outcomeSha256) throw forward()
      const known = { outcome, outcomeSha256, outcomeState: outcome.state, outcomeBytes: 100 }
      put(attemptId, { phase: 'FINISHED', ...known })
    } else if (write.type === 'ack') {
      if (entry !== undefined && entry.phase !== 'ACKED') put(attemptId, { phase: 'ACKED', verdict: write.verdict })
    } else if (entry?.phase === 'ACKED' && entry.outcome !== null) put(attemptId, reopened)
  }

  const writeAll = (writes: readonly Write[], counts: boolean): void => {
    if (writes.length === 0) return
    const touched = STEPS.filter((step) => writes.some(({ type }) => type === step))
    for (const step of touched) crashPoint(`${step}.before-commit`)
    commit(() => {
      for (const write of writes) apply(write)
      if (counts) identify({ logSeq: disk.identity.logSeq + 1 })
    })
    for (const step of touched) crashPoint(`${step}.after-commit`)
  }

  return {
    disk: () => disk,
    cutPower(random) {
      const lost = Math.floor(random * (unsynced.length + 1))
      const kept = unsynced[unsynced.length - lost]
      if (kept !== undefined) disk = kept
      unsynced.length = 0
    },
    identity: () => disk.identity,
    registering: (nonce) => commit(() => identify({ nonces: [...disk.identity.nonces, nonce].slice(-NONCES_MAX) })),
    registered: ({ incarnation, epoch, rev }) =>
      commit(() => {
        const revSeen = disk.identity.epoch === epoch ? Math.max(disk.identity.revSeen, rev) : rev
        identify({ incarnation, epoch, revSeen, nonces: [] })
      }),
    write: (writes) => writeAll(writes, true),
    recovered: (writes) => writeAll(writes, false),
    open: () => [...disk.entries.values()].filter(({ phase }) => phase !== 'ACKED').sort(inOrder),
    get: (attemptId) => disk.entries.get(attemptId),
    outcome: (attemptId) => disk.entries.get(attemptId)?.outcome ?? undefined,
    reopenAll: () =>
      commit(() => {
        for (const [attemptId, { phase, outcome }] of disk.entries)
          if (phase === 'ACKED' && outcome !== null) put(attemptId, reopened)
      }),
  }
}
