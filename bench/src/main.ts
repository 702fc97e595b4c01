/** `npm run bench -- [flags]`: what is measured, in which order, and where the results go. */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { buildSyncCounters } from './accounting.ts'
import { writeDocument } from './figures/document.ts'
import type { Metric, Values } from './figures/metrics.ts'
import { textReport } from './figures/report.ts'
import { figuresOf, type Results, resultsJson, type Sample } from './figures/results.ts'
import { FULL, QUICK } from './figures/scale.ts'
import { seededRandom, shuffled } from './figures/statistics.ts'
import { peers } from './peers/peers.ts'
import { product, repository } from './product.ts'
import type { Place, Subject } from './rig.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { scenarios } from './scenarios/scenarios.ts'

const USAGE = `npm run bench -- [flags]
  --quick                 fewer rounds and sizes: three minutes
  --only <scenario,...>   ${scenarios.map(({ name }) => name).join(', ')}
  --peers <name,...>      ${peers.map(({ name }) => name).join(', ')}; none = ours alone
  --rounds <n>            how often everything is measured
  --seed <n>              repeats the order and the pauses of the run that printed it
  --out <file>            where the JSON goes; bench/results/last.json by default
  --write-docs            only write docs/performance.md from the last JSON`

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    peers: { type: 'string' },
    rounds: { type: 'string' },
    seed: { type: 'string' },
    out: { type: 'string', default: join(repository, 'bench/results/last.json') },
    'write-docs': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const fail = (message: string): never => {
  process.stderr.write(`bench: ${message}\n`)
  process.exit(64)
}

/** The entries with these names, in their own order. */
function chosen<Entry extends { name: string }>(
  what: string,
  all: readonly Entry[],
  names: string | undefined,
): Entry[] {
  if (names === undefined) return [...all]
  const wanted = names.split(',').filter((name) => name !== '' && name !== 'none')
  const unknown = wanted.find((wanted) => !all.some(({ name }) => name === wanted))
  if (unknown !== undefined) fail(`there is no ${what} ${unknown}, only ${all.map(({ name }) => name).join(', ')}`)
  return all.filter(({ name }) => wanted.includes(name))
}

const wholeNumber = (name: string, text: string | undefined, otherwise: number): number => {
  if (text === undefined) return otherwise
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : fail(`--${name} must be a whole number from 1`)
}

const say = (line: string) => process.stderr.write(`${line}\n`)

/** Without a disk beneath, fsync costs nothing and every figure is too good. */
const fileSystemOf = (folder: string): string =>
  spawnSync('df', ['--output=fstype', folder], { encoding: 'utf8' }).stdout?.trim().split('\n').at(-1) ?? 'unknown'

async function run(): Promise<void> {
  const scale = flags.quick ? QUICK : FULL
  const rounds = wholeNumber('rounds', flags.rounds, scale.rounds)
  const seed = wholeNumber('seed', flags.seed, 1 + Math.floor(Math.random() * 999_999_999))
  const chosenScenarios = chosen('scenario', scenarios, flags.only)
  const chosenPeers = chosen('peer', peers, flags.peers)

  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  // PostgreSQL, as a user of its own, has its files below.
  chmodSync(folder, 0o755)

  const skipped: string[] = []
  const skip = (what: string) => {
    skipped.push(what)
    say(`SKIPPED ${what}`)
  }
  const syncCounters = buildSyncCounters(folder, join(repository, 'bench/native/sync-count.c'))
  if (syncCounters === null) skip('fsyncs: gcc is not installed')
  const isThere = (subject: Subject): boolean => {
    const missing = subject.missing()
    if (missing !== null) skip(`${subject.name}: ${missing} is not installed`)
    return missing === null
  }
  const subjects = [product, ...chosenPeers].filter(isThere)
  const fileSystem = fileSystemOf(folder)
  if (fileSystem === 'tmpfs') say(`WARNING ${folder} is in memory: fsync costs nothing there. Set TMPDIR.`)

  const random = seededRandom(seed)
  const samples: Sample[] = []
  const failed: string[] = []
  const startedMs = Date.now()
  const setting = { scale, subjects, folder }
  const unitsOf = (scenario: Scenario) => scenario.units(setting).map((unit) => ({ scenario: scenario.name, ...unit }))
  say(`seed ${seed}, ${rounds} rounds, ${chosenScenarios.flatMap(unitsOf).length} measurements in each`)
  for (let round = 1; round <= rounds; round++)
    for (const unit of shuffled(chosenScenarios.flatMap(unitsOf), random)) {
      if (unit.once && round > 1) continue
      const scratch = mkdtempSync(join(folder, 'place-'))
      chmodSync(scratch, 0o755)
      const place: Place = {
        folder: scratch,
        syncCounter: (name) => syncCounters?.(scratch, name) ?? null,
      }
      const name = [unit.scenario, unit.subject, unit.variant].filter(Boolean).join(': ')
      const unitStartedMs = Date.now()
      let told = ''
      const record = (values: Values, foreignCores: number, variant = unit.variant) => {
        const { scenario, subject } = unit
        const measured = Object.entries(values) as [Metric, number][]
        for (const [metric, value] of measured)
          samples.push({ scenario, subject, variant, metric, round, value, foreignCores })
        const [metric, value] = measured[0] ?? ['', 0]
        told += `, ${metric} ${value.toPrecision(4)} (${foreignCores.toFixed(2)} foreign cores)`
      }
      try {
        await unit.run({ place, random, record })
      } catch (error) {
        failed.push(`round ${round}, ${name}: ${String(error).split('\n')[0]}`)
        told += `, FAILED ${error instanceof Error ? error.stack : String(error)}`
      }
      rmSync(scratch, { recursive: true, force: true })
      say(`round ${round}, ${name}: ${((Date.now() - unitStartedMs) / 1000).toFixed(1)} s${told}`)
    }

  const results: Results = {
    startedAt: new Date(startedMs).toISOString(),
    minutes: (Date.now() - startedMs) / 60_000,
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: repository, encoding: 'utf8' }).trim(),
    seed,
    rounds,
    scale: scale.name,
    machine: {
      processors: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`,
      memoryGb: Math.round(totalmem() / 2 ** 30),
      kernel: release(),
      node: process.version,
      fileSystem,
    },
    subjects: subjects.map(({ name, settings }) => ({ name, settings })),
    scenarios: chosenScenarios.map(({ name, title, method }) => ({ name, title, method })),
    skipped,
    failed,
    figures: figuresOf(samples),
    samples,
  }
  mkdirSync(join(flags.out, '..'), { recursive: true })
  writeFileSync(flags.out, resultsJson(results))
  process.stdout.write(textReport(results))
  process.stdout.write(`\nWritten to ${flags.out}\n`)
  if (failed.length > 0) process.exitCode = 1
}

if (flags.help) process.stdout.write(`${USAGE}\n`)
else if (flags['write-docs']) writeDocument(JSON.parse(readFileSync(flags.out, 'utf8')) as Results, repository)
else await run()
// Brokers' sockets and timers of peers must not keep the process.
process.exit()
