// What a setting is and how it gets its value. How settings are shown to people is in settings-text.ts.
import { existsSync } from 'node:fs'

interface SettingBase {
  /** The environment variable. */
  readonly name: string
  readonly flag: `--${string}`
  /** One sentence for --help and the documentation. */
  readonly meaning: string
}

interface IntegerSetting extends SettingBase {
  readonly kind: 'integer'
  readonly default: number
  readonly min: number
  readonly max: number
  readonly unit: 'ms' | 'bytes' | 'count' | 'port' | 's'
}

interface TextSetting extends SettingBase {
  readonly kind: 'text'
  readonly default: string
  /** What a given value must match; anchor it. */
  readonly pattern?: RegExp
  /** The only values that are accepted. */
  readonly choices?: readonly string[]
  readonly unit?: string
  /** Never shown, neither by --print-config nor in an error. */
  readonly secret?: boolean
}

interface FlagSetting extends SettingBase {
  readonly kind: 'flag'
  readonly default: false
}

interface ListSetting extends SettingBase {
  readonly kind: 'list'
  readonly default: readonly string[]
  /** What each element must match; anchor it. */
  readonly pattern: RegExp
}

export type Setting = IntegerSetting | TextSetting | FlagSetting | ListSetting

/** The settings of one process. Write it `as const satisfies SettingsTable`, so that `choices` become the value's type. */
export type SettingsTable = Readonly<Record<string, Setting>>

type ValueOf<S extends Setting> = S extends { kind: 'integer' }
  ? number
  : S extends { kind: 'flag' }
    ? boolean
    : S extends { kind: 'list' }
      ? readonly string[]
      : S extends { choices: readonly (infer Choice extends string)[] }
        ? Choice
        : string

/** The values of a table's settings, under the table's keys. */
export type Settings<T extends SettingsTable> = { readonly [K in keyof T]: ValueOf<T[K]> }

export type SettingSource = 'flag' | 'environment' | 'default'

export interface SettingsRead<T extends SettingsTable> {
  values: Settings<T>
  sources: Readonly<Record<keyof T, SettingSource>>
  /** One sentence for each integer that was moved to its nearest limit. */
  warnings: string[]
}

/** What is wrong with the settings, one sentence a problem; `message` holds them all. Never contains a secret's value. */
export class SettingsError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'SettingsError'
    this.problems = problems
  }
}

/**
 * Reads each setting of the table from its flag, else from the environment (an empty variable counts as unset), else
 * from its default. `argv` is without the program's name and holds nothing but settings: the caller takes out `--help`
 * and the like. A flag that is given twice counts as given last. An integer beyond a limit becomes that limit, with a
 * warning; anything that cannot be understood throws one `SettingsError` that lists every problem.
 */
export function readSettings<T extends SettingsTable>(
  table: T,
  { argv, env }: { argv: readonly string[]; env: Readonly<Record<string, string | undefined>> },
): SettingsRead<T> {
  const problems: string[] = []
  const warnings: string[] = []
  const flags = readFlags(table, argv, problems)
  const values: Record<string, number | boolean | string | readonly string[]> = {}
  const sources: Record<string, SettingSource> = {}

  for (const [key, setting] of Object.entries(table)) {
    const fromFlag = flags.get(setting.flag)
    const given = fromFlag ?? (env[setting.name] || undefined)
    sources[key] = fromFlag !== undefined ? 'flag' : given !== undefined ? 'environment' : 'default'
    values[key] = given === undefined ? setting.default : parse(setting, given, { problems, warnings })
  }
  if (problems.length > 0) throw new SettingsError(problems)
  return { values: values as Settings<T>, sources: sources as Record<keyof T, SettingSource>, warnings }
}

/** Adds the variables of the file to `process.env`; those that are set already stay. False where there is no such file. */
export function loadEnvFile(path: string): boolean {
  // Asked before, as Node 20 answers ENOENT for a file that is there but cannot be read, too.
  if (!existsSync(path)) return false
  process.loadEnvFile(path)
  return true
}

// Not node:util parseArgs: it stops at the first problem when strict, and otherwise takes `--b` as the value of `--a`.
function readFlags(table: SettingsTable, argv: readonly string[], problems: string[]): Map<string, string> {
  const settings = new Map<string, Setting>(Object.values(table).map((setting) => [setting.flag, setting]))
  const given = new Map<string, string>()
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] ?? ''
    if (!arg.startsWith('-')) {
      problems.push(`unexpected argument "${arg}": only flags are accepted`)
      continue
    }
    const [flag, inline] = splitOnce(arg)
    const setting = settings.get(flag)
    const next = argv[i + 1]
    const takesNext = inline === undefined && setting?.kind !== 'flag' && next !== undefined && !next.startsWith('--')
    // The value of an unknown flag is passed over too: it may be a secret, and it is not a problem of its own.
    const value = takesNext ? next : (inline ?? (setting?.kind === 'flag' ? 'true' : undefined))
    if (takesNext) i++

    if (setting === undefined) problems.push(`unknown flag ${flag}: see --help for those that exist`)
    else if (value === undefined) problems.push(`${flag} needs a value: ${accepted(setting)}`)
    else given.set(flag, value)
  }
  return given
}

function splitOnce(arg: string): [flag: string, value: string | undefined] {
  const at = arg.indexOf('=')
  return at === -1 ? [arg, undefined] : [arg.slice(0, at), arg.slice(at + 1)]
}

function parse(setting: Setting, given: string, { problems, warnings }: { problems: string[]; warnings: string[] }) {
  const refuse = () => {
    const shown = setting.kind === 'text' && setting.secret ? 'the given value' : JSON.stringify(given)
    problems.push(`${setting.name} (${setting.flag}): ${shown} is not accepted, it must be ${accepted(setting)}`)
    return setting.default
  }
  switch (setting.kind) {
    case 'integer': {
      if (!/^[+-]?\d+$/.test(given)) return refuse()
      const { min, max, unit } = setting
      const value = Math.min(Math.max(Number(given), min), max)
      if (value !== Number(given)) {
        const limit = value === min ? 'least' : 'most'
        warnings.push(
          `${setting.name} (${setting.flag}): ${given} is beyond the ${limit} of ${value} ${unit}; using ${value}`,
        )
      }
      return value
    }
    case 'text':
      return (setting.choices?.includes(given) ?? true) && matches(setting.pattern, given) ? given : refuse()
    case 'flag':
      if (given === 'true' || given === '1') return true
      return given === 'false' || given === '0' ? false : refuse()
    case 'list': {
      const elements = given.split(',').flatMap((element) => element.trim() || [])
      return elements.every((element) => matches(setting.pattern, element)) ? elements : refuse()
    }
  }
}

function matches(pattern: RegExp | undefined, text: string): boolean {
  return pattern === undefined || text.search(pattern) !== -1
}

function accepted(setting: Setting): string {
  switch (setting.kind) {
    case 'integer':
      return `a whole number from ${setting.min} to ${setting.max} (${setting.unit})`
    case 'text':
      if (setting.choices) return `one of ${setting.choices.join(', ')}`
      return setting.pattern ? `text that matches ${setting.pattern}` : (setting.unit ?? 'text')
    case 'flag':
      return 'true, false, 1 or 0'
    case 'list':
      return `a comma-separated list whose elements match ${setting.pattern}`
  }
}
