import { join } from 'node:path'
import { EAGER_POLL_MS, type Peer } from './peer.ts'

const silent = { error: console.error, warn() {}, info() {}, debug() {} }

export const peer: Peer = {
  name: 'plainjob',
  settings:
    'SQLite in WAL mode with `synchronous=FULL`, set after the queue was defined: its own choice, NORMAL, loses acknowledged jobs in a power cut. Slots are that many workers in one process.',
  open: async ({ folder }) => {
    const { default: Database } = await import('better-sqlite3')
    const { better, defineQueue, defineWorker } = await import('plainjob')
    const database = new Database(join(folder, 'plainjob.db'))
    database.pragma('busy_timeout = 5000')
    const queue = defineQueue({ connection: better(database), logger: silent })
    database.pragma('synchronous = FULL')
    return {
      submit: async (payload) => queue.add('bench', payload),
      work: async (slots, run, polling) => {
        // Its option is spelt like that.
        const options = { queue, logger: silent, ...(polling === 'eager' ? { pollIntervall: EAGER_POLL_MS } : {}) }
        for (let slot = 0; slot < slots; slot++)
          void defineWorker('bench', async ({ data }) => run(JSON.parse(data)), options).start()
      },
    }
  },
}
