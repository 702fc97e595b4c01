/** Runs every unit of every scenario once a round, in random order, so that a disturbance meets all alike. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type SyncCounters, watchForeignLoad } from './accounting.ts'
import type { Sample } from './figures/results.ts'
import { shuffled } from './figures/statistics.ts'
import { endAll } from './processes.ts'
import type { Place } from './rig.ts'
import type { Scenario, Setting, Unit } from './scenarios/scenario.ts'

/** Others are quiet while they use less than so much of a processor, over so long. */
const CALM_CORES = 0.3
const CALM_MS = 500
/** A unit that takes longer is stuck: its processes are ended, which makes it fail. */
const UNIT_MS_MAX = 900_000

export type Run = {
  rounds: number
  random: () => number
  setting: Setting
  scenarios: readonly Scenario[]
  syncCounters: SyncCounters | null
  /** How long a measurement waits, at most, for others to be quiet. */
  patienceMs: number
  say: (line: string) => void
}

type ScenarioUnit = Unit & { scenario: string }

/** Yields what has been measured so far after each round, so that a run that is broken off is not lost. */
export async function* runRounds(run: Run): AsyncGenerator<{ round: number; samples: Sample[]; failed: string[] }> {
  const { rounds, random, setting, scenarios, say } = run
  const units = scenarios.flatMap((scenario) =>
    scenario.units(setting).map((unit): ScenarioUnit => ({ ...unit, scenario: scenario.name })),
  )
  const samples: Sample[] = []
  const failed: string[] = []
  for (let round = 1; round <= rounds; round++) {
    for (const unit of shuffled(units, random)) {
      if (unit.once && round > 1) continue
      const name = `round ${round}, ${[unit.scenario, unit.subject, unit.variant].filter(Boolean).join(': ')}`
      say(name)
      await calm(run.patienceMs)
      const error = await runUnit(run, unit, round, samples)
      if (error === null) continue
      say(`  FAILED ${error.stack}`)
      failed.push(`${name}: ${error.message.split('\n')[0]}`)
    }
    yield { round, samples, failed }
  }
}

async function calm(patienceMs: number): Promise<void> {
  const untilMs = performance.now() + patienceMs
  while (performance.now() < untilMs) {
    const foreign = watchForeignLoad()
    await sleep(CALM_MS)
    if (foreign() < CALM_CORES) return
  }
}

/** Answers why it failed, or null. */
async function runUnit(run: Run, unit: ScenarioUnit, round: number, samples: Sample[]): Promise<Error | null> {
  const scratch = mkdtempSync(join(run.setting.folder, 'place-'))
  // PostgreSQL, as a user of its own, has its files below.
  chmodSync(scratch, 0o755)
  const place: Place = { folder: scratch, syncCounter: (name) => run.syncCounters?.(scratch, name) ?? null }
  const { scenario, subject } = unit
  const stuck = setTimeout(endAll, UNIT_MS_MAX)
  try {
    await unit.run({
      place,
      random: run.random,
      record: (values, foreignCores, variant = unit.variant) => {
        const measured = Object.entries(values) as [Sample['metric'], number][]
        for (const [metric, value] of measured)
          samples.push({ scenario, subject, variant, metric, round, value, foreignCores })
        const text = measured.map(([metric, value]) => `${metric} ${Number(value.toPrecision(3))}`).join(', ')
        run.say(`  ${[variant, text].filter(Boolean).join(': ')} (${foreignCores.toFixed(2)} foreign cores)`)
      },
    })
    return null
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  } finally {
    clearTimeout(stuck)
    rmSync(scratch, { recursive: true, force: true })
  }
}
