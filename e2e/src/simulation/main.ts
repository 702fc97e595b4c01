/** `npm run simulate`: the real decisions in simulated worlds; see `--help`. */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { newSeed } from '../random.ts'
import type { Campaign, Figures, Found } from './campaign.ts'
import { MUTANTS } from './mutants.ts'
import { mutate } from './mutate.ts'

const HELP = `npm run simulate -- [flags]

  --seed N       repeats an earlier run
  --steps M      at least so many steps (1000000)
  --commands M   and at least so many commands (0)
  --jobs N       threads (all cores)
  --without G    takes a guard out of the code; one of
                 ${Object.keys(MUTANTS).join(', ')}

Exit code 0: no promise was broken. 1: one was; its seed and the shortest story that was found are printed.
`

const print = (text: string): void => void process.stdout.write(`${text}\n`)

if (isMainThread) await main()
else {
  const { simulate } = await import('./campaign.ts')
  parentPort?.postMessage(simulate(workerData as Campaign))
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      steps: { type: 'string', default: '1000000' },
      commands: { type: 'string', default: '0' },
      jobs: { type: 'string', default: String(availableParallelism()) },
      without: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return print(HELP)
  const mutant = values.without === undefined ? undefined : MUTANTS[values.without]
  const [seed, steps, commands, jobs] = [values.seed ?? newSeed(), values.steps, values.commands, values.jobs].map(
    Number,
  )
  const counts = [seed, steps, commands, jobs].every((value) => Number.isInteger(value) && (value as number) >= 0)
  if (!counts || (values.without !== undefined && mutant === undefined)) {
    process.stderr.write(HELP)
    process.exit(64)
  }
  print(`SEED=${seed}${mutant === undefined ? '' : `, without this guard: ${mutant.guard}`}`)
  const campaign = { seed, steps, commands, fsync: mutant?.fsync ?? true } as Campaign
  const beganMs = performance.now()
  const results =
    mutant === undefined ? await inThreads(campaign, Math.max(1, jobs as number)) : [await alone(campaign)]
  tell(results, (performance.now() - beganMs) / 1000)
  const found = results.find((result) => result.found !== null)?.found
  if (!found) return
  print(`\n${found.message}\n`)
  print(`The shortest story that was found (world ${found.seed}, ${found.steps.length} steps):\n`)
  print(found.trace.join('\n'))
  process.exitCode = 1

  async function alone(whole: Campaign): Promise<Result> {
    if (mutant !== undefined) mutate(mutant)
    const { simulate } = await import('./campaign.ts')
    return simulate(whole)
  }
}

type Result = { figures: Figures; found: Found | null }

function inThreads(campaign: Campaign, jobs: number): Promise<Result[]> {
  const one = (index: number) =>
    new Promise<Result>((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { ...campaign, share: { index, of: jobs } } })
      worker.once('message', resolve).once('error', reject)
    })
  return Promise.all(Array.from({ length: jobs }, (_, index) => one(index)))
}

function tell(results: readonly Result[], seconds: number): void {
  const sum = (of: (figures: Figures) => number) => results.reduce((total, { figures }) => total + of(figures), 0)
  const faults = new Map<string, number>()
  for (const { figures } of results)
    for (const [name, times] of Object.entries(figures.faults)) faults.set(name, (faults.get(name) ?? 0) + times)
  for (const [name, times] of [...faults].sort()) print(`${String(times).padStart(12)} ${name}`)
  const commands = sum((figures) => figures.commands)
  print(
    `${sum((figures) => figures.worlds)} worlds, ${sum((figures) => figures.steps)} steps, ${commands} commands, ` +
      `${sum((figures) => figures.effects)} effects, ${[...faults.values()].reduce((a, b) => a + b, 0)} faults, ` +
      `${results.filter(({ found }) => found !== null).length} violations, ${seconds.toFixed(1)} s, ` +
      `${Math.round(commands / seconds)} commands/s`,
  )
}
