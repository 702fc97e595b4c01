/** A scenario says what has to be measured in a round; `main.ts` says when. */

import type { Values } from '../figures/metrics.ts'
import type { Scale } from '../figures/scale.ts'
import { type Cost, type Place, type Rig, type Subject, sum, watchCost } from '../rig.ts'

export type Unit = {
  subject: string
  variant: string
  /** Too long for each round: the first has it. */
  once?: true
  run: (measured: Measured) => Promise<void>
}

export type Measured = {
  place: Place
  random: () => number
  /** Adds samples. The variant is the unit's unless another is named. */
  record: (values: Values, foreignCores: number, variant?: string) => void
}

export type Setting = {
  scale: Scale
  /** Ours, then the peers that are installed. */
  subjects: readonly Subject[]
  /** For what is too dear to be made in each round; gone after the run. */
  folder: string
}

export type Scenario = {
  name: string
  title: string
  /** For the reader of the table. */
  method: string
  /** What this machine lacks for it, or null; absent, nothing. */
  missing?: () => Promise<string | null>
  units: (setting: Setting) => Unit[]
}

/** Boots, runs, and stops whatever happens. */
export async function withRig<Booted extends Rig>(booting: Promise<Booted>, body: (rig: Booted) => Promise<void>) {
  const rig = await booting
  try {
    await body(rig)
  } finally {
    await rig.stop()
  }
}

/** Runs the body, which answers how many commands it moved, and says what that cost for each. */
export async function costOf(rig: Rig, body: () => Promise<number>): Promise<{ values: Values; foreignCores: number }> {
  const watched = watchCost(rig)
  const count = await body()
  const cost = watched()
  return { values: { perS: count / cost.seconds, ...perCommand(cost, count) }, foreignCores: cost.foreignCores }
}

const perCommand = ({ cpuSeconds, syncs }: Cost, count: number): Values => ({
  cpuUs: (sum(cpuSeconds) / count) * 1e6,
  ...(cpuSeconds.server === undefined ? {} : { serverCpuUs: (cpuSeconds.server / count) * 1e6 }),
  ...(syncs === null ? {} : { syncs: sum(syncs) / count }),
  ...(syncs?.server === undefined ? {} : { serverSyncs: syncs.server / count }),
  ...(syncs?.agent === undefined ? {} : { agentSyncs: syncs.agent / count }),
})
