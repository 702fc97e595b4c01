/** Producer or worker of a peer, in a process of its own: `peer-process.js FILE FOLDER PORT`, then told over messages. */
import { setTimeout as sleep } from 'node:timers/promises'
import { closedLoop } from '../closed-loop.ts'
import { monotonicMs } from '../rig.ts'
import type { Calls, Payload, Peer } from './peer.ts'

const [file, folder = '', port] = process.argv.slice(2)
const { peer } = (await import(`./${file}.js`)) as { peer: Peer }
const queue = await peer.open({ folder, port: Number(port) })

/** About the size of a DELAY in our own API. */
const filling = 'x'.repeat(60)
let submitted = 0
const payload = (): Payload => ({ number: submitted++, filling })

/** By the number of the payload. */
const startsMs: number[] = []
let ended = 0
const listeners = new Set<() => void>()
const run = async ({ number }: Payload) => {
  startsMs[number] = monotonicMs()
  // As any real work does, it lets the others go on; a library that never leaves the process would not hear us.
  await new Promise(setImmediate)
  ended += 1
  for (const listener of listeners) listener()
}

const calls: Calls = {
  submit: (bound) => closedLoop(bound, () => queue.submit(payload())),
  pings: async (pausesMs) => {
    const pings = []
    for (const pauseMs of pausesMs) {
      await sleep(pauseMs)
      const sentMs = monotonicMs()
      await queue.submit(payload())
      pings.push({ sentMs, answeredMs: monotonicMs() })
    }
    return pings
  },
  work: async (slots, polling) => void (await queue.work(slots, run, polling)),
  reached: (count) =>
    new Promise((resolve) => {
      const look = () => {
        if (ended < count) return
        listeners.delete(look)
        resolve()
      }
      listeners.add(look)
      look()
    }),
  startsMs: async () => startsMs,
}

process.on('message', async ({ id, name, args }: { id: number; name: keyof Calls; args: never[] }) => {
  try {
    const value = await (calls[name] as (...args: never[]) => Promise<unknown>)(...args)
    process.send?.({ id, value })
  } catch (error) {
    process.send?.({ id, error: error instanceof Error ? error.stack : String(error) })
  }
})
process.on('disconnect', () => process.exit(0))
process.send?.({ id: 0 })
