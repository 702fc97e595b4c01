/** What a run writes to its JSON file, and everything that is read from there. */
import type { Metric } from './metrics.ts'
import { calmMedian } from './statistics.ts'

/** One measured value. A metric's name ends in its unit. */
export type Sample = {
  scenario: string
  subject: string
  variant: string
  metric: Metric
  round: number
  value: number
  /** Processors that were busy with other things meanwhile. */
  foreignCores: number
}

/** All rounds of one metric in one value: the median of the calmer half of its samples. */
export type Figure = Omit<Sample, 'round'> & { samples: number }

export type Machine = { processors: string; memoryGb: number; kernel: string; node: string; fileSystem: string }

export type Run = Pick<Results, 'startedAt' | 'command' | 'commit' | 'seed' | 'rounds'>

export type Results = {
  startedAt: string
  minutes: number
  command: string
  commit: string
  seed: number
  rounds: number
  scale: string
  machine: Machine
  subjects: { name: string; settings: string }[]
  /** In the order of the report. `run` is there where it is not the one of the file. */
  scenarios: { name: string; title: string; method: string; run?: Run }[]
  /** What was left out, and why. */
  skipped: string[]
  failed: string[]
  figures: Figure[]
  samples: Sample[]
}

/** One line for each figure and sample, so that two runs can be compared line by line. */
export function resultsJson({ figures, samples, ...facts }: Results): string {
  const lines = (entries: readonly object[]) => `[\n${entries.map((entry) => JSON.stringify(entry)).join(',\n')}\n]`
  const head = JSON.stringify(facts, null, 2).slice(0, -2)
  return `${head},\n"figures": ${lines(figures)},\n"samples": ${lines(samples)}\n}\n`
}

/** What was measured before, with what was measured now in the place of the same scenarios, or behind the last. */
export function merged(before: Results, now: Results): Results {
  const { startedAt, command, commit, seed, rounds } = now
  const ofNow = now.scenarios.map((scenario) => ({ ...scenario, run: { startedAt, command, commit, seed, rounds } }))
  const isNew = ({ name }: { name: string }): boolean => now.scenarios.some((scenario) => scenario.name === name)
  const others = <Entry extends { scenario: string }>(entries: readonly Entry[]): Entry[] =>
    entries.filter(({ scenario }) => !isNew({ name: scenario }))
  return {
    ...before,
    scenarios: [
      ...before.scenarios.map((scenario) => ofNow.find(({ name }) => name === scenario.name) ?? scenario),
      ...ofNow.filter(({ name }) => !before.scenarios.some((scenario) => scenario.name === name)),
    ],
    figures: [...others(before.figures), ...now.figures],
    samples: [...others(before.samples), ...now.samples],
  }
}

const keyOf = ({ scenario, subject, variant, metric }: Sample): string =>
  [scenario, subject, variant, metric].join('\n')

export function figuresOf(samples: readonly Sample[]): Figure[] {
  const groups = new Map<string, Sample[]>()
  for (const sample of samples) {
    const group = groups.get(keyOf(sample))
    if (group === undefined) groups.set(keyOf(sample), [sample])
    else group.push(sample)
  }
  return [...groups.values()].map((group) => {
    const { round: _, ...first } = group[0] as Sample
    const foreignCores = calmMedian(group.map((sample) => ({ ...sample, value: sample.foreignCores })))
    return { ...first, value: calmMedian(group), foreignCores, samples: group.length }
  })
}

/** The figure's value; undefined where it was not measured. */
export type Lookup = (scenario: string, subject: string, variant: string, metric: Metric) => number | undefined

export const lookupIn =
  (figures: readonly Figure[]): Lookup =>
  (scenario, subject, variant, metric) =>
    figures.find(
      (figure) =>
        figure.scenario === scenario &&
        figure.subject === subject &&
        figure.variant === variant &&
        figure.metric === metric,
    )?.value
