/** A library queue as a subject: a broker where it needs one, a producer and a worker as processes of their own. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Bound, LoopResult } from '../closed-loop.ts'
import { startProcess } from '../processes.ts'
import type { Part, PickUp, Place, Polling, Rig, Subject } from '../rig.ts'
import { type Broker, noBroker } from './brokers.ts'

/** Between two looks of an eager worker that polls. */
export const EAGER_POLL_MS = 10

export type Payload = { number: number; filling: string }

/** What a peer's file says of it; everything below runs in the producer's or the worker's process. */
export type Peer = {
  name: string
  settings: string
  broker?: { missing: () => string | null; boot: (place: Place) => Promise<Broker> }
  open: (where: { folder: string; port: number }) => Promise<Queue>
}

type Queue = {
  submit: (payload: Payload) => Promise<unknown>
  /** Runs up to so many at a time, from now on. */
  work: (slots: number, run: (payload: Payload) => Promise<void>, polling: Polling) => Promise<unknown>
}

/** What the processes are asked, one message a call. */
export type Calls = {
  submit: (bound: Bound) => Promise<LoopResult>
  pings: (pausesMs: readonly number[]) => Promise<{ sentMs: number; answeredMs: number }[]>
  work: (slots: number, polling: Polling) => Promise<void>
  reached: (count: number) => Promise<void>
  startsMs: () => Promise<number[]>
}

const script = join(dirname(fileURLToPath(import.meta.url)), 'peer-process.js')

async function openPeer(file: string, where: { folder: string; port: number }, env: Record<string, string>) {
  const started = startProcess(process.execPath, [script, file, where.folder, String(where.port)], { env, ipc: true })
  const pending = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  let calls = 0
  const ready = new Promise<void>((resolve) => {
    started.child.on('message', (message: { id: number; value?: never; error?: string }) => {
      if (message.id === 0) return resolve()
      const call = pending.get(message.id)
      pending.delete(message.id)
      if (message.error === undefined) call?.resolve(message.value as never)
      else call?.reject(new Error(message.error))
    })
  })
  await Promise.race([ready, started.failed])
  return {
    pid: started.pid,
    stop: () => started.stop('SIGKILL'),
    call: <Name extends keyof Calls>(name: Name, ...args: Parameters<Calls[Name]>): ReturnType<Calls[Name]> => {
      const answer = new Promise<never>((resolve, reject) => {
        pending.set(++calls, { resolve, reject })
        started.child.send({ id: calls, name, args })
      })
      return Promise.race([answer, started.failed]) as ReturnType<Calls[Name]>
    },
  }
}

type PeerProcess = Awaited<ReturnType<typeof openPeer>>

/** `file` is the name of the peer's file in this folder. */
export const peerSubject = (file: string, peer: Peer): Subject => ({
  name: peer.name,
  settings: peer.settings,
  missing: () => peer.broker?.missing() ?? null,
  boot: async (place): Promise<Rig> => {
    const broker = await (peer.broker?.boot ?? noBroker)(place)
    const where = { folder: place.folder, port: broker.port }
    const syncs = place.syncCounter('peer')
    const producer = await openPeer(file, where, syncs?.env ?? {})
    let worker: PeerProcess | null = null
    let submitted = 0
    const theWorker = (): PeerProcess => {
      if (worker === null) throw new Error(`${peer.name}: no worker was started`)
      return worker
    }
    return {
      parts: (): Part[] => [
        ...broker.parts,
        { name: 'producer', pids: [producer.pid], syncs },
        ...(worker === null ? [] : [{ name: 'worker', pids: [worker.pid], syncs: null }]),
      ],
      submit: async (bound) => {
        const result = await producer.call('submit', bound)
        submitted += result.count
        return result
      },
      startWorkers: async (_workers, slots, polling) => {
        worker = await openPeer(file, where, syncs?.env ?? {})
        await worker.call('work', slots, polling)
      },
      reached: (count) => theWorker().call('reached', count),
      allEnded: () => theWorker().call('reached', submitted),
      pickUps: async (pausesMs): Promise<PickUp[]> => {
        const before = submitted
        const pings = await producer.call('pings', pausesMs)
        submitted += pings.length
        await theWorker().call('reached', submitted)
        const startsMs = await theWorker().call('startsMs')
        return pings.map((ping, index) => ({ ...ping, startedMs: startsMs[before + index] ?? Number.NaN }))
      },
      stop: async () => {
        await producer.stop()
        await worker?.stop()
        await broker.stop()
      },
    }
  },
})
