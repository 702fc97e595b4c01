/** What the pool needs: which of its containers will do, which have to go, how many have to be made. Pure. */

/** A container of the pool that waits, as Docker lists it. */
export type Member = {
  name: string
  isRunning: boolean
  /** Made with the settings and the image of now. */
  isCurrent: boolean
  createdAtMs: number
}

export type PoolPlan = {
  /** May be taken, the oldest first: it is the next to be recycled. */
  ready: Member[]
  remove: Member[]
  /** Of those to remove, how many had ended by themselves. */
  dead: number
  make: number
}

/** More at a time take as long together. */
export const MAKING_MAX = 2

export function planPool({
  members,
  making,
  size,
  idleMs,
  nowMs,
}: {
  members: readonly Member[]
  making: number
  size: number
  idleMs: number
  nowMs: number
}): PoolPlan {
  const dead = members.filter(({ isRunning }) => !isRunning)
  const stale = members.filter(({ isRunning, isCurrent }) => isRunning && !isCurrent)
  const good = members
    .filter(({ isRunning, isCurrent }) => isRunning && isCurrent)
    .sort((a, b) => a.createdAtMs - b.createdAtMs)
  const surplus = good.slice(0, Math.max(0, good.length - size))
  const kept = good.slice(surplus.length)
  // One at a time: those that were made together would otherwise go together.
  const [oldest] = kept
  const old = oldest !== undefined && nowMs - oldest.createdAtMs >= idleMs ? [oldest] : []
  const ready = kept.slice(old.length)
  return {
    ready,
    remove: [...dead, ...stale, ...surplus, ...old],
    dead: dead.length,
    make: Math.max(0, Math.min(MAKING_MAX - making, size - ready.length - making)),
  }
}
