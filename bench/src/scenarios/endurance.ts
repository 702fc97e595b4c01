import { rssMb, watchForeignLoad } from '../accounting.ts'
import { PRODUCT } from '../figures/variants.ts'
import { bootProduct } from '../product.ts'
import { monotonicMs } from '../rig.ts'
import { type Scenario, withRig } from './scenario.ts'

/** So that there is never more under way than an agent can take in a moment. */
const CHUNK = 2_000

export const endurance: Scenario = {
  name: 'endurance',
  title: 'Endurance',
  method:
    'End to end in pieces of 2,000, one agent with 50 slots, until a million commands have ended or eight minutes are over. Memory of the server is its resident set.',
  units: ({ scale }) => [
    {
      subject: PRODUCT,
      variant: '',
      once: true,
      run: ({ place, record }) =>
        withRig(bootProduct(place), async (rig) => {
          await rig.startWorkers(1, 50, 'eager')
          const startMb = rssMb(rig.server.pid)
          const foreign = watchForeignLoad()
          const untilMs = monotonicMs() + scale.enduranceMs
          let warmMb = startMb
          while (rig.commandIds.length < scale.enduranceCommands && monotonicMs() < untilMs) {
            await rig.submit({ inFlight: 50, count: CHUNK })
            await rig.allEnded()
            if (rig.commandIds.length === CHUNK) warmMb = rssMb(rig.server.pid)
          }
          const endMb = rssMb(rig.server.pid)
          record({ commands: rig.commandIds.length, startMb, warmMb, endMb, growthMb: endMb - startMb }, foreign())
        }),
    },
  ],
}
