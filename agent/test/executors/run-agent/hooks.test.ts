// Hooks around an engine, in the real container: their order, what they are told, what their failures mean.
import { HOOK_NAMES, type RunAgentPayload } from '@agent-executor/protocol'
import t from 'tap'
import { RAN_BEFORE } from '../../../src/executors/run-agent/input.ts'
import { needsDocker } from '../../docker/fixtures/real-docker.ts'
import { agentWithDocker, logsOf, resultOf, until } from './fixtures/attempts.ts'

const TELL = 'echo "$JOB_HOOK attempt=$JOB_ATTEMPT code=$JOB_EXIT_CODE reason=$JOB_REASON"'
const all = (change: Record<string, string> = {}, timeoutMs = 20_000): NonNullable<RunAgentPayload['hooks']> =>
  Object.fromEntries(HOOK_NAMES.map((name) => [name, { script: change[name] ?? TELL, timeoutMs }]))
const RESOLVED_FROM = { profile: 'p', profiles: [{ name: 'p', version: 1 }], templates: [], promptVars: {} }
/** Without the lines between. */
const said = (text: string): string[] =>
  text.split('\n').filter((line) => line !== '' && !line.startsWith('agent-exec'))

t.test('hooks run around the engine, each knowing how it stands', needsDocker, async (t) => {
  const begun = (prompt: string, hooks = all()) =>
    agentWithDocker(t).begin({ prompt, hooks, resolvedFrom: RESOLVED_FROM }).outcome
  const good = await begun('echo engine "[$JOB_EXIT_CODE]"; cat hooks 2>/dev/null; echo err >&2')
  t.match(good, { state: 'SUCCEEDED', result: { exitCode: 0, reason: 'exited' } })
  t.same(said(resultOf(good).stdout.text), [
    'pre attempt=1 code= reason=',
    'engine []',
    'post attempt=1 code=0 reason=exited',
    'always attempt=1 code=0 reason=exited',
  ])
  t.same(resultOf(good).hooks, [
    { hook: 'pre', exitCode: 0 },
    { hook: 'post', exitCode: 0 },
    { hook: 'always', exitCode: 0 },
  ])

  const bad = await begun('echo engine; exit 7')
  t.match(bad, { state: 'FAILED', error: { code: 'EXIT_NONZERO' }, result: { exitCode: 7 } })
  t.same(said(resultOf(bad).stdout.text).slice(2), [
    'onFailure attempt=1 code=7 reason=exited',
    'always attempt=1 code=7 reason=exited',
  ])
  const killed = await begun('kill -SEGV $$')
  t.match(killed, { error: { code: 'EXIT_SIGNAL' }, result: { exitCode: 139, reason: 'signal' } })
  t.match(resultOf(killed).stdout.text, /onFailure attempt=1 code=139 reason=signal/)
  const exact = await begun('exit 123')
  t.match(exact, { error: { code: 'EXIT_NONZERO' }, result: { exitCode: 123 } }, 'no hook, though it looks like one')
})

t.test('a hook that fails is named, and what comes after it is decided by that', needsDocker, async (t) => {
  const rows: [string, Record<string, string>, string | null, string[]][] = [
    ['pre', { pre: 'exit 3' }, 'The hook pre ended with exit code 3.', ['pre', 'onFailure', 'always']],
    ['post', { post: 'exit 4' }, 'The hook post ended with exit code 4.', ['pre', 'post', 'onFailure', 'always']],
    ['always', { always: 'kill -KILL $$' }, 'The hook always ended with exit code 137.', ['pre', 'post', 'always']],
    ['pre', { pre: 'if then' }, 'The hook pre ended with exit code 2.', ['pre', 'onFailure', 'always']],
    [
      'pre',
      { pre: 'exit 3', onFailure: 'exit 5', always: 'exit 6' },
      'The hook pre ended with exit code 3.',
      [...['pre', 'onFailure', 'always']],
    ],
  ]
  for (const [hook, change, message, ran] of rows) {
    const outcome = await agentWithDocker(t).begin({
      prompt: 'echo ENGINE',
      hooks: all(change),
      resolvedFrom: RESOLVED_FROM,
    }).outcome
    t.match(outcome, { state: 'FAILED', error: { code: 'HOOK_FAILED', message, retryable: false, details: { hook } } })
    t.same(
      resultOf(outcome).hooks?.map((each) => each.hook),
      ran,
    )
    t.equal(resultOf(outcome).stdout.text.includes('ENGINE'), hook !== 'pre', 'without pre, no engine')
  }
  const both = await agentWithDocker(t).begin({
    prompt: 'exit 9',
    hooks: all({ always: 'exit 6' }),
    resolvedFrom: RESOLVED_FROM,
  }).outcome
  t.match(both, { error: { code: 'EXIT_NONZERO' }, result: { exitCode: 9 } }, 'the engine came first')
})

t.test('a hook that takes too long is ended with what it has begun, and the rest goes on', needsDocker, async (t) => {
  const hooks = all({ post: "trap '' TERM; sleep 500 & sleep 500; echo never" }, 700)
  const beganMs = performance.now()
  const outcome = await agentWithDocker(t).begin({ prompt: 'echo engine', hooks, resolvedFrom: RESOLVED_FROM }).outcome
  t.match(outcome, { error: { code: 'HOOK_FAILED', message: /post took longer/, details: { hook: 'post' } } })
  t.ok(performance.now() - beganMs < 30_000)
  t.same(
    resultOf(outcome).hooks?.map(({ exitCode }) => exitCode),
    [0, null, 0, 0],
  )
  t.match(resultOf(outcome).stdout.text, /onFailure attempt=1 code=0 reason=hookFailed/)
})

t.test('stopped, the engine ends and the last hooks run as long as the grace lasts', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const running = agent.begin({ prompt: 'echo begun; sleep 1000', hooks: all(), resolvedFrom: RESOLVED_FROM })
  await until('it runs', async () => (await agent.containers())[0]?.State === 'running')
  await new Promise((resolve) => setTimeout(resolve, 1500))
  running.stop({ type: 'cancel', reason: 'enough', graceMs: 8000 })
  const outcome = await running.outcome
  t.match(outcome, { state: 'CANCELLED', result: { reason: 'cancelled', exitCode: 143 } })
  t.match(resultOf(outcome).stdout.text, /onFailure attempt=1 code=143 reason=stopped[\s\S]*always .* reason=stopped/)
  t.notMatch(resultOf(outcome).stdout.text, /post attempt/)

  const late = agentWithDocker(t)
  const stuck = late.begin({
    prompt: 'true',
    hooks: all({ always: "trap '' TERM; while :; do sleep 0.2; done" }),
    resolvedFrom: RESOLVED_FROM,
  })
  await until('it runs', async () => (await late.containers())[0]?.State === 'running')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  stuck.stop({ type: 'cancel', reason: 'enough', graceMs: 300 })
  const hooks = [{ hook: 'pre' }, { hook: 'post' }, { hook: 'always', exitCode: 137 }]
  t.match(await stuck.outcome, { state: 'CANCELLED', result: { hooks } }, 'no hook outlives it')
})

t.test('a second start runs no hook either', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  t.match(await agent.begin({ prompt: 'echo effect', hooks: all(), resolvedFrom: RESOLVED_FROM }).outcome, {
    state: 'SUCCEEDED',
  })
  await agent.container().start()
  await agent.container().wait()
  const { Id } = await agent.container().inspect()
  const logs = await logsOf(Id)
  t.match(logs, RAN_BEFORE)
  t.equal(logs.split('always attempt').length - 1, 1)
})

t.test('variables and secrets are in the environment, and secrets nowhere else', needsDocker, async (t) => {
  const secret = `it's "xyzzy42 $secret"\n\`with\` \\lines`
  const agent = agentWithDocker(t)
  const outcome = await agent.begin({
    prompt: 'echo hidden [secret]',
    env: { OPEN: 'yes' },
    hooks: { pre: { script: `echo "pre \${#VAR_token} $VAR_list|$OPEN|$JOB_PROFILE"`, timeoutMs: 9000 } },
    resolvedFrom: {
      ...RESOLVED_FROM,
      promptVars: { token: '[secret]', list: ['a', "b's"], yes: true, long: 'x'.repeat(9000) },
    },
    secrets: {
      prompt: `printf %s "$VAR_token" | od -An -c | head -1; echo "\${VAR_long-none} $VAR_yes"; echo "$VAR_token"`,
      promptVars: { token: secret },
    },
  }).outcome
  t.match(outcome, { state: 'SUCCEEDED' })
  const { stdout } = resultOf(outcome)
  t.match(stdout.text, `pre ${secret.length} a\nb's|yes|p\n`)
  t.match(stdout.text, /i {3}t {3}' {3}s/)
  t.match(stdout.text, /none true\n\[redacted\]\n$/, 'what a prompt prints of it is redacted')
  const inspected = JSON.stringify(await agent.container().inspect())
  t.notMatch(inspected, 'xyzzy42')
  t.notMatch(inspected, 'VAR_token')
  t.notMatch(inspected, 'OPEN')
  t.notMatch(JSON.stringify([outcome, agent.warned]), 'xyzzy42')
})

t.test('a dry run makes nothing and says everything, also the second time', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const payload = {
    prompt: 'echo [secret]',
    dryRun: true,
    env: { OPEN: 'value-of-open' },
    files: [
      { path: 'a', content: 'ü' },
      { path: 'b', contentBase64: 'AAA=', mode: '0755' as const },
    ],
    hooks: { pre: { script: 'true', timeoutMs: 1500 } },
    resolvedFrom: { ...RESOLVED_FROM, promptVars: { token: '[secret]' } },
    secrets: { prompt: 'echo hunter2', promptVars: { token: 'hunter2' } },
  }
  const first = await agent.begin(payload).outcome
  t.match(first, {
    state: 'SUCCEEDED',
    result: {
      dryRun: true,
      imagePresent: true,
      prompt: 'echo [secret]',
      env: ['HOME', 'TMPDIR', 'OPEN', 'JOB_COMMAND_ID', 'JOB_ATTEMPT', 'JOB_PROFILE', 'VAR_token'],
      files: [
        { path: 'a', mode: '0644', bytes: 2 },
        { path: 'b', mode: '0755', bytes: 2 },
      ],
      createOptions: { Env: ['HOME', 'TMPDIR'], HostConfig: { NetworkMode: 'none', Privileged: false } },
      script: /hook pre 1\.500/,
    },
  })
  t.notMatch(JSON.stringify(first), /hunter2|value-of-open/)
  t.same(await agent.begin(payload).outcome, first)
  t.same(await agent.containers(), [])
  t.same(agent.points, [])
  t.equal(agent.log.id, null)

  const missing = agentWithDocker(t, { image: 'agent-executor.invalid/no-such-image:1' })
  t.match(await missing.begin({ dryRun: true }).outcome, { state: 'SUCCEEDED', result: { imagePresent: false } })
  t.match(await agent.begin({ dryRun: true, image: 'postgres:17' }).outcome, { error: { code: 'IMAGE_REFUSED' } })
  t.match(await agent.begin({ dryRun: true, resources: { pidsMax: 65 } }).outcome, {
    error: { code: 'RESOURCES_REFUSED' },
  })
})

t.test('an agent says whether it can run the engine, and why not', needsDocker, async (t) => {
  const here = agentWithDocker(t)
  t.match(here.executor.engines?.(), { shell: { available: false, reason: /was not asked/ } })
  here.docker.watch()
  await until('Docker is there', here.docker.up)
  await here.reconcile('open')
  t.same(here.executor.engines?.().shell, { available: true, reason: null })
  t.match(here.executor.engines?.(), { codex: { available: false, reason: String } }, 'nobody gave it a key')
  const missing = agentWithDocker(t, { image: 'agent-executor.invalid/no-such-image:1' })
  missing.docker.watch()
  await until('Docker is there', missing.docker.up)
  await missing.reconcile('open')
  t.match(missing.executor.engines?.(), { shell: { available: false, reason: /does not have the image/ } })
  t.equal(here.executor.ready?.(), true)
  const runsc = agentWithDocker(t, { runtime: 'no-such-runtime' })
  runsc.docker.watch()
  await until('Docker is there', runsc.docker.up)
  t.equal(runsc.executor.ready?.(), false, 'not before it is known')
  await runsc.reconcile('open')
  t.match(runsc.executor.engines?.(), { shell: { available: false, reason: /does not have the runtime no-such-/ } })
  t.equal(runsc.executor.ready?.(), false)
  t.match(runsc.warned, [/does not have RUN_AGENT_RUNTIME/])
  const off = agentWithDocker(t, { slots: 0 })
  t.match(off.executor.engines?.(), { shell: { available: false, reason: 'MAX_CONCURRENT_AGENTS is 0.' } })
})
