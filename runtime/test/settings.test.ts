import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  helpText,
  loadEnvFile,
  printableSettings,
  readSettings,
  SettingsError,
  type SettingsTable,
  settingsTable,
} from '../src/index.ts'

const table = {
  leaseMs: {
    kind: 'integer',
    name: 'LEASE_MS',
    flag: '--lease',
    default: 30_000,
    min: 1000,
    max: 60_000,
    unit: 'ms',
    meaning: 'How long a lease lasts.',
  },
  logLevel: {
    kind: 'text',
    name: 'LOG_LEVEL',
    flag: '--log-level',
    default: 'info',
    choices: ['info', 'debug'],
    meaning: 'What is logged.',
  },
  apiKey: {
    kind: 'text',
    name: 'API_KEY',
    flag: '--api-key',
    default: '',
    pattern: /^[a-z|]+$/g,
    secret: true,
    meaning: 'The key.',
  },
  verbose: { kind: 'flag', name: 'VERBOSE', flag: '--verbose', default: false, meaning: 'Say more.' },
  tags: { kind: 'list', name: 'TAGS', flag: '--tags', default: ['a'], pattern: /^[a-z]+$/, meaning: 'Tags.' },
} as const satisfies SettingsTable

function read(argv: string[], env: Record<string, string> = {}) {
  return readSettings(table, { argv, env })
}

function problemsOf(argv: string[], env: Record<string, string> = {}): readonly string[] {
  try {
    read(argv, env)
  } catch (error) {
    if (error instanceof SettingsError) return error.problems
  }
  return []
}

t.test('a flag wins over the environment, and that over the default', async (t) => {
  const { values, sources, warnings } = read(['--lease', '2000'], { LEASE_MS: '3000', LOG_LEVEL: 'debug' })
  const level: 'info' | 'debug' = values.logLevel
  t.equal(level, 'debug')
  t.strictSame(values, { leaseMs: 2000, logLevel: 'debug', apiKey: '', verbose: false, tags: ['a'] })
  t.strictSame(sources, {
    leaseMs: 'flag',
    logLevel: 'environment',
    apiKey: 'default',
    verbose: 'default',
    tags: 'default',
  })
  t.strictSame(warnings, [])
})

t.test('an empty variable counts as unset', async (t) => {
  const { values, sources } = read([], { LEASE_MS: '', VERBOSE: '', LOG_LEVEL: '' })
  t.match(values, { leaseMs: 30_000, verbose: false, logLevel: 'info' })
  t.match(sources, { leaseMs: 'default', verbose: 'default', logLevel: 'default' })
})

t.test('--name=value and --name value are the same, and the last one counts', async (t) => {
  t.equal(read(['--lease=2000']).values.leaseMs, 2000)
  t.equal(read(['--lease', '2000', '--lease=4000']).values.leaseMs, 4000)
  t.strictSame(read(['--tags=']).values.tags, [])
  t.strictSame(read(['--tags', 'x, y,']).values.tags, ['x', 'y'])
})

t.test('a boolean is its flag, or true, false, 1 or 0', async (t) => {
  t.equal(read(['--verbose']).values.verbose, true)
  t.equal(read(['--verbose=false'], { VERBOSE: 'true' }).values.verbose, false)
  t.equal(read([], { VERBOSE: '1' }).values.verbose, true)
  t.equal(read([], { VERBOSE: '0' }).values.verbose, false)
  t.match(problemsOf([], { VERBOSE: 'yes' }), [/VERBOSE.*"yes".*true, false, 1 or 0/])
})

t.test('an integer beyond a limit becomes the limit, with a warning that names setting, value and limit', async (t) => {
  const low = read(['--lease', '-5'])
  t.equal(low.values.leaseMs, 1000)
  t.match(low.warnings, [/LEASE_MS.*-5.*least.*1000/])
  const high = read([], { LEASE_MS: '9'.repeat(400) })
  t.equal(high.values.leaseMs, 60_000)
  t.match(high.warnings, [/LEASE_MS.*999.*most.*60000/])
})

t.test('every problem is in the one error, with what was given and what is accepted', async (t) => {
  const problems = problemsOf(['stray', '--lease', '10s', '--unknown', 'hidden', '--log-level', '--tags=A,b'])
  t.equal(problems.length, 5)
  const message = problems.join('\n')
  t.match(message, /unexpected argument "stray"/)
  t.match(message, /LEASE_MS \(--lease\): "10s".*whole number from 1000 to 60000/)
  t.match(message, /unknown flag --unknown/)
  t.match(message, /--log-level needs a value: one of info, debug/)
  t.match(message, /TAGS \(--tags\): "A,b".*\[a-z\]/)
  t.notMatch(message, /hidden/, 'the value of an unknown flag may be a secret')
  for (const nonsense of ['1.5', '1e3', '0x10', ' 7', 'NaN', '']) {
    t.match(problemsOf([`--lease=${nonsense}`]), [/LEASE_MS/], `"${nonsense}" is not a whole number`)
  }
  t.match(problemsOf([], { LOG_LEVEL: 'loud' }), [/LOG_LEVEL.*"loud".*one of info, debug/])
  t.match(problemsOf(['--lease']), [/--lease needs a value/])
  t.match(problemsOf(['-l']), [/unknown flag -l/])
})

t.test('a secret is in no error and in no print', async (t) => {
  const [problem = ''] = problemsOf(['--api-key', 'SECRET'])
  t.match(problem, /API_KEY/)
  t.notMatch(problem, /SECRET/)
  t.equal(read(['--api-key=abc']).values.apiKey, 'abc')
  t.equal(read(['--api-key=abc']).values.apiKey, 'abc', 'a pattern with the g flag keeps no state')
  const printed = printableSettings(table, read(['--api-key', 'abc']).values)
  t.strictSame(printed, { LEASE_MS: 30_000, LOG_LEVEL: 'info', API_KEY: '***', VERBOSE: false, TAGS: ['a'] })
  t.equal(printableSettings(table, read([]).values).API_KEY, '', 'that none is set is no secret')
})

t.test('the help has aligned columns with all that is known of a setting', async (t) => {
  const help = helpText('Title', 'program [flags]', table, ['More.'])
  const lines = help.split('\n')
  t.strictSame(lines.slice(0, 3), ['Title', '', 'Usage: program [flags]'])
  t.equal(lines.at(-1), 'More.')
  t.match(help, /--lease <integer> +LEASE_MS +30000 +1000–60000 ms +How long a lease lasts\./)
  const column = (text: string) => lines.find((line) => line.includes(text))?.indexOf(text)
  t.equal(column('How long'), column('Say more.'))
  t.equal(column('LEASE_MS'), column('VERBOSE'))
})

t.test('the Markdown table has one row a setting and escapes what would end a cell', async (t) => {
  const lines = settingsTable(table).split('\n')
  t.equal(lines.length, 2 + Object.keys(table).length)
  t.equal(lines[0], '| name | flag | default | range | unit | meaning |')
  t.equal(lines[2], '| `LEASE_MS` | `--lease` | `30000` | `1000–60000` | ms | How long a lease lasts. |')
  t.match(lines[4], '[a-z\\|]+')
})

t.test('an env file adds to the environment, which wins', async (t) => {
  const file = join(t.testdir(), '.env')
  t.equal(loadEnvFile(file), false, 'none is needed')
  writeFileSync(file, 'RUNTIME_TEST_A=file\nRUNTIME_TEST_B=file\n')
  t.teardown(() => {
    delete process.env.RUNTIME_TEST_A
    delete process.env.RUNTIME_TEST_B
  })
  process.env.RUNTIME_TEST_A = 'real'
  t.equal(loadEnvFile(file), true)
  t.equal(process.env.RUNTIME_TEST_A, 'real')
  t.equal(process.env.RUNTIME_TEST_B, 'file')
  t.throws(() => loadEnvFile(t.testdirName), 'what is there but cannot be read is not passed over')
})
