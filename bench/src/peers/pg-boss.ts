import { setTimeout as sleep } from 'node:timers/promises'
import { databaseUrl, postgresql } from './brokers.ts'
import { EAGER_POLL_MS, type Payload, type Peer } from './peer.ts'

/** Between two looks of its `work()`. */
const USUAL_POLL_MS = 2_000

export const peer: Peer = {
  name: 'pg-boss',
  settings:
    'PostgreSQL with `fsync`, `synchronous_commit` and `full_page_writes` on. Its fetch and complete calls in a loop, as many at a time as there are slots: `work()` looks every 500 ms at best.',
  broker: postgresql,
  open: async ({ port }) => {
    const { default: PgBoss } = await import('pg-boss')
    const boss = new PgBoss({ connectionString: databaseUrl(port), max: 20, supervise: false, schedule: false })
    boss.on('error', (error) => console.error(error))
    await boss.start()
    // The second process finds it there.
    await boss.createQueue('bench').catch(() => {})
    const forEver = async (slots: number, run: (payload: Payload) => Promise<void>, pollMs: number) => {
      for (;;) {
        const fetched = await boss.fetch<Payload>('bench', { batchSize: slots })
        if (fetched.length === 0) {
          await sleep(pollMs)
          continue
        }
        await Promise.all(fetched.map(({ data }) => run(data)))
        await boss.complete(
          'bench',
          fetched.map(({ id }) => id),
        )
      }
    }
    return {
      submit: (payload) => boss.send('bench', payload),
      work: async (slots, run, polling) =>
        void forEver(slots, run, polling === 'eager' ? EAGER_POLL_MS : USUAL_POLL_MS),
    }
  },
}
