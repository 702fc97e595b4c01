import { databaseUrl, postgresql } from './brokers.ts'
import type { Payload, Peer } from './peer.ts'

export const peer: Peer = {
  name: 'graphile-worker',
  settings:
    'PostgreSQL as for pg-boss. Its local queue of 500 jobs and batched completion, the fastest it can be set to.',
  broker: postgresql,
  open: async ({ port }) => {
    const { Logger, makeWorkerUtils, run: runWorker } = await import('graphile-worker')
    const { default: pg } = await import('pg')
    const logger = new Logger(() => () => {})
    const connectionString = databaseUrl(port)
    const pgPool = new pg.Pool({ connectionString, max: 20 })
    const utilities = await makeWorkerUtils({ pgPool, logger })
    await utilities.migrate()
    return {
      submit: (payload) => utilities.addJob('bench', payload),
      work: (slots, run) =>
        runWorker({
          preset: {
            worker: {
              connectionString,
              concurrentJobs: slots,
              maxPoolSize: 20,
              logger,
              localQueue: { size: 500 },
              completeJobBatchDelay: 0,
              failJobBatchDelay: 0,
            },
          },
          noHandleSignals: true,
          taskList: { bench: async (payload) => run(payload as Payload) },
        }),
    }
  },
}
