/**
 * When a lease is over, as the server sees it.
 *
 * The agent counts its lease from the moment it *sent* the sync, on a clock that never runs slow, and stops before the
 * end. The server counts from the commit of that sync, adds 1 % for clocks of different speed and 2 s for the stop
 * itself. The commit is never before the sending, so the agent is always the first to act.
 */
import type { Attempt } from './command.ts'

/** How long the server waits on an agent that was told `leaseMs`. */
export const serverLeaseMs = (leaseMs: number): number => Math.ceil(leaseMs * 1.01) + 2000

/** When the lease of a granted attempt is over if its agent stays silent. */
export const leaseExpiresAtMs = (attempt: Attempt, agentRenewedAtMs: number): number =>
  Math.max(agentRenewedAtMs, attempt.grantedAtMs ?? 0) + attempt.leaseMs
