/** Runs one cell and tells what was seen. What it means is for `judge.ts`. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CommandView, Json } from '../api.ts'
import { type Exchange, type FaultyProxy, startFaultyProxy } from '../faulty-proxy.ts'
import type { Target, Visit } from '../target.ts'
import { createAgentActor, createSimpleActor, type Run } from './actors.ts'
import { type Cell, LEASE_OVER_MS, TYPES } from './cells.ts'
import type { Lane } from './lane.ts'

export type Event = { seq: number; type: string; from: string | null; to: string | null; attempt: number | null }

export type Observed = {
  /** When the crash or fault happened; null where it did not. */
  causedMs: number | null
  finalMs: number | null
  /** As it was when first seen final, and at the end of the cell. */
  first: CommandView | null
  last: CommandView | null
  events: readonly Event[]
  visits: readonly Visit[]
  runs: readonly Run[]
  exchanges: readonly Exchange[]
  /** Where the cell came to no end: what it waited for. */
  problem: string | null
  /** What everybody said, for people. */
  lines: () => string[]
}

const CAUSE_MS = 20_000
const FINAL_MS = 25_000
const SETTLE_MS = 10_000

/** `number` makes names unique in the lane. */
export async function runCell(cell: Cell, number: number, lane: Lane, target: Target): Promise<Observed> {
  const { cause, client } = cell
  const { api } = lane
  const agentId = `${client}-${number}`
  const crash = cause.kind === 'crash' ? cause : null
  const seen: Observed = {
    ...{ causedMs: null, finalMs: null, first: null, last: null, events: [], visits: [], runs: [] },
    ...{ exchanges: [], problem: null, lines: () => [] },
  }
  const other = cell.other ? await lane.other(client) : null
  await lane.serve(crash?.in === 'server' ? crash.point : undefined)
  const proxy = await startFaultyProxy(lane.port)
  const actor =
    client === 'agent'
      ? createAgentActor(`${lane.dir}/${agentId}`, agentId, proxy.port)
      : createSimpleActor(agentId, proxy.port)

  const submit = () =>
    api.submit(
      {
        type: cell.type,
        payload: TYPES[cell.type].payload(cell.effectMs, target.url),
        // A cell that ends in LOST does not wait for it; every other one has time to be told otherwise.
        lostAfterMs: cell.expected.ending === 'LOST' ? 300 : 60_000,
        // For a simple client it is the lease.
        ...(client === 'simple' ? { timeoutMs: 1000 } : {}),
        ...(cell.retries ? { retry: { maxAttempts: 2, backoff: { initialMs: 0 } }, takeover: 'auto' } : {}),
        ...(cell.situation === 'later' ? { notBefore: new Date(Date.now() + 1500).toISOString() } : {}),
      },
      agentId,
    )

  /** Until the cause has happened. */
  const provoke = async (): Promise<{ submitted: Promise<CommandView>; causedMs: number }> => {
    const planned = cause.kind === 'proxy' ? proxy.misbehave(cause.misbehaviour) : null
    const start = () => actor.start(crash?.in === 'agent' ? crash.point : undefined)
    if (cell.situation === 'idle') {
      start()
      await proxy.until((log) => log.some(({ message }) => message === 'sync' || message === 'wait'), CAUSE_MS)
    }
    const submitted = submit()
    if (!(crash?.in === 'server' && crash.point.startsWith('submit'))) await submitted
    if (cell.situation !== 'idle') start()
    const causedMs = planned ?? (crash?.in === 'agent' ? actor.crashed() : lane.crashed())
    if (cell.situation === 'cancelled' || cell.situation === 'agent dead') {
      const { commandId } = await submitted
      await actor.begun(commandId)
      if (cell.situation === 'agent dead') await actor.kill()
      else void cancel(commandId).catch(() => {})
    }
    return { submitted, causedMs: await causedMs }
  }
  const cancel = (commandId: string) =>
    api.patiently('cancel', async () => {
      const { status } = await api.call('POST', `/commands/${commandId}/cancel`, {})
      if (status !== 200 && status !== 202) throw new Error(`cancel answered ${status}`)
    })

  /** Brings back what is dead, when the cell says so. Answers whether the agent lives in the end. */
  const restart = async (): Promise<void> => {
    if (crash === null) return
    const agentDead = crash.in === 'agent' || crash.both
    if (!agentDead && crash.restart === 'after the lease') await sleep(LEASE_OVER_MS)
    await lane.serve()
    if (!agentDead || crash.restart === 'never') return
    if (crash.restart !== 'at once') await sleep(LEASE_OVER_MS)
    actor.start()
  }
  const lives = crash === null || !(crash.in === 'agent' || crash.both) || crash.restart !== 'never'

  const proxies = [proxy, ...(other === null ? [] : [other.proxy])]
  try {
    const { submitted, causedMs } = await within(provoke(), CAUSE_MS, 'the cause did not happen')
    seen.causedMs = causedMs
    if (crash?.both) await (crash.in === 'agent' ? lane.killServer() : actor.kill())
    other?.resume()
    const restarted = restart()
    const { commandId } = await submitted
    seen.first = await api.final(commandId, FINAL_MS)
    seen.finalMs = Date.now()
    await restarted
    if (lives) await settled(proxy, client, seen.finalMs)
    if (other !== null) await settled(other.proxy, client, seen.finalMs)
    seen.last = await api.get(commandId)
    seen.events = (await api.call('GET', `/commands/${commandId}/events`)).body as unknown as Event[]
    lane.remember(seen.last)
  } catch (error) {
    seen.problem = error instanceof Error ? error.message : String(error)
  }
  await actor.kill()
  await other?.pause()
  await proxy.close()
  const commandId = seen.first?.commandId ?? ''
  seen.visits = target.visits(commandId)
  seen.runs = [actor, ...(other === null ? [] : [other])].flatMap((each) => each.runs(commandId))
  seen.exchanges = proxies.flatMap(({ log }) => log)
  seen.lines = () => [...lane.serverLines(), ...actor.lines(), ...(other?.lines() ?? [])]
  return seen
}

/** Whoever lives has nothing left to report: an agent has said so, a simple client asks for more. */
const settled = (proxy: FaultyProxy, client: Cell['client'], sinceMs: number): Promise<void> =>
  proxy.until(
    (log) =>
      log.some(
        ({ message, request, status, atMs }) =>
          atMs >= sinceMs &&
          (client === 'agent'
            ? message === 'sync' && status === 200 && (JSON.parse(request) as Json & { held: unknown[] }).held.length === 0
            : message === 'next' && status === 204),
      ),
    SETTLE_MS,
  )

async function within<Value>(promise: Promise<Value>, ms: number, otherwise: string): Promise<Value> {
  const late = new AbortController()
  const refusal = sleep(ms, undefined, { signal: late.signal }).then(() => {
    throw new Error(otherwise)
  })
  try {
    return await Promise.race([promise, refusal])
  } finally {
    late.abort()
    refusal.catch(() => {})
  }
}
