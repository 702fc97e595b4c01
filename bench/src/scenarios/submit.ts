import type { Values } from '../figures/metrics.ts'
import { inFlightVariant } from '../figures/variants.ts'
import { costOf, type Scenario, withRig } from './scenario.ts'

export const submit: Scenario = {
  name: 'submit',
  title: 'Submit',
  method:
    'A closed loop of submissions, no worker. A submission has ended when the product says that it is stored. Processor time is that of server, broker and producer; our producer is the load generator, whose part is left out.',
  units: ({ scale, subjects }) =>
    subjects.map((subject) => ({
      subject: subject.name,
      variant: '',
      run: ({ place, record }) =>
        withRig(subject.boot(place), async (rig) => {
          await rig.submit({ inFlight: 50, ms: scale.warmUpMs })
          for (const inFlight of [1, 50]) {
            let latencies: Values = {}
            const { values, foreignCores } = await costOf(rig, async () => {
              const { count, p50Ms, p99Ms } = await rig.submit({ inFlight, ms: scale.sampleMs })
              latencies = { p50Ms, p99Ms }
              return count
            })
            record({ ...values, ...latencies }, foreignCores, inFlightVariant(inFlight))
          }
        }),
    })),
}
