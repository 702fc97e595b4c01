import { slotsVariant } from '../figures/variants.ts'
import { monotonicMs, type Rig } from '../rig.ts'
import { costOf, type Scenario, withRig } from './scenario.ts'

/** Before twice this many have ended, workers are still warming up. */
const WARM_UP = 100

/**
 * The cost of what workers take from a backlog of so many: from the end of the warm-up to the end of the backlog, or of
 * about `ms`.
 */
export async function drainCost(rig: Rig, backlog: number, ms: number, warmUp = WARM_UP) {
  await rig.reached(warmUp)
  const startMs = monotonicMs()
  await rig.reached(2 * warmUp)
  const expected = (warmUp / (monotonicMs() - startMs)) * ms
  const count = Math.min(backlog - 2 * warmUp, Math.max(WARM_UP, Math.round(expected)))
  const cost = await costOf(rig, async () => {
    await rig.reached(2 * warmUp + count)
    return count
  })
  return { ...cost, ended: 2 * warmUp + count }
}

export async function fillBacklog(rig: Rig, ms: number, countMin: number): Promise<number> {
  const { count } = await rig.submit({ inFlight: 50, ms })
  if (count >= countMin) return count
  return count + (await rig.submit({ inFlight: 50, count: countMin - count })).count
}

export const drain: Scenario = {
  name: 'drain',
  title: 'Drain',
  method:
    'A backlog, then one worker process, with one real agent as ours. The second half of the backlog is measured, so that the start of the process plays no part.',
  units: ({ scale, subjects }) =>
    subjects.flatMap((subject) =>
      scale.slots.map((slots) => ({
        subject: subject.name,
        variant: slotsVariant(slots),
        run: ({ place, record }) =>
          withRig(subject.boot(place), async (rig) => {
            const backlog = await fillBacklog(rig, scale.sampleMs, scale.backlogMin)
            await rig.startWorkers(1, slots, 'eager')
            const { values, foreignCores } = await drainCost(rig, backlog, scale.sampleMs, Math.floor(backlog / 4))
            record(values, foreignCores)
          }),
      })),
    ),
}
