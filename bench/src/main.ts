/** `npm run bench -- [flags]`: what is measured, in which order, and where the results go. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { buildSyncCounters } from './accounting.ts'
import { writeDocument } from './figures/document.ts'
import { textReport } from './figures/report.ts'
import { figuresOf, merged, type Results, resultsJson, type Sample } from './figures/results.ts'
import { FULL, QUICK } from './figures/scale.ts'
import { seededRandom } from './figures/statistics.ts'
import { machineOf } from './machine.ts'
import { peers } from './peers/peers.ts'
import { product, repository } from './product.ts'
import type { Subject } from './rig.ts'
import { runRounds } from './rounds.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { scenarios } from './scenarios/scenarios.ts'

const USAGE = `npm run bench -- [flags]
  --quick                 fewer rounds and sizes: three minutes
  --only <scenario,...>   ${scenarios.map(({ name }) => name).join(', ')}
  --peers <name,...>      ${peers.map(({ name }) => name).join(', ')}; none = ours alone
  --rounds <n>            how often everything is measured
  --seed <n>              repeats the order and the pauses of the run that printed it
  --calm <s>              waits so long at most, before each measurement, for others to be quiet
  --merge                 keeps what the file has of other scenarios
  --out <file>            where the JSON goes; bench/results/last.json by default
  --write-docs            only write docs/performance.md from the last JSON`

const fail = (message: string): never => {
  process.stderr.write(`bench: ${message}\n`)
  process.exit(64)
}

const OPTIONS = {
  quick: { type: 'boolean', default: false },
  only: { type: 'string' },
  peers: { type: 'string' },
  rounds: { type: 'string' },
  seed: { type: 'string' },
  calm: { type: 'string' },
  merge: { type: 'boolean', default: false },
  out: { type: 'string', default: join(repository, 'bench/results/last.json') },
  'write-docs': { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

const parsed = () => {
  try {
    return parseArgs({ options: OPTIONS }).values
  } catch (error) {
    return fail((error as Error).message)
  }
}
const flags = parsed()

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

async function run(): Promise<void> {
  const scale = flags.quick ? QUICK : FULL
  const rounds = wholeNumber('rounds', flags.rounds, scale.rounds)
  const seed = wholeNumber('seed', flags.seed, 1 + Math.floor(Math.random() * 999_999_999))
  const patienceMs = 1000 * wholeNumber('calm', flags.calm, 0)
  const chosenPeers = chosen('peer', peers, flags.peers)

  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  chmodSync(folder, 0o755)
  const machine = machineOf(folder)
  if (machine.fileSystem === 'tmpfs') say(`WARNING ${folder} is in memory, where fsync costs nothing. Set TMPDIR.`)

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
  const chosenScenarios: Scenario[] = []
  for (const scenario of chosen('scenario', scenarios, flags.only)) {
    const missing = (await scenario.missing?.()) ?? null
    if (missing === null) chosenScenarios.push(scenario)
    else skip(`${scenario.name}: ${missing} is not there`)
  }
  const subjects = [product, ...chosenPeers.filter(isThere)]

  say(`seed ${seed}, ${rounds} rounds`)
  const startedAt = new Date()
  const random = seededRandom(seed)
  const setting = { scale, subjects, folder }
  const resultsOf = (round: number, samples: Sample[], failed: string[]): Results => ({
    startedAt: startedAt.toISOString(),
    minutes: (Date.now() - startedAt.getTime()) / 60_000,
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
    commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: repository, encoding: 'utf8' }).trim(),
    seed,
    rounds: round,
    scale: scale.name,
    machine,
    subjects: subjects.map(({ name, settings }) => ({ name, settings })),
    scenarios: chosenScenarios.map(({ name, title, method }) => ({ name, title, method })),
    skipped,
    failed,
    figures: figuresOf(samples),
    samples,
  })
  const measured = runRounds({
    rounds,
    random,
    setting,
    scenarios: chosenScenarios,
    syncCounters,
    patienceMs,
    say,
  })
  mkdirSync(dirname(flags.out), { recursive: true })
  const before = flags.merge ? (JSON.parse(readFileSync(flags.out, 'utf8')) as Results) : null
  for await (const { round, samples, failed } of measured) {
    const results = resultsOf(round, samples, failed)
    writeFileSync(flags.out, resultsJson(before === null ? results : merged(before, results)))
    if (round < rounds) continue
    process.stdout.write(`${textReport(results)}\nWritten to ${flags.out}\n`)
    if (failed.length > 0) process.exitCode = 1
  }
}

if (flags.help) process.stdout.write(`${USAGE}\n`)
else if (flags['write-docs']) writeDocument(JSON.parse(readFileSync(flags.out, 'utf8')) as Results, repository)
else await run()
// Sockets to what was ended must not keep the process.
process.exit()
