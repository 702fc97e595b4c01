/** The named places where `--crash-at` and `--random-failures` may kill the server: before and after each commit. */
import type { CrashPoint } from './store/store.ts'

/** What stands between the two sides of each operation, for `--help` and `docs/reliability.md`. */
export const CRASH_POINTS = {
  'submit.before-commit': 'POST /commands: the command is written, not committed',
  'submit.after-commit': 'POST /commands: committed, not answered',
  'register.before-commit': 'register: the incarnation is written, not committed',
  'register.after-commit': 'register: committed, not answered',
  'sync.before-commit': 'sync: offers, grants, outcomes and leases are written, not committed',
  'sync.after-commit': 'sync: committed, not answered',
  'heartbeat.before-commit': 'heartbeat: the lease is renewed, not committed',
  'heartbeat.after-commit': 'heartbeat: committed, not answered',
  'next.before-commit': 'GET /commands/next: the grant is written, not committed',
  'next.after-commit': 'GET /commands/next: committed, not answered',
  'result.before-commit': 'PUT /commands/:commandId/result: the outcome is written, not committed',
  'result.after-commit': 'PUT /commands/:commandId/result: committed, not answered',
  'cancel.before-commit': 'cancel: written, not committed',
  'cancel.after-commit': 'cancel: committed, not answered',
  'sweep.before-commit': 'sweeper: expiries, withdrawals and lost leases are written, not committed',
  'sweep.after-commit': 'sweeper: committed',
  'files.before-commit': 'uploads and artifacts: the content is there, its row or the list is written, not committed',
  'files.after-commit': 'uploads and artifacts: committed, not answered',
  'batch.half-written': 'operations that share a commit: half of them are written, nothing is committed',
} as const satisfies Record<CrashPoint, string>

export const CRASH_POINT_NAMES = Object.keys(CRASH_POINTS) as CrashPoint[]
