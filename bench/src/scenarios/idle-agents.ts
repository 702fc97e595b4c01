import { setTimeout as sleep } from 'node:timers/promises'
import { cpuSeconds, rssMb, watchForeignLoad } from '../accounting.ts'
import { percentile } from '../figures/statistics.ts'
import { idleVariant, PRODUCT } from '../figures/variants.ts'
import { type Connection, openConnections } from '../http-client.ts'
import { bootProduct } from '../product.ts'
import { monotonicMs } from '../rig.ts'
import { VirtualAgent } from '../virtual-agent.ts'
import { type Scenario, withRig } from './scenario.ts'

const SETTLE_MS = 1_000
const SUBMITS = 200
const PAUSE_MS = 10
const AT_A_TIME = 100

export const idleAgents: Scenario = {
  name: 'idle-agents',
  title: 'Idle agents',
  method:
    'So many agents have registered, synced once and wait, a connection each. Their leases last an hour, so that the syncs which keep them are no part of it: this is the cost of waiting. After that, one submission every 10 ms; an agent that is woken does not wait again.',
  units: ({ scale }) => [
    {
      subject: PRODUCT,
      variant: idleVariant(scale.idleAgents),
      run: async ({ place, record }) => {
        const serverFlags = ['--connections-max', String(scale.idleAgents + 1_000), '--lease-ms', '3600000']
        await withRig(bootProduct(place, { serverFlags }), async (rig) => {
          const bootMb = rssMb(rig.server.pid)
          let woken = 0
          const park = async (agent: VirtualAgent): Promise<void> => {
            const { status } = await agent.wait()
            if (status === 204) return park(agent)
            woken += 1
          }
          const connections: Connection[] = []
          while (connections.length < scale.idleAgents) {
            const opened = await openConnections(rig.port, AT_A_TIME)
            connections.push(...opened)
            const agents = opened.map((connection) => new VirtualAgent(connection, 'DELAY'))
            await Promise.all(agents.map((agent) => agent.appear()))
            // At once, since the server closes idle connections. The waits end with it.
            for (const agent of agents) park(agent).catch(() => {})
          }
          await sleep(SETTLE_MS)

          const foreign = watchForeignLoad()
          const startMs = monotonicMs()
          const startCpu = cpuSeconds([rig.server.pid])
          await sleep(scale.idleMs)
          const cpuPercent = ((cpuSeconds([rig.server.pid]) - startCpu) / ((monotonicMs() - startMs) / 1000)) * 100
          const rss = rssMb(rig.server.pid)

          const submitsMs: number[] = []
          for (let count = 0; count < SUBMITS; count++) {
            await sleep(PAUSE_MS)
            submitsMs.push((await rig.submit({ inFlight: 1, count: 1 })).p50Ms)
          }
          await sleep(SETTLE_MS)
          const values = {
            rssMb: rss,
            growthMb: rss - bootMb,
            cpuPercent,
            submitP50Ms: percentile(submitsMs, 50),
            submitP99Ms: percentile(submitsMs, 99),
            wokenPerSubmit: woken / SUBMITS,
          }
          record(values, foreign())
          for (const connection of connections) connection.close()
        })
      },
    },
  ],
}
