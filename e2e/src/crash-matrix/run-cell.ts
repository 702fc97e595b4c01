/** Runs one cell and tells what was seen. What it means is for `judge.ts`. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CommandView } from '../api.ts'
import type { Containers } from '../docker.ts'
import type { Exchange } from '../faulty-proxy.ts'
import type { Target, Visit } from '../target.ts'
import { hasNothingLeft, type Run } from './actors.ts'
import { type Cell, LEASE_OVER_MS, RETRIES, TYPES } from './cells.ts'
import { createCrowd } from './crowd.ts'
import type { Lane, Worker } from './lane.ts'

export type Event = { seq: number; type: string; from: string | null; to: string | null; attempt: number | null }

export type Observed = {
  /** When the crash or fault happened; null where it did not. */
  causedMs: number | null
  /** As it was when first seen final, and at the end of the cell. */
  first: CommandView | null
  last: CommandView | null
  events: readonly Event[]
  /** Acknowledged submissions of the crowd that are not there afterwards. */
  gone: readonly string[]
  visits: readonly Visit[]
  runs: readonly Run[]
  /** What passed between workers and server. */
  exchanges: readonly Exchange[]
  /** Where the cell came to no end: what it waited for. */
  problem: string | null
  /** What everybody said, for people. */
  lines: () => string[]
}

export const nothing: Observed = {
  ...{ causedMs: null, first: null, last: null, events: [], gone: [], visits: [], runs: [], exchanges: [] },
  ...{ problem: null, lines: () => [] },
}

/** What effects come to; `containers` only where cells need Docker. */
export type World = { target: Target; containers: Containers | null }

const CAUSE_MS = 60_000
const FINAL_MS = 60_000
/** For a simple client it is the lease too. */
const SIMPLE_TIMEOUT_MS = 1000

/** `number` is the cell's own among all that ran. */
export async function runCell(
  cell: Cell,
  number: number,
  lane: Lane,
  { target, containers }: World,
): Promise<Observed> {
  const { client, cause, situation } = cell
  const { api } = lane
  const beganMs = Date.now()
  const crash = cause.kind === 'crash' ? cause : null
  const agentDies = crash !== null && (crash.in === 'agent' || crash.both)
  const seen: Observed = { ...nothing }
  const other = cell.other ? await lane.resident(cell, 'other') : null
  const worker = cell.fresh ? await lane.fresh(cell, `${client}-${number}`) : await lane.resident(cell, 'worker')
  const { actor, proxy } = worker
  const crowd = situation === 'crowded' ? createCrowd(api, `crowd-${number}`) : null
  const workers: readonly Worker[] = other === null ? [worker] : [worker, other]

  const start = () => (cell.fresh ? actor.start() : actor.resume())
  const submit = () =>
    api.submit(
      {
        type: cell.type,
        payload: TYPES[cell.type].payload(cell.effectMs, target.url),
        // A cell that ends in LOST does not wait for it; every other one has time to be told otherwise.
        lostAfterMs: cell.expected.ending === 'LOST' ? 300 : 60_000,
        ...(client === 'simple' ? { timeoutMs: SIMPLE_TIMEOUT_MS } : {}),
        ...(cell.retries ? { retry: { maxAttempts: RETRIES, backoff: { initialMs: 0 } }, takeover: 'auto' } : {}),
        ...(situation === 'later' ? { notBefore: new Date(Date.now() + 1000).toISOString() } : {}),
      },
      `cell-${number}`,
    )
  const cancel = (commandId: string) =>
    api.patiently('cancel', async () => {
      const { status } = await api.call('POST', `/commands/${commandId}/cancel`, {})
      if (status !== 200 && status !== 202) throw new Error(`cancel answered ${status}`)
    })

  /** Until the cause has happened; answers when. */
  const provoke = async (submitted: { command: Promise<CommandView> | null }): Promise<number> => {
    const dying = crash?.in === 'agent' ? actor : lane
    let fault: Promise<number> | null = null
    const arm = (): void => {
      if (cause.kind === 'crash') dying.crashAt(cause.point)
      else fault = proxy.misbehave(cause.misbehaviour)
    }
    const whileItRuns = situation === 'running' || situation === 'cancelled' || situation === 'agent dead'
    if (!whileItRuns) arm()
    if (situation === 'idle') {
      start()
      await proxy.until(
        (log) => log.some(({ message, status, atMs }) => message === 'sync' && status === 200 && atMs >= beganMs),
        CAUSE_MS,
      )
    }
    crowd?.start()
    submitted.command = submit()
    if (situation !== 'submitting' && situation !== 'crowded') await submitted.command
    if (situation !== 'idle') start()
    if (whileItRuns) {
      const { commandId } = await submitted.command
      await actor.begun(commandId)
      arm()
      if (situation === 'agent dead') await actor.kill()
      // Repeated until it is answered, after the crash.
      if (situation === 'cancelled') void cancel(commandId).catch(() => {})
    }
    return fault ?? dying.crashed()
  }

  /** Brings back what is dead, as the cell says. */
  const restart = async (): Promise<void> => {
    if (crash === null) return
    if (!agentDies && crash.restart === 'after the lease') await sleep(LEASE_OVER_MS)
    await lane.serve()
    if (!agentDies || crash.restart === 'never') return
    if (crash.restart !== 'at once') await sleep(LEASE_OVER_MS)
    actor.start()
  }

  let restarted: Promise<void> = Promise.resolve()
  try {
    await lane.serve()
    const submitted: { command: Promise<CommandView> | null } = { command: null }
    seen.causedMs = await within(provoke(submitted), CAUSE_MS)
    crowd?.stop()
    if (crash?.both) await (crash.in === 'agent' ? lane.killServer() : actor.kill())
    other?.actor.resume()
    restarted = restart()
    restarted.catch(() => {})
    const { commandId } = (await submitted.command) as CommandView
    seen.first = await api.final(commandId, FINAL_MS)
    const sinceMs = Date.now()
    await restarted
    for (const { actor, proxy } of workers) if (actor.alive()) await hasNothingLeft(proxy, client, sinceMs)
    seen.last = await api.get(commandId)
    seen.events = (await api.call('GET', `/commands/${commandId}/events`)).body as unknown as Event[]
    lane.remember(seen.last)
    if (crowd !== null) seen.gone = await crowd.gone()
  } catch (error) {
    seen.problem = error instanceof Error ? error.message : String(error)
  }
  await restarted.catch(() => {})

  await other?.actor.pause()
  await (cell.fresh ? actor.kill() : actor.pause())
  const commandId = seen.first?.commandId ?? ''
  seen.visits = cell.type === 'RUN_AGENT' ? (containers?.visits(commandId) ?? []) : target.visits(commandId)
  seen.runs = workers.flatMap((each) => each.actor.runs(commandId))
  seen.exchanges = workers.flatMap(({ proxy }) => proxy.log.filter(({ atMs }) => atMs >= beganMs))
  seen.lines = () => [...lane.lines(), ...workers.flatMap((each) => each.actor.lines())]
  if (cell.fresh) await proxy.close()
  return seen
}

async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value> {
  const timer = new AbortController()
  const late = sleep(ms, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`the crash or fault did not happen within ${ms} ms`)
  })
  late.catch(() => {})
  return Promise.race([promise, late]).finally(() => timer.abort())
}
