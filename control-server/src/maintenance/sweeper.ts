/**
 * The timer that moves what no call moves: offers nobody accepted, leases that are over, commands whose time has come
 * or gone. It asks the lifecycle what to do with each and looks again when the next one is due, `sweepMs` later at most.
 */
import { setImmediate as otherCallers } from 'node:timers/promises'
import type { Change } from '../lifecycle/agent.ts'
import type { Command } from '../lifecycle/command.ts'
import { dueAtMs, type LifecycleEvent, type LifecyclePolicy, transition } from '../lifecycle/transition.ts'
import type { Store } from '../store/store.ts'

/** Commands a transaction; more would keep other callers waiting. */
const BATCH = 100
const TIMER_MS_MAX = 2_147_483_647

export type Sweeper = ReturnType<typeof createSweeper>

export function createSweeper(options: {
  store: Store
  policy: LifecyclePolicy
  nowMs: () => number
  random: () => number
  sweepMs: number
  idempotencyMs: number
  /** Contents of files that nobody uses, at most so many; answers how many it looked at. */
  removeUnused?: (limit: number) => Promise<number>
  onError: (error: unknown) => void
}) {
  const { store, policy, nowMs, random, sweepMs, removeUnused = async () => 0 } = options
  let timer: NodeJS.Timeout | undefined
  let wakeAtMs = Number.POSITIVE_INFINITY
  let running: Promise<void> = Promise.resolve()
  let stopped = false

  const decide =
    (event: () => LifecycleEvent) =>
    (command: Command): Change | null => {
      const moved = transition(command, event(), policy)
      return moved.ok ? { command: moved.command, entry: moved.entry } : null
    }

  /** Until a batch is not full. Between two of them whoever waits gets a turn: renewals above all. */
  const inBatches = async (batch: () => Promise<number>): Promise<void> => {
    while (!stopped && (await batch()) === BATCH) await otherCallers()
  }

  /** One pass over everything that is due now. Answers when to look again. */
  const sweep = async (): Promise<number> => {
    const now = nowMs()
    // What a restored database takes for late or lost may have ended long ago: the journals have to be heard first.
    if ((await store.serverState()).recovering !== null) return now + sweepMs
    const leaseOver = decide(() => ({ type: 'leaseOver', nowMs: now, random: random() }))
    const tick = decide(() => ({ type: 'tick', nowMs: now }))
    await inBatches(() => store.sweepLeases(now, BATCH, leaseOver))
    await inBatches(() => store.sweepDue(now, BATCH, tick))
    await inBatches(() => store.pruneKeys(now - options.idempotencyMs, BATCH))
    await inBatches(() => removeUnused(BATCH))
    return Math.min(nowMs() + sweepMs, (await store.nextDueAtMs()) ?? Number.POSITIVE_INFINITY)
  }

  const schedule = (atMs: number): void => {
    if (stopped) return
    clearTimeout(timer)
    wakeAtMs = atMs
    timer = setTimeout(run, Math.min(TIMER_MS_MAX, Math.max(0, atMs - nowMs())))
    timer.unref()
  }

  const run = (): void => {
    wakeAtMs = Number.POSITIVE_INFINITY
    // One after the other, so that `stop` has only the last to wait for.
    running = running
      .then(sweep)
      .catch((error: unknown) => {
        options.onError(error)
        return nowMs() + sweepMs
      })
      .then((atMs) => schedule(Math.min(atMs, wakeAtMs)))
  }

  return {
    start(): void {
      schedule(nowMs())
    },
    /** A commit may have brought something that is due before the next look. */
    changed(changes: readonly Change[]): void {
      const atMs = Math.min(...changes.map(({ command }) => dueAtMs(command, policy) ?? Number.POSITIVE_INFINITY))
      if (atMs < wakeAtMs && timer !== undefined) schedule(atMs)
    },
    sweep,
    async stop(): Promise<void> {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}
