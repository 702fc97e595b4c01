import { growthVariant, type Kind, PRODUCT } from '../figures/variants.ts'
import { type Filled, fill } from '../fill.ts'
import { bootProduct, type Product } from '../product.ts'
import { drainCost, fillBacklog } from './drain.ts'
import { type Scenario, type Unit, withRig } from './scenario.ts'

/** Offered or running when the agent of a measurement was killed. */
const UNDER_WAY_MAX = 300
const BACKLOG_MIN = 600

const filled = new Map<string, Promise<Filled>>()

/** Made once in a run, and anew where half of what is pending has been taken. */
export async function filledDatabase(folder: string, kind: Kind, size: number): Promise<Filled> {
  const key = `${kind}-${size}`
  const made = filled.get(key)
  if (made !== undefined && (await made).taken <= size / 2) return made
  const anew = fill(folder, kind, size)
  filled.set(key, anew)
  return anew
}

const drainFinished = async (rig: Product, slots: number, ms: number) => {
  const backlog = await fillBacklog(rig, ms, BACKLOG_MIN)
  await rig.startWorkers(1, slots, 'eager')
  return drainCost(rig, backlog, ms)
}

const drainPending = async (rig: Product, slots: number, ms: number, database: Filled, size: number) => {
  const backlog = size - database.taken
  for (let number = 1; number <= backlog; number++) rig.commandIds.push(database.commandId(database.taken + number))
  await rig.startWorkers(1, slots, 'eager')
  const cost = await drainCost(rig, backlog, ms)
  database.taken += cost.ended + UNDER_WAY_MAX
  return cost
}

export const growth: Scenario = {
  name: 'growth',
  title: 'Growth',
  method:
    'What a hand-over costs with so many commands in the database: drain, by one agent. The rows are those of one real command, multiplied in the file while the server is stopped. With finished rows, the backlog is submitted beside them; pending rows are the backlog.',
  units: ({ scale, folder }) => {
    const unit = (kind: Kind, size: number, slots: number): Unit => ({
      subject: PRODUCT,
      variant: growthVariant(kind, size, slots),
      run: async ({ place, record }) => {
        const database = await filledDatabase(folder, kind, size)
        await withRig(bootProduct(place, { dataDir: database.dataDir }), async (rig) => {
          const { values, foreignCores } = await (kind === 'finished'
            ? drainFinished(rig, slots, scale.growthMs)
            : drainPending(rig, slots, scale.growthMs, database, size))
          record(values, foreignCores)
        })
      },
    })
    const kinds: Kind[] = ['finished', 'pending']
    return kinds.flatMap((kind) =>
      scale.sizes.flatMap((size) => scale.growthSlots.map((slots) => unit(kind, size, slots))),
    )
  },
}
