import { slotsVariant } from '../figures/variants.ts'
import { monotonicMs, type Rig } from '../rig.ts'
import { costOf, type Scenario, withRig } from './scenario.ts'

/** Before this many have ended, workers are still warming up. */
const WARM_UP = 100

/**
 * The cost of what workers take from a backlog of so many, `done` of which ended before: from the end of the warm-up to
 * the end of the backlog, or of about `ms`.
 */
export async function drainCost(rig: Rig, backlog: number, ms: number, done = 0) {
  await rig.reached(done + WARM_UP)
  const startMs = monotonicMs()
  await rig.reached(done + 2 * WARM_UP)
  const expected = (WARM_UP / (monotonicMs() - startMs)) * ms
  const count = Math.min(backlog - 2 * WARM_UP, Math.max(WARM_UP, Math.round(expected)))
  const cost = await costOf(rig, async () => {
    await rig.reached(done + 2 * WARM_UP + count)
    return count
  })
  return { ...cost, ended: done + 2 * WARM_UP + count }
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
    'A backlog, then one worker process, with one real agent as ours. Measured from the 200th end on, so that the start of the process plays no part.',
  units: ({ scale, subjects }) =>
    subjects.flatMap((subject) =>
      scale.slots.map((slots) => ({
        subject: subject.name,
        variant: slotsVariant(slots),
        run: ({ place, record }) =>
          withRig(subject.boot(place), async (rig) => {
            const backlog = await fillBacklog(rig, scale.sampleMs, scale.backlogMin)
            await rig.startWorkers(1, slots, 'eager')
            const { values, foreignCores } = await drainCost(rig, backlog, scale.sampleMs)
            record(values, foreignCores)
          }),
      })),
    ),
}
