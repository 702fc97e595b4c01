// RUN_AGENT against the real Docker: what comes out, how it ends, and what a life of the agent does with what another left.
import { execFileSync } from 'node:child_process'
import t from 'tap'
import { RAN_BEFORE } from '../../../src/executors/run-agent/input.ts'
import { cuttableDocker, dockerode, IMAGE, needsDocker } from '../../docker/fixtures/real-docker.ts'
import { agentWithDocker, DEFAULTS, logsOf, resultOf, until } from './fixtures/attempts.ts'

const MIB = 2 ** 20

t.test('the prompt is a script, and the result is what it wrote', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const outcome = await agent.begin({ prompt: 'echo out; echo err >&2; printf "no newline"' }).outcome
  t.match(outcome, { state: 'SUCCEEDED', resultTruncated: false })
  const { tookMs, ...result } = resultOf(outcome)
  t.same(result, {
    engine: 'shell',
    image: IMAGE,
    exitCode: 0,
    reason: 'exited',
    oomKilled: false,
    stdout: { text: 'out\nno newline', bytes: 14, truncated: false },
    stderr: { text: 'err\n', bytes: 4, truncated: false },
    outputFrom: 'stream',
    artifacts: [],
  })
  t.type(tookMs, 'number')
  t.same(agent.points, ['container.created', 'container.started', 'container.exited', 'artifacts.stored'])
  t.equal((await agent.container().inspect()).State.Status, 'exited', 'kept until the server has acknowledged')
})

t.test('a prompt that looks like an option is none, and stdin is empty', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const outcome = await agent.begin({ prompt: '--version\n-c "echo no"\ncat\necho ran "$0" $#' }).outcome
  t.match(resultOf(outcome).stdout, { text: 'ran /input/prompt 0\n' })
})

t.test('files, their modes, the environment and the folder', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const prompt = [
    'pwd; cat a.txt; ./bin/run; stat -c "%a %u" a.txt bin/run; echo "$GREETING|$HOME|$TMPDIR"',
    'cat -- "-rf ü"; wc -c < binary; echo changed > a.txt; cat a.txt',
  ].join('\n')
  const outcome = await agent.begin({
    prompt,
    env: { GREETING: 'hello "$world"\nsecond' },
    files: [
      { path: 'a.txt', content: 'A\n' },
      { path: 'bin/run', content: '#!/bin/sh\necho running\n', mode: '0755' },
      { path: '-rf ü', content: 'odd\n' },
      { path: 'binary', contentBase64: Buffer.from([0, 1, 2, 255]).toString('base64') },
      { path: `${'deep/'.repeat(30)}${'x'.repeat(120)}`, content: 'long' },
    ],
  }).outcome
  t.match(resultOf(outcome), {
    exitCode: 0,
    stderr: { text: '' },
    stdout: {
      text:
        '/workspace\nA\nrunning\n644 10001\n755 10001\nhello "$world"\nsecond|/home/agent|/tmp\n' + 'odd\n4\nchanged\n',
    },
  })
})

t.test('how it ends by itself', needsDocker, async (t) => {
  const rows: [string, object][] = [
    [
      'echo partly; exit 3',
      { state: 'FAILED', error: { code: 'EXIT_NONZERO' }, result: { exitCode: 3, reason: 'exited' } },
    ],
    ['exit 255', { state: 'FAILED', error: { code: 'EXIT_NONZERO' }, result: { exitCode: 255 } }],
    ['exit 125', { state: 'FAILED', error: { code: 'EXIT_NONZERO' }, result: { exitCode: 125 } }],
    ['kill -SEGV $$', { state: 'FAILED', error: { code: 'EXIT_SIGNAL' }, result: { exitCode: 139, reason: 'signal' } }],
    ['no-such-command', { state: 'FAILED', error: { code: 'EXIT_NONZERO' }, result: { exitCode: 127 } }],
    ['if then', { state: 'FAILED', error: { code: 'EXIT_NONZERO' }, result: { stderr: { text: /[Ss]yntax/ } } }],
    [
      'echo before; exec tail /dev/zero',
      {
        state: 'FAILED',
        error: { code: 'OOM_KILLED' },
        result: { exitCode: 137, reason: 'outOfMemory', oomKilled: true, stdout: { text: 'before\n' } },
      },
    ],
  ]
  for (const [prompt, expected] of rows) t.match(await agentWithDocker(t).begin({ prompt }).outcome, expected, prompt)
})

t.test(
  'what is over its time is stopped, killed if it does not stop, and gone before the outcome',
  needsDocker,
  async (t) => {
    for (const [name, prompt] of [
      ['obeys', 'echo begun; sleep 1000'],
      ['ignores SIGTERM', "trap '' TERM; echo begun; while :; do sleep 0.2; done"],
      ['has children that do', "echo begun; (trap '' TERM; exec sleep 1000) & setsid sleep 1000 & wait"],
    ] as const) {
      const agent = agentWithDocker(t)
      const running = agent.begin({ prompt })
      await until('it runs', async () => (await agent.containers())[0]?.State === 'running')
      running.stop({ type: 'cancel', reason: 'enough', graceMs: 500 })
      const outcome = await running.outcome
      t.match(outcome, { state: 'CANCELLED', error: { code: 'CANCELLED', message: 'enough' } }, name)
      t.match(resultOf(outcome), { reason: 'cancelled', stdout: { text: 'begun\n' }, outputFrom: 'stream' }, name)
      t.equal((await agent.container().inspect()).State.Running, false, name)
    }
    const late = await agentWithDocker(t).begin({ prompt: 'echo begun; sleep 1000' }, { timeoutMs: 2500 }).outcome
    t.match(late, { state: 'TIMED_OUT', error: { code: 'TIMED_OUT' }, result: { reason: 'timeout' } })
    t.match(resultOf(late).stdout, { text: 'begun\n' })
  },
)

t.test('silence for too long ends it, output keeps it alive', needsDocker, async (t) => {
  const silent = await agentWithDocker(t).begin({ prompt: 'echo a; sleep 1000', idleTimeoutMs: 700 }).outcome
  t.match(silent, { state: 'TIMED_OUT', error: { code: 'IDLE_TIMEOUT', retryable: true } })
  t.match(resultOf(silent), { reason: 'idleTimeout', stdout: { text: 'a\n' } })
  const prompt = 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done'
  t.match(await agentWithDocker(t).begin({ prompt, idleTimeoutMs: 1500 }).outcome, { state: 'SUCCEEDED' })
})

t.test('what has ended by itself when the stop comes keeps its outcome', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const running = agent.begin({ prompt: 'echo done' })
  await until('it has exited', async () => (await agent.containers())[0]?.State === 'exited')
  running.stop({ type: 'cancel', reason: 'too late' })
  t.match(await running.outcome, { state: 'SUCCEEDED', result: { stdout: { text: 'done\n' } } })
})

t.test('output of any size and kind', needsDocker, async (t) => {
  const outputOf = async (prompt: string) => resultOf(await agentWithDocker(t).begin({ prompt }).outcome).stdout
  const line = await outputOf(`head -c ${10 * MIB} /dev/zero | tr '\\0' x; echo`)
  t.match(line, { bytes: 10 * MIB + 1, truncated: true })
  t.ok(line.text.length < 70_000)
  t.match(line.text, /^x{32768}\n\[\.\.\. 10420225 bytes left out \.\.\.\]\nx{32767}\n$/)

  const binary = await outputOf('head -c 50000 /dev/urandom')
  t.match(binary, { bytes: 50_000, truncated: false })

  const beganMs = performance.now()
  const flood = await outputOf(`echo first; head -c ${100 * MIB} /dev/zero; echo last`)
  t.comment(`100 MiB took ${Math.round(performance.now() - beganMs)} ms`)
  t.equal(flood.bytes, 100 * MIB + 11)
  t.match(flood.text, /^first\n/)
  t.match(flood.text, /last\n$/)
})

t.test('what cannot begin says so, and nothing ran', needsDocker, async (t) => {
  const missing = agentWithDocker(t, { image: 'agent-executor.invalid/no-such-image:1' })
  t.match(await missing.begin({}).outcome, {
    state: 'FAILED',
    error: { code: 'IMAGE_MISSING', message: /no-such-image/ },
  })
  const refused = agentWithDocker(t)
  t.match(await refused.begin({ image: 'postgres:17' }).outcome, { error: { code: 'IMAGE_REFUSED', retryable: false } })
  const asked = { resources: { memoryBytes: DEFAULTS.memoryBytes + 1, pidsMax: 8 } }
  t.match(await refused.begin(asked).outcome, {
    error: { code: 'RESOURCES_REFUSED', message: /memoryBytes 134217728\.$/ },
  })
  const runtime = agentWithDocker(t, { runtime: 'no-such-runtime' })
  t.match(await runtime.begin({}).outcome, { error: { code: 'CONTAINER_START_FAILED', message: /no-such-runtime/ } })
  for (const agent of [missing, refused, runtime]) t.same(agent.points.includes('container.started'), false)
})

t.test('an image that declares volumes is refused: their size is not bounded', needsDocker, async (t) => {
  const image = `agent-executor-test-volume:${process.pid}`
  execFileSync('docker', ['build', '-q', '-t', image, '-'], { input: `FROM ${IMAGE}\nVOLUME /var/lib/data\n` })
  t.teardown(() => dockerode.getImage(image).remove({ force: true }))
  const agent = agentWithDocker(t, { image })
  t.match(await agent.begin({}).outcome, { error: { code: 'CONTAINER_START_FAILED', message: /\/var\/lib\/data/ } })
  agent.docker.watch()
  await until('Docker is there', agent.docker.up)
  await agent.reconcile('acknowledged')
  t.same(await agent.containers(), [])
})

t.test('a container that is started a second time does not run the prompt again', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  t.match(await agent.begin({ prompt: 'echo effect; exit 4' }).outcome, { error: { code: 'EXIT_NONZERO' } })
  await agent.container().start()
  await agent.container().wait()
  const { Id, State } = await agent.container().inspect()
  const logs = await logsOf(Id)
  t.equal(logs.split('effect').length - 1, 1, 'the effect happened once')
  t.match(logs, RAN_BEFORE)
  t.equal(State.ExitCode, 125)
  t.match(await agent.begin({ prompt: 'echo effect' }).outcome, {
    state: 'INTERRUPTED',
    error: { code: 'INTERRUPTED' },
  })
})

t.test('an agent that stops leaves the container, and its next life adopts it', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const first = agent.begin({ prompt: 'echo one; sleep 3; echo two' })
  await until('it runs', async () => (await agent.containers())[0]?.State === 'running')
  first.stop({ type: 'stop' })
  t.equal(await first.outcome, null)
  t.equal((await agent.container().inspect()).State.Running, true)
  const outcome = await agent.begin({ prompt: 'echo one; sleep 3; echo two' }).outcome
  t.match(outcome, { state: 'SUCCEEDED', result: { outputFrom: 'log', stdout: { text: 'one\ntwo\n', bytes: 8 } } })
  t.equal((await agent.containers()).length, 1)
})

t.test(
  'a container whose agent does not come back ends itself when its time is over, and its files are kept',
  needsDocker,
  async (t) => {
    const ends = async (artifacts: string[]): Promise<void> => {
      const agent = agentWithDocker(t, { deadlineMarginMs: 3000 })
      const begin = () =>
        agent.begin({ prompt: 'echo kept >/output/kept; echo begun; sleep 600', artifacts }, { timeoutMs: 5000 })
      const first = begin()
      await until('it runs', async () => (await agent.containers()).some(({ State }) => State === 'running'))
      first.stop({ type: 'stop' })
      t.equal(await first.outcome, null)
      await until('it has ended', async () => !(await agent.container().inspect()).State.Running)
      const outcome = await begin().outcome
      t.match(outcome, {
        error: { code: 'TIMED_OUT' },
        result: { reason: 'timeout', exitCode: 137, stdout: { text: 'begun\n' } },
      })
      t.same(
        resultOf(outcome).artifacts.map(({ name }) => name),
        artifacts.length === 0 ? [] : ['output/kept'],
      )
    }
    await Promise.all([ends(['/output/**']), ends([])])
  },
)

t.test('one that has ended meanwhile is collected, by any later life', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  t.match(await agent.begin({ prompt: 'echo effect; exit 7' }).outcome, { result: { exitCode: 7 } })
  for (let life = 0; life < 3; life++)
    t.match(await agent.begin({ prompt: 'echo effect; exit 7' }).outcome, {
      error: { code: 'EXIT_NONZERO' },
      result: { exitCode: 7, outputFrom: 'log', stdout: { text: 'effect\n' } },
    })
})

t.test('one that is gone with its id in the journal may have run', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const running = agent.begin({ prompt: 'echo begun; sleep 1000' })
  await until('it runs', async () => (await agent.containers())[0]?.State === 'running')
  await agent.container().remove({ force: true, v: true })
  t.match(await running.outcome, {
    state: 'INTERRUPTED',
    error: { code: 'INTERRUPTED', message: /gone/ },
    result: { exitCode: null, reason: 'unknown' },
  })
  t.match(
    await agent.begin({}).outcome,
    { state: 'INTERRUPTED', result: { outputFrom: 'none' } },
    'also for a later life',
  )
})

t.test('one that was made and not logged is taken, one of somebody else is not touched', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  agent.log.full = true
  const first = agent.begin({ prompt: 'echo effect' })
  await until('the journal was asked', () => agent.warned.some((line) => line.includes('could not be logged')))
  t.equal((await agent.containers())[0]?.State, 'created', 'what is not logged is not started')
  first.stop({ type: 'stop' })
  await first.outcome
  agent.log.full = false
  t.match(await agent.begin({ prompt: 'echo effect' }).outcome, { result: { stdout: { text: 'effect\n' } } })
  t.equal((await agent.containers()).length, 1)

  const other = agentWithDocker(t)
  const { Id } = await dockerode
    .createContainer({ name: `agent-executor-${other.attemptId}`, Image: IMAGE, Cmd: ['sleep', '1000'] })
    .then((container) => container.inspect())
  t.teardown(() => dockerode.getContainer(Id).remove({ force: true }))
  t.match(await other.begin({}).outcome, { error: { code: 'CONTAINER_START_FAILED', message: /taken by another/ } })
  t.equal((await dockerode.getContainer(Id).inspect()).State.Status, 'created')
})

t.test('a cancel before the start leaves nothing that could start', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const running = agent.begin({ prompt: 'echo effect' })
  running.stop({ type: 'cancel', reason: 'at once' })
  t.match(await running.outcome, { state: 'CANCELLED' })
  t.same(await agent.containers(), [])

  // Logged by an earlier life, which may have asked for the start.
  const made = agentWithDocker(t)
  made.log.full = true
  const first = made.begin({ prompt: 'echo effect' })
  await until('it is made', async () => (await made.containers()).length === 1)
  first.stop({ type: 'stop' })
  await first.outcome
  made.log.id = (await made.container().inspect()).Id
  const second = made.begin({ prompt: 'echo effect' })
  second.stop({ type: 'cancel', reason: 'at once' })
  t.match(await second.outcome, { state: 'CANCELLED' })
  t.same(await made.containers(), [])
})

t.test('only what the server has acknowledged is removed', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  const bystander = agentWithDocker(t)
  await Promise.all([agent.begin({}).outcome, bystander.begin({}).outcome])
  agent.docker.watch()
  await until('Docker is there', agent.docker.up)
  await agent.reconcile('open')
  t.equal((await agent.containers()).length, 1)
  await agent.reconcile('unknown')
  await agent.reconcile('unknown')
  t.equal((await agent.containers()).length, 1)
  t.equal(agent.warned.length, 1, 'said once')
  const { Mounts } = await agent.container().inspect()
  await agent.reconcile('acknowledged')
  t.same(await agent.containers(), [])
  await t.rejects(dockerode.getVolume(Mounts[0]?.Name as string).inspect(), /no such volume/i, 'with its volume')
  t.equal((await bystander.containers()).length, 1)
})

t.test('while Docker is away nothing is decided, and afterwards everything is known', needsDocker, async (t) => {
  for (const how of ['refused', 'silent'] as const) {
    const way = await cuttableDocker(t)
    const agent = agentWithDocker(t, { socketPath: way.socketPath })
    let settled = false
    const running = agent.begin({ prompt: 'echo one; sleep 2; echo two; exit 5' })
    void running.outcome.then(() => {
      settled = true
    })
    await until('it runs', async () => (await agent.containers())[0]?.State === 'running')
    way.set('refused')
    if (how === 'silent') way.set('silent')
    await until('it has exited', async () => (await agent.containers())[0]?.State === 'exited')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    t.notOk(settled, how)
    way.set('through')
    t.match(await running.outcome, {
      error: { code: 'EXIT_NONZERO' },
      result: { exitCode: 5, outputFrom: 'log', stdout: { text: 'one\ntwo\n' } },
    })
  }
})

t.test('an answer to create or start that is lost is found out, and it ran once', needsDocker, async (t) => {
  for (const call of ['/containers/create', '/start']) {
    const way = await cuttableDocker(t)
    const agent = agentWithDocker(t, { socketPath: way.socketPath })
    way.loseAnswerTo(call)
    t.match(await agent.begin({ prompt: 'echo effect' }).outcome, { state: 'SUCCEEDED' }, call)
    const [only, ...more] = await agent.containers()
    t.same(more, [])
    t.equal((await logsOf(only?.Id as string)).split('effect').length - 1, 1)
  }
})

t.test('without Docker an attempt that has not begun fails, as one that may be tried again', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { socketPath: '/nonexistent/docker.sock', patienceMs: 100 })
  t.match(await agent.begin({}).outcome, { state: 'FAILED', error: { code: 'DOCKER_UNAVAILABLE', retryable: true } })
  const stopped = agentWithDocker(t, { socketPath: '/nonexistent/docker.sock' }).begin({})
  stopped.stop({ type: 'cancel', reason: 'enough' })
  t.match(await stopped.outcome, { state: 'CANCELLED' })
})

t.test('whether Docker is there is found out at the start and later', needsDocker, async (t) => {
  const way = await cuttableDocker(t)
  const { docker, changes, executor } = agentWithDocker(t, { socketPath: way.socketPath })
  t.equal(executor.ready?.(), false, 'not before it has answered')
  docker.watch()
  await until('it is there', docker.up)
  way.set('refused')
  await until('it is away', () => !docker.up())
  t.equal(executor.ready?.(), false)
  await agentlessReconcile(executor)
  way.set('through')
  await until('it is back', docker.up)
  t.same(changes, [true, false, true])
})

const agentlessReconcile = async (executor: ReturnType<typeof agentWithDocker>['executor']) =>
  executor.reconcile?.(() => 'acknowledged')
