import { watchForeignLoad } from '../accounting.ts'
import { percentile } from '../figures/statistics.ts'
import { PRODUCT } from '../figures/variants.ts'
import { bootProduct } from '../product.ts'
import { type Scenario, withRig } from './scenario.ts'

const WARM_UP = 3
const PAUSE_MS_MIN = 20

export const pickUp: Scenario = {
  name: 'pick-up',
  title: 'Idle pick-up',
  method:
    'One submission at a time, after random pauses, to one idle worker with 10 slots. Ours is HTTP_GET_JSON, and the start is the arrival of its request at the target; a peer’s start is the first line of its function.',
  units: ({ scale, subjects }) =>
    subjects.map((subject) => ({
      subject: subject.name,
      variant: '',
      run: async ({ place, random, record }) => {
        const boot = subject.name === PRODUCT ? bootProduct(place, { type: 'HTTP_GET_JSON' }) : subject.boot(place)
        await withRig(boot, async (rig) => {
          await rig.startWorkers(1, 10, 'usual')
          const pausesMs = Array.from(
            { length: scale.pings + WARM_UP },
            () => PAUSE_MS_MIN + random() * (scale.pauseMsMax - PAUSE_MS_MIN),
          )
          const foreign = watchForeignLoad()
          const pickUps = (await rig.pickUps(pausesMs)).slice(WARM_UP)
          const fromAnswerMs = pickUps.map(({ answeredMs, startedMs }) => startedMs - answeredMs)
          const fromSendMs = pickUps.map(({ sentMs, startedMs }) => startedMs - sentMs)
          const values = {
            fromAnswerP50Ms: percentile(fromAnswerMs, 50),
            fromAnswerP99Ms: percentile(fromAnswerMs, 99),
            fromSendP50Ms: percentile(fromSendMs, 50),
            fromSendP99Ms: percentile(fromSendMs, 99),
          }
          record(values, foreign())
        })
      },
    })),
}
