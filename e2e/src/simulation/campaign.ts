/** Many worlds, one after the other, until enough has been simulated or one breaks a promise; and the shortest way there. */
import { ALL_STEPS, runWorld, type WorldOptions, type WorldResult } from './world.ts'

export type Campaign = {
  seed: number
  /** It ends when all of these are reached. */
  steps: number
  commands: number
  fsync?: boolean
  /** Of several that share the worlds of a seed: every `of`-th from `index`. */
  share?: { index: number; of: number }
}

export type Figures = {
  worlds: number
  steps: number
  commands: number
  effects: number
  faults: Record<string, number>
}

export type Found = {
  seed: number
  promise: string
  message: string
  steps: readonly number[]
  trace: readonly string[]
}

/** Spreads neighbouring numbers; worlds of neighbouring seeds have nothing in common. */
const worldSeed = (seed: number, index: number): number => {
  let mixed = Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 13)) >>> 0
}

export function simulate({ seed, steps, commands, fsync = true, share = { index: 0, of: 1 } }: Campaign): {
  figures: Figures
  found: Found | null
} {
  const figures: Figures = { worlds: 0, steps: 0, commands: 0, effects: 0, faults: {} }
  const enough = () => figures.steps * share.of >= steps && figures.commands * share.of >= commands
  for (let index = share.index; !enough(); index += share.of) {
    const world = { seed: worldSeed(seed, index), steps: ALL_STEPS, fsync }
    const { violation, faults, ...more } = runWorld(world)
    figures.worlds += 1
    figures.steps += ALL_STEPS.length
    figures.commands += more.commands
    figures.effects += more.effects
    for (const [name, times] of Object.entries(faults)) figures.faults[name] = (figures.faults[name] ?? 0) + times
    if (violation !== null) return { figures, found: shortest(world, violation) }
  }
  return { figures, found: null }
}

/** Leaves out steps as long as the same promise breaks: first the later half, in the end one by one. */
function shortest(world: WorldOptions, violation: NonNullable<WorldResult['violation']>): Found {
  const breaks = (steps: readonly number[]) => runWorld({ ...world, steps }).violation?.promise === violation.promise
  let { steps } = world
  for (let size = steps.length >> 1; size >= 1; size >>= 1)
    for (let from = 0; from < steps.length; ) {
      const fewer = [...steps.slice(0, from), ...steps.slice(from + size)]
      if (breaks(fewer)) steps = fewer
      else from += size
    }
  const trace: string[] = []
  const last = runWorld({ ...world, steps, tell: (line) => trace.push(line) }).violation ?? violation
  return { seed: world.seed, ...last, steps, trace }
}
