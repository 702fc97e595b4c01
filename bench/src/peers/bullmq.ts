import { redis } from './brokers.ts'
import type { Payload, Peer } from './peer.ts'

export const peer: Peer = {
  name: 'BullMQ',
  settings: 'Redis with `appendonly yes`, `appendfsync always`, no snapshots, `maxmemory-policy noeviction`.',
  broker: redis,
  open: async ({ port }) => {
    const { Queue, Worker } = await import('bullmq')
    const { Redis } = await import('ioredis')
    const connection = new Redis({ host: '127.0.0.1', port, maxRetriesPerRequest: null })
    const queue = new Queue<Payload>('bench', { connection })
    await queue.waitUntilReady()
    return {
      submit: (payload) => queue.add('bench', payload),
      work: (slots, run) =>
        new Worker<Payload>('bench', async ({ data }) => run(data), {
          connection,
          concurrency: slots,
        }).waitUntilReady(),
    }
  },
}
