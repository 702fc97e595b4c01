/**
 * The guards, each with what takes it out of the compiled code. A simulation that does not notice proves nothing, and a
 * mutant whose text is not found any more is an error, not a pass.
 */
export type Mutant = {
  /** What is missing then. */
  guard: string
  /** Runs without fsync instead of with changed code. */
  fsync?: false
  edits?: readonly { module: string; find: string; put: string }[]
}

const SESSION = 'agent/dist/src/session.js'
const INVENTORY = 'agent/dist/src/decide/inventory.js'
const SYNC = 'control-server/dist/src/lifecycle/sync.js'
const REGISTER = 'control-server/dist/src/lifecycle/register.js'
const TRANSITION = 'control-server/dist/src/lifecycle/transition.js'
const LEASE_POLICY = 'control-server/dist/src/lifecycle/lease-policy.js'

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  fence: {
    guard: 'a report counts for the attempt it names only',
    edits: [{ module: TRANSITION, find: '&& newest?.number === event.attempt)', put: ')' }],
  },
  final: {
    guard: 'final is final',
    edits: [
      {
        module: TRANSITION,
        find: "if ((phase === 'RUNNING' || phase === 'LOST') && newest?.number === event.attempt)",
        put: 'if (newest?.number === event.attempt)',
      },
      {
        module: SYNC,
        find: 'if (known?.agentId === agentId && known.outcomeSha256 === outcomeSha256) {',
        put: 'if (false) {',
      },
    ],
  },
  intent: {
    guard: 'the start is in the journal before the effect begins',
    edits: [
      {
        module: SESSION,
        find: "writes.push({ type: 'start', attemptId, atMs })",
        put: ';',
      },
      { module: SESSION, find: "if (entry?.phase === 'STARTED' && mayBegin", put: 'if (entry && mayBegin' },
    ],
  },
  'self-fence': {
    guard: 'an agent stops by itself when its lease is over',
    edits: [
      { module: SESSION, find: 'if (!mustStop(leaseClockMs(), lease.leaseEndsMs(), leaseMs))', put: 'if (true)' },
    ],
  },
  'lease-clock': {
    guard: 'the agent counts its lease from the sending of the request, not from the answer',
    edits: [
      {
        module: SESSION,
        find: 'lease.renewed(leaseEndsMs(sentMs, leaseMs), nextSyncMs)',
        put: 'lease.renewed(leaseEndsMs(leaseClockMs(), leaseMs), nextSyncMs)',
      },
    ],
  },
  margin: {
    guard: 'the server waits longer than the agent counts',
    edits: [{ module: LEASE_POLICY, find: 'Math.ceil((leaseMs * 101) / 100) + 2000', put: 'leaseMs' }],
  },
  'confirmation-in-time': {
    guard: 'nothing starts or goes on by an answer that came after the lease',
    edits: [{ module: SESSION, find: 'mustStop(leaseClockMs(), confirmedUntilMs, leaseMs)', put: 'false' }],
  },
  'idempotent-ack': {
    guard: 'an outcome that counts already is acknowledged again',
    edits: [
      {
        module: SYNC,
        find: 'if (known?.agentId === agentId && known.outcomeSha256 === outcomeSha256) {',
        put: 'if (false) {',
      },
    ],
  },
  grant: {
    guard: 'an offer is started only when it was granted',
    edits: [
      {
        module: SYNC,
        find: "if (recovering)\n            return;\n        if (phase === 'OFFERED') {",
        put: "if (recovering)\n            return;\n        grants.push(item.attemptId);\n        if (phase === 'OFFERED') return;\n        if (phase === 'OFFERED') {",
      },
    ],
  },
  'trusted-since': {
    guard: 'what was granted to a journal that is gone is not granted to its successor',
    edits: [{ module: TRANSITION, find: '(newest.incarnation ?? 0) < event.trustedSince', put: 'false' }],
  },
  'log-seq': {
    guard: 'a journal that has gone back is found out',
    edits: [{ module: REGISTER, find: 'request.logSeq < agent.logSeq', put: 'false' }],
  },
  'uncounted-recovery': {
    guard: 'what a life writes before it has registered does not make its journal look newer',
    edits: [{ module: SESSION, find: 'journal.recovered(', put: 'journal.write(' }],
  },
  'compare-and-swap': {
    guard: 'nobody takes an identity from an agent within its lease',
    edits: [
      {
        module: REGISTER,
        find: '(sameEpoch ? !successor : !sameJournal) && !agentLeaseOver(agent, nowMs)',
        put: 'false',
      },
    ],
  },
  seq: {
    guard: 'an old sync that comes late is not obeyed',
    edits: [
      { module: SYNC, find: 'request.seq <= agent.seq', put: 'false' },
      // Where the journal was written to in between, this finds it as well.
      { module: SYNC, find: 'request.logSeq < agent.logSeq', put: 'false' },
    ],
  },
  echo: {
    guard: 'an answer to another request is none',
    edits: [
      {
        module: SESSION,
        find: 'answer.incarnation !== request.incarnation || answer.seq !== request.seq',
        put: 'false',
      },
    ],
  },
  reopen: {
    guard: 'after a restore agents report again what was acknowledged',
    edits: [{ module: SESSION, find: 'if (answer.recovery)\n                journal.reopenAll()', put: ';' }],
  },
  recovery: {
    guard: 'nothing is handed out before all journals are in',
    edits: [{ module: SYNC, find: 'const recovering = server.recovering !== null', put: 'const recovering = false' }],
  },
  'decided-first': {
    guard: 'in recovery only what has decided decides',
    edits: [{ module: INVENTORY, find: 'if (recovery && !hasDecided(entry))', put: 'if (false)' }],
  },
  'adopted-count': {
    guard: 'every attempt that may have been granted meanwhile is counted',
    edits: [{ module: TRANSITION, find: 'command.grantedCount + unseen', put: 'command.grantedCount + 1' }],
  },
  'max-attempts': {
    guard: 'a second run only where it was asked for',
    edits: [
      {
        module: TRANSITION,
        find: "command.spec.takeover === 'manual' || command.grantedCount >= command.spec.retry.maxAttempts",
        put: 'false',
      },
    ],
  },
  'give-up': {
    guard: 'a LOST attempt is given up in the end',
    edits: [
      {
        module: TRANSITION,
        find: "if (phase === 'LOST' && newest !== undefined && before(",
        put: "if (phase === 'LOST' && newest !== undefined && !before(",
      },
    ],
  },
  fsync: {
    guard: 'what was confirmed is on the disk',
    fsync: false,
  },
}
