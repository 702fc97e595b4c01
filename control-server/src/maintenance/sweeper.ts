/**
 * The timer that moves what no call moves: offers nobody accepted, leases that are over, commands whose time has come
 * or gone. It asks the lifecycle what to do with each and looks again when the next one is due, `sweepMs` later at most.
 */
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
  onError: (error: unknown) => void
}) {
  const { store, policy, nowMs, random, sweepMs } = options
  let timer: NodeJS.Timeout | undefined
  let wakeAtMs = Number.POSITIVE_INFINITY
  let running: Promise<void> = Promise.resolve()
  let stopped = false

  const decide = (event: LifecycleEvent) => (command: Command): Change | null => {
    const moved = transition(command, event, policy)
    return moved.ok ? { command: moved.command, entry: moved.entry } : null
  }

  /** One pass over everything that is due now. */
  const sweep = async (): Promise<void> => {
    const now = nowMs()
    while (!stopped && (await store.sweepLeases(now, BATCH, decide({ type: 'leaseOver', nowMs: now, random: random() }))) === BATCH);
    while (!stopped && (await store.sweepDue(now, BATCH, decide({ type: 'tick', nowMs: now }))) === BATCH);
    while (!stopped && (await store.pruneKeys(now - options.idempotencyMs, BATCH)) === BATCH);
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
    running = sweep()
      .then(async () => Math.min(nowMs() + sweepMs, (await store.nextDueAtMs()) ?? Number.POSITIVE_INFINITY))
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
