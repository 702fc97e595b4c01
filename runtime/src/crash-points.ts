// Crashes for development and tests: a process that kills itself at a named place, by chance, or after some seconds.
// SIGKILL on purpose: nothing gets to run afterwards, neither `finally` nor the last write, as when the power fails.
import { randomInt } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { SettingsError, type SettingsTable } from './settings.ts'

const SEED_MAX = 2 ** 31 - 1

export interface CrashPoints<Name extends string> {
  /** Marks a place where the process may be killed; does not return if it is. */
  at: (name: Name) => void
  /** What repeats the same random choices; 0 where there are none. */
  seed: number
}

export interface CrashPointOptions<Name extends string> {
  names: readonly Name[]
  /**
   * `name`, or `name:n` for the nth time that the point is reached; off where absent or empty. `@file`: as the file says
   * when a point is reached, off while there is none; so a process that runs already can be told, and counts from there.
   */
  crashAt?: string
  randomFailures: boolean
  /** 0 chooses one. */
  randomSeed: number
  /**
   * Seconds until the process is killed; 0 is never. Also in the middle of a blocked event loop, except for process 1 of
   * a container: run that with an init.
   */
  killAfterS: number
  /** The probability (0 to 1) of a random failure at each point. */
  chance?: number
  /** For tests; must not return, as death does not. The time limit always kills for real. */
  kill?: () => void
  log: { warn: (facts: object, message: string) => void }
}

/** Throws `SettingsError` where `crashAt` is not understood. Where everything is off, `at` is a function without body. */
export function createCrashPoints<Name extends string>({
  names,
  crashAt = '',
  randomFailures,
  randomSeed,
  killAfterS,
  chance = 0.1,
  kill = killSelf,
  log,
}: CrashPointOptions<Name>): CrashPoints<Name> {
  const targetNow = crashAt.startsWith('@') ? targetInFile(crashAt.slice(1), names) : targetGiven(crashAt, names)
  if (killAfterS > 0) killLater(killAfterS * 1000)
  if (crashAt === '' && !randomFailures) return { at: doNothing, seed: 0 }

  const seed = randomFailures ? randomSeed || randomInt(1, SEED_MAX + 1) : 0
  const random = createRandom(seed)
  const hits = new Map<Name, number>()
  let counted: Target<Name> | null = null
  if (randomFailures) log.warn({ seed, chance }, 'random failures are on')

  function at(name: Name): void {
    const target = targetNow()
    if (target !== counted) hits.clear()
    counted = target
    const hit = (hits.get(name) ?? 0) + 1
    hits.set(name, hit)
    const unlucky = randomFailures && random() < chance
    if (!unlucky && !(target?.name === name && target.hit === hit)) return
    log.warn({ crashPoint: name, hit, seed }, 'crash point: killing this process')
    kill()
  }
  return { at, seed }
}

/** The settings that `createCrashPoints` takes, for the table of a process with these crash points. */
export function crashSettings(names: readonly string[]) {
  return {
    killAfterS: {
      kind: 'integer',
      name: 'KILL_AFTER',
      flag: '--kill-after',
      default: 0,
      min: 0,
      max: 86_400,
      unit: 's',
      meaning: 'Development: kill this process after that many seconds; 0 is never.',
    },
    randomFailures: {
      kind: 'flag',
      name: 'RANDOM_FAILURES',
      flag: '--random-failures',
      default: false,
      meaning: 'Development: kill this process at a crash point with a chance of 10 %.',
    },
    randomSeed: {
      kind: 'integer',
      name: 'RANDOM_SEED',
      flag: '--random-seed',
      default: 0,
      min: 0,
      max: SEED_MAX,
      unit: 'count',
      meaning: 'Development: repeats the random failures of the run that logged this seed; 0 chooses one.',
    },
    crashAt: {
      kind: 'text',
      name: 'CRASH_AT',
      flag: '--crash-at',
      default: '',
      unit: 'name or name:n',
      meaning: `Development: kill this process the first (nth) time it comes to ${names.join(', ')}. @file: the file says it, also later.`,
    },
  } as const satisfies SettingsTable
}

/** Throws `SettingsError` where NODE_ENV is `production` and any crash setting is on. */
export function refuseInProduction(
  values: { killAfterS: number; randomFailures: boolean; randomSeed: number; crashAt: string },
  env: Readonly<Record<string, string | undefined>>,
): void {
  if (env.NODE_ENV !== 'production') return
  const on = Object.entries(crashSettings([])).filter(
    ([key, setting]) => values[key as keyof typeof values] !== setting.default,
  )
  if (on.length > 0) {
    throw new SettingsError(on.map(([, { name, flag }]) => `${name} (${flag}) is refused where NODE_ENV is production`))
  }
}

function doNothing(): void {}

type Target<Name> = { name: Name; hit: number }

function targetGiven<Name extends string>(crashAt: string, names: readonly Name[]): () => Target<Name> | null {
  const target = crashAt === '' ? null : parseTarget(crashAt, names)
  return () => target
}

function targetInFile<Name extends string>(file: string, names: readonly Name[]): () => Target<Name> | null {
  let text = ''
  let target: Target<Name> | null = null
  return () => {
    const textNow = existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
    if (textNow !== text) target = textNow === '' ? null : parseTarget(textNow, names)
    text = textNow
    return target
  }
}

function parseTarget<Name extends string>(crashAt: string, names: readonly Name[]): Target<Name> {
  const [, given, hit = '1'] = /^(.*?)(?::([1-9]\d*))?$/.exec(crashAt) ?? []
  const name = names.find((known) => known === given)
  if (name !== undefined) return { name, hit: Number(hit) }
  const accepted = `one of ${names.join(', ')}, with or without :n for the nth time`
  throw new SettingsError([`CRASH_AT (--crash-at): ${JSON.stringify(crashAt)} is not accepted, it must be ${accepted}`])
}

function killSelf(): void {
  process.kill(process.pid, 'SIGKILL')
  // kill(2) may return before the signal has ended every thread; nothing after the point may run.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
  // Still here: process 1 of a container gets no signal from within, but abort ends in a fault that the kernel acts on.
  process.abort()
}

// The timer alone would wait for a blocked event loop; the worker alone cannot end process 1 of a container.
function killLater(delayMs: number): void {
  setTimeout(killSelf, delayMs).unref()
  const code = `setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${delayMs})`
  new Worker(code, { eval: true, execArgv: [] }).unref()
}

/** The generator mulberry32: numbers from 0 to below 1, the same ones for the same seed. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
}
