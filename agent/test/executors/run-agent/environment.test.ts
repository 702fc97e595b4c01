// What goes into a container by way of a shell comes out as it went in, and what a container says last is read with care.
import { execFileSync, spawnSync } from 'node:child_process'
import fc from 'fast-check'
import t from 'tap'
import { classify } from '../../../src/executors/run-agent/classify.ts'
import { ENV_VALUE_BYTES_MAX, environment, environmentFile } from '../../../src/executors/run-agent/environment.ts'
import { endedFrom, HOOK_FAILED_EXIT_CODE } from '../../../src/executors/run-agent/hooks.ts'
import { entryScript } from '../../../src/executors/run-agent/input.ts'

const ATTEMPT = { commandId: 'c', attempt: 2 }
const payload = { engine: 'shell' as const, prompt: 'p' }
const resolvedFrom = { profile: 'p', profiles: [], templates: [], promptVars: {} }

t.test('every text survives the shell that reads it', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 }).map((each) => each.replaceAll('\0', ''))
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (values) => {
      const file = environmentFile(values.map((value, index) => [`VAR_v${index}`, value] as const)) as string
      const names = values.map((_, index) => `"$VAR_v${index}"`).join(' ')
      const script = `${file}\nprintf '%s\\036' ${names}`
      const out = execFileSync('/bin/sh', ['-c', script], { env: {} }).toString()
      return out === values.map((value) => `${value}\x1e`).join('')
    }),
    { numRuns: 60 },
  )
})

t.test('a name that a shell keeps for itself ends nobody, and words are separated as ever', async (t) => {
  const names = ['UID', 'PPID', 'OPTIND', 'RANDOM', 'LINENO', 'SHELLOPTS', 'BASHPID', 'IFS', 'PS4']
  const file = environmentFile([...names.map((name) => [name, 'x y'] as const), ['LAST', 'a b']]) as string
  for (const argv of [['/bin/sh'], ['bash', '--posix'], ['busybox', 'sh']] as const) {
    const [shell, ...args] = argv
    const { error, stdout } = spawnSync(shell, [...args, '-c', `${file}\nset -- $LAST; echo "$# $LAST"`])
    if (error === undefined) t.equal(stdout.toString(), '2 a b\n', shell)
  }
})

t.test('the environment of a command without a profile is its own', async (t) => {
  t.same(environment(payload, ATTEMPT), [])
  t.same(environment({ ...payload, env: { A: 'b', EMPTY: '' } }, ATTEMPT), [
    ['A', 'b'],
    ['EMPTY', ''],
  ])
  t.equal(environmentFile([]), null)
})

t.test('a variable is there by its name, a secret in the place of its mask, too long a value not at all', async (t) => {
  const long = 'ü'.repeat(ENV_VALUE_BYTES_MAX / 2)
  const promptVars = { a: 1, b: false, list: ['x', 'y'], token: '[secret]', fits: long, not: `${long}x` }
  t.same(
    environment(
      {
        ...payload,
        env: { OWN: 'o' },
        resolvedFrom: { ...resolvedFrom, promptVars },
        secrets: { promptVars: { token: 't' } },
      },
      ATTEMPT,
    ),
    [
      ['OWN', 'o'],
      ['JOB_COMMAND_ID', 'c'],
      ['JOB_ATTEMPT', '2'],
      ['JOB_PROFILE', 'p'],
      ['VAR_a', '1'],
      ['VAR_b', 'false'],
      ['VAR_list', 'x\ny'],
      ['VAR_token', 't'],
      ['VAR_fits', long],
    ],
  )
})

t.test('the script of a command without hooks and artifacts is the engine itself', async (t) => {
  const alone = { ...payload, artifacts: [], endsAfterMs: 90_000 }
  t.match(entryScript(alone), /\nexec '\/bin\/sh' '\/input\/prompt'$/)
  t.notMatch(entryScript(alone), 'trap')
  t.match(entryScript({ ...payload, endsAfterMs: 90_000 }), 'trap')
})

t.test('a script ends its container after its time, under the init of one and nowhere else', async (t) => {
  for (const artifacts of [[], ['/output/**']])
    t.match(
      entryScript({ ...payload, artifacts, endsAfterMs: 90_400 }),
      /^if \[ "\$PPID" = 1 \]; then \{ sleep 91 && kill .*\} <\/dev\/null >\/dev\/null 2>&1 & fi$/m,
    )
})

t.test('the last words are read only where they are whole', async (t) => {
  t.same(endedFrom('x\nagent-executor: ended pre=0 engine=3 always=late\n'), {
    hooks: [
      { hook: 'pre', exitCode: 0 },
      { hook: 'always', exitCode: null },
    ],
    engine: 3,
  })
  t.same(endedFrom('agent-executor: ended'), { hooks: [], engine: null })
  t.match(endedFrom('agent-executor: ended engine=1\nlate words of a child'), { engine: 1 })
  for (const words of [
    '',
    'agent-executor: ended pre=',
    'agent-executor: ended pre=0 x',
    'said: agent-executor: ended',
  ])
    t.equal(endedFrom(words), null, words)
})

t.test('whatever a prompt says last, exit code 0 alone is success and only hooks can fail as hooks', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 255 }),
      fc.boolean(),
      fc.constantFrom('', 'agent-executor: ended pre=0 engine=0 post=1', 'agent-executor: ended engine=123', 'noise'),
      (exitCode, hasHooks, lastWords) => {
        const end = {
          exitCode,
          oomKilled: false,
          stoppedFor: null,
          unwatched: false,
          wasLate: false,
          lastWords,
          hasHooks,
          engine: null,
        }
        const { failure } = classify(end)
        if ((failure === null) !== (exitCode === 0)) return false
        const isHook = failure?.code === 'HOOK_FAILED'
        return !isHook || (hasHooks && exitCode === HOOK_FAILED_EXIT_CODE)
      },
    ),
  )
})
