import type { Scale } from '../figures/scale.ts'
import { PRODUCT, workersVariant } from '../figures/variants.ts'
import { bootProduct, type CommandType } from '../product.ts'
import { memoryMb, monotonicMs, type Place, type Rig } from '../rig.ts'
import { costOf, type Measured, type Scenario, type Unit, withRig } from './scenario.ts'

const IN_FLIGHT = 50
const CALIBRATION = 100
const COUNT_MAX = 50_000

async function measure(
  rig: Rig,
  workers: number,
  slots: number,
  { warmUpMs, sampleMs }: Scale,
  { record }: Measured,
): Promise<void> {
  const run = async (count: number): Promise<number> => {
    await rig.submit({ inFlight: IN_FLIGHT, count })
    await rig.allEnded()
    return count
  }
  const perMs = async (count: number): Promise<number> => {
    const startMs = monotonicMs()
    return (await run(count)) / (monotonicMs() - startMs)
  }
  const within = (count: number) => Math.round(Math.min(COUNT_MAX, Math.max(CALIBRATION, count)))
  await rig.startWorkers(workers, slots, 'eager')
  const warmMs = monotonicMs() + warmUpMs
  let speed = await perMs(CALIBRATION)
  while (monotonicMs() < warmMs) speed = await perMs(within((speed * warmUpMs) / 4))
  const { values, foreignCores } = await costOf(rig, () => run(within(speed * sampleMs)))
  record({ ...values, memoryMb: memoryMb(rig) }, foreignCores)
}

export const endToEnd: Scenario = {
  name: 'end-to-end',
  title: 'End to end',
  method:
    '50 submissions in flight while workers work, until the last has ended. Peers run a function that does nothing; ours is DELAY of 0 ms, and HTTP_GET_JSON to a server in the load generator. Memory is the proportional set size of all processes that cost processor time.',
  units: ({ scale, subjects }) => {
    const unit = (
      subject: string,
      type: string,
      workers: number,
      slots: number,
      boot: (place: Place) => Promise<Rig>,
    ): Unit => ({
      subject,
      variant: workersVariant(type, workers, slots),
      run: (measured) => withRig(boot(measured.place), (rig) => measure(rig, workers, slots, scale, measured)),
    })
    const types: CommandType[] = ['DELAY', 'HTTP_GET_JSON']
    const ours = types.flatMap((type) =>
      scale.agents.flatMap((agents) =>
        scale.slots.map((slots) => unit(PRODUCT, type, agents, slots, (place) => bootProduct(place, { type }))),
      ),
    )
    const peers = subjects
      .filter(({ name }) => name !== PRODUCT)
      .map((peer) => unit(peer.name, 'DELAY', 1, 50, peer.boot))
    return [...ours, ...peers]
  },
}
