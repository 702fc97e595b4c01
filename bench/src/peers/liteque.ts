import { join } from 'node:path'
import type { Database } from 'better-sqlite3'
import { EAGER_POLL_MS, type Payload, type Peer } from './peer.ts'

export const peer: Peer = {
  name: 'liteque',
  settings: 'SQLite in WAL mode with `synchronous=FULL`; its own choice is NORMAL.',
  open: async ({ folder }) => {
    const { buildDBClient, Runner, SqliteQueue } = await import('@agent-executor/bench-liteque')
    const database = buildDBClient(join(folder, 'liteque.db'), { runMigrations: true, walEnabled: true })
    // The only way to the connection, which the library keeps to itself.
    const { client } = (database as unknown as { session: { client: Database } }).session
    client.pragma('synchronous = FULL')
    client.pragma('busy_timeout = 5000')
    const queue = new SqliteQueue<Payload>('bench', database, {
      defaultJobArgs: { numRetries: 2 },
      keepFailedJobs: true,
    })
    return {
      submit: (payload) => queue.enqueue(payload),
      work: async (slots, run, polling) => {
        const options = {
          concurrency: slots,
          pollIntervalMs: polling === 'eager' ? EAGER_POLL_MS : 1000,
          timeoutSecs: 3,
        }
        void new Runner<Payload>(queue, { run: async ({ data }) => run(data) }, options).run()
      },
    }
  },
}
