/**
 * When a lease is over, as the server sees it.
 *
 * The agent counts its lease from the moment it *sent* the sync, on a clock that never runs slow, and stops before the
 * end. The server counts from the commit of that sync, adds 1 % for clocks of different speed and 2 s for the stop
 * itself. The commit is never before the sending, so the agent is always the first to act.
 */
import type { AgentKind, Attempt } from './command.ts'

/** How long the server waits on an agent that was told `leaseMs`. */
export const serverLeaseMs = (leaseMs: number): number => Math.ceil((leaseMs * 101) / 100) + 2000

type Renewals = { kind: AgentKind; renewedAtMs: number; leaseMs: number }

/**
 * When the lease of a granted attempt is over if its agent stays silent; `command-lease-over.sql` says the same.
 *
 * An agent that syncs may have been told a longer lease than at the grant (the server was restarted with another
 * setting): the longer one counts. A client of the simple API never says what it still works on, so that one which
 * forgot a command and goes on asking for others would keep it RUNNING for ever: its calls renew the lease for as long
 * again as the attempt may take, not longer.
 */
export const leaseExpiresAtMs = (attempt: Attempt, agent: Renewals): number => {
  const grantedAtMs = attempt.grantedAtMs ?? 0
  return agent.kind === 'sync'
    ? Math.max(grantedAtMs, agent.renewedAtMs) + Math.max(attempt.leaseMs, serverLeaseMs(agent.leaseMs))
    : Math.max(grantedAtMs, Math.min(agent.renewedAtMs, grantedAtMs + attempt.leaseMs)) + attempt.leaseMs
}
