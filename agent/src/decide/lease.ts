/**
 * When the agent stops by itself. The lease it was told runs from the moment it *sent* the request, on a clock that
 * never runs slow; the server counts from its later commit, and longer. The margin is what stopping takes, so that
 * nothing of a takeover-able attempt is left running when the lease is over.
 */

/** Signal, kill and confirm; at most a fifth of a short lease. */
export const fenceMarginMs = (leaseMs: number): number => Math.min(2000, Math.floor(leaseMs / 5))

export const leaseEndsMs = (sentMs: number, leaseMs: number): number => sentMs + leaseMs

/** Nothing is started, and nothing that may be taken over goes on, from here. */
export const mustStop = (nowMs: number, endsMs: number, leaseMs: number): boolean =>
  nowMs >= endsMs - fenceMarginMs(leaseMs)
