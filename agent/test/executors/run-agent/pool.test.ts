// The pool on the real Docker: what runs in one of its containers is as it is in a new one, and none is ever used twice.
import { execFileSync } from 'node:child_process'
import type { RunAgentPayload } from '@agent-executor/protocol'
import t from 'tap'
import { containerName } from '../../../src/docker/create-options.ts'
import { ONCE, RAN_BEFORE } from '../../../src/executors/run-agent/input.ts'
import { cuttableDocker, dockerode, IMAGE, needsDocker } from '../../docker/fixtures/real-docker.ts'
import { agentWithDocker, DEFAULTS, logsOf, resultOf, until } from './fixtures/attempts.ts'

const RESOLVED_FROM = { profile: 'p', profiles: [{ name: 'p', version: 1 }], templates: [], promptVars: {} }
const WARM = ['container.taken', 'container.delivered', 'container.exited', 'artifacts.stored']
const COLD = ['container.created', 'container.started', 'container.exited', 'artifacts.stored']

t.test('what comes out is the same, warm and cold', needsDocker, async (t) => {
  const token = `it's "xyzzy42 $secret"\n\`with\` \\lines`
  const payloads: Partial<RunAgentPayload>[] = [
    { prompt: 'echo out; echo err >&2; printf "no newline"' },
    { prompt: 'cat; pwd; id -u; ls -A; ls -A "$HOME" /tmp; exit 3' },
    { prompt: 'kill -SEGV $$' },
    { prompt: 'no-such-command 2>/dev/null' },
    { prompt: 'head -c 1000000 /dev/zero | tr "\\0" x' },
    {
      prompt:
        'cat a.txt -- "-rf ü"; ./bin/run; stat -c "%a %u" a.txt bin/run; cksum binary; echo "$GREETING|$HOME|$UID"',
      env: { GREETING: 'hello "$world"\nsecond', UID: '7', IFS: 'x' },
      files: [
        { path: 'a.txt', content: 'A\n' },
        { path: 'bin/run', content: '#!/bin/sh\necho running\n', mode: '0755' },
        { path: '-rf ü', content: 'odd\n' },
        {
          path: 'binary',
          contentBase64: Buffer.from(Array.from({ length: 512 }, (_, i) => i % 256)).toString('base64'),
        },
      ],
    },
    {
      prompt: 'echo engine; exit 5',
      hooks: Object.fromEntries(
        ['pre', 'post', 'onFailure', 'always'].map((name) => [
          name,
          { script: 'echo "$JOB_HOOK $JOB_EXIT_CODE $JOB_REASON"', timeoutMs: 9000 },
        ]),
      ),
      resolvedFrom: RESOLVED_FROM,
    },
    { prompt: 'true', hooks: { post: { script: 'exit 4', timeoutMs: 9000 } } },
    {
      prompt: '[secret]',
      resolvedFrom: { ...RESOLVED_FROM, promptVars: { token: '[secret]', list: ['a', "b's"] } },
      secrets: { prompt: `echo "$VAR_token"; printf %s "$VAR_token" | wc -c; echo "$VAR_list"`, promptVars: { token } },
    },
    { prompt: 'echo a; sleep 1000', idleTimeoutMs: 900 },
  ]
  for (const payload of payloads) {
    const [cold, warm] = [agentWithDocker(t), agentWithDocker(t, { poolSize: 1 })]
    await warm.warm()
    const of = async (agent: typeof cold) => {
      const { result, ...outcome } = (await agent.begin(payload).outcome) ?? {}
      const { tookMs, ...rest } = result as { tookMs: number }
      t.ok(tookMs >= 0 && tookMs < 60_000)
      return { ...outcome, ...rest }
    }
    t.same(await of(warm), await of(cold), payload.prompt as string)
    t.same([warm.points, cold.points], [WARM, COLD])
    t.notMatch(JSON.stringify(await warm.container().inspect()), /xyzzy42|VAR_token|GREETING/)
  }
})

t.test('what runs out of memory is killed', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1 })
  await agent.warm()
  const outcome = await agent.begin({ prompt: 'echo before; exec tail /dev/zero' }).outcome
  // A Docker that is busy may tell of the end without its reason.
  t.match(outcome, {
    error: { code: /OOM_KILLED|EXIT_SIGNAL/ },
    result: { exitCode: 137, stdout: { text: 'before\n' } },
  })
})

t.test('its time begins with the prompt, not with the container', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1 })
  await agent.warm()
  await new Promise((resolve) => setTimeout(resolve, 3000))
  const { tookMs } = resultOf(await agent.begin({ prompt: 'sleep 0.3' }).outcome)
  t.ok((tookMs as number) >= 300 && (tookMs as number) < 2500, `${tookMs} ms`)
  const { tookMs: later } = resultOf(await agent.begin({ prompt: 'sleep 0.3' }).outcome)
  t.ok((later as number) >= 250 && (later as number) < 2500, `${later} ms, by a later life`)
})

t.test('one is used once, and another takes its place', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 2 })
  await agent.warm()
  const ids = new Set<string>()
  for (let number = 1; number <= 4; number++) {
    agent.log.id = null
    t.match(await agent.begin({ prompt: 'ls -A . /tmp; echo mine >/tmp/mine' }, {}, number).outcome, {
      state: 'SUCCEEDED',
      result: { stdout: { text: '.:\n\n/tmp:\n' } },
    })
    ids.add((await agent.container(number).inspect()).Id)
    await until('it is filled again', () => agent.pool.ready() === 2)
  }
  t.equal(ids.size, 4)
  t.equal(agent.points.filter((point) => point === 'container.taken').length, 4)
  for (const { id } of await agent.waiting()) t.notOk(ids.has(id))
  const used = agent.container(1)
  await used.start()
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal(
    (await logsOf((await used.inspect()).Id)).split('tmp').length - 1,
    1,
    'started again by anybody, it waits for what nobody sends',
  )
})

t.test('a burst beyond the pool begins in new containers', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 2 })
  await agent.warm()
  const prompt = 'echo mine; sleep 1'
  const began = [1, 2, 3, 4, 5].map((number) => {
    agent.log.id = null
    return agent.begin({ prompt }, {}, number)
  })
  for (const { outcome } of began)
    t.match(await outcome, { state: 'SUCCEEDED', result: { stdout: { text: 'mine\n' } } })
  const taken = agent.points.filter((point) => point === 'container.taken').length
  t.ok(taken >= 2, `${taken} of the pool`)
  t.equal(taken + agent.points.filter((point) => point === 'container.created').length, 5)
})

t.test('what wants something else begins in a new container', needsDocker, async (t) => {
  const other = `agent-executor-test-other:${process.pid}`
  execFileSync('docker', ['tag', IMAGE, other])
  t.teardown(() => dockerode.getImage(other).remove())
  const agent = agentWithDocker(t, { poolSize: 1, images: [other] })
  await agent.warm()
  const rows: Partial<RunAgentPayload>[] = [
    { image: other },
    { resources: { pidsMax: DEFAULTS.pidsMax - 1 } },
    { prompt: `true\n${'#'.repeat(65_536)}` },
    { files: [{ path: 'a', content: 'x'.repeat(65_536) }] },
  ]
  for (const [index, payload] of rows.entries()) {
    agent.log.id = null
    t.match(await agent.begin(payload, {}, index + 1).outcome, { state: 'SUCCEEDED' })
  }
  t.notOk(agent.points.includes('container.taken'))
  agent.log.id = null
  t.match(await agent.begin({ image: IMAGE, resources: DEFAULTS }, {}, 9).outcome, { state: 'SUCCEEDED' })
  t.ok(agent.points.includes('container.taken'), 'the same in other words is the same')
})

t.test('one that is killed or removed while it waits is replaced', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 2 })
  await agent.warm()
  const [killed, removed] = await agent.waiting()
  await dockerode.getContainer(killed?.id as string).kill()
  await dockerode.getContainer(removed?.id as string).remove({ force: true, v: true })
  await until('there are two others', async () => {
    const now = await agent.waiting()
    return now.length === 2 && now.every(({ id, isRunning }) => isRunning && id !== killed?.id && id !== removed?.id)
  })
  t.match(agent.warned, [/could not be kept.*it ended while it waited/], 'said once')
})

t.test('one that is dead, and not known to be, does an attempt no harm', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1 })
  await agent.warm()
  const [only] = await agent.waiting()
  await dockerode.getContainer(only?.id as string).kill()
  t.match(await agent.begin({ prompt: 'echo effect' }).outcome, {
    state: 'SUCCEEDED',
    result: { stdout: { text: 'effect\n' } },
  })
  t.not((await agent.container().inspect()).Id, only?.id)
})

t.test('one that has waited for too long is replaced', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1, poolIdleMs: 2000 })
  await agent.warm()
  const [first] = await agent.waiting()
  await until('another waits', async () => (await agent.waiting()).every(({ id }) => id !== first?.id))
})

t.test('a later life keeps what will do, and removes what will not', needsDocker, async (t) => {
  const first = agentWithDocker(t, { poolSize: 2 })
  await first.warm()
  const { agentId } = first
  const before = (await first.waiting()).map(({ id }) => id).sort()
  const second = agentWithDocker(t, { agentId, poolSize: 2 })
  await second.warm()
  t.same((await second.waiting()).map(({ id }) => id).sort(), before)
  const fewer = agentWithDocker(t, { agentId, poolSize: 1 })
  await fewer.warm()
  await until('one is gone', async () => (await fewer.waiting()).length === 1)
  const others = agentWithDocker(t, { agentId, poolSize: 1, defaults: { ...DEFAULTS, pidsMax: 32 } })
  await others.warm()
  await until('another is there', async () => {
    const now = await others.waiting()
    return now.length === 1 && !before.includes(now[0]?.id as string)
  })
  const none = agentWithDocker(t, { agentId, poolSize: 0 })
  // Those of the lives before would fill it again.
  await Promise.all([first, second, fewer, others].map(({ pool }) => pool.close()))
  await none.warm()
  await until('none is left', async () => (await none.waiting()).length === 0)
})

t.test('at its end an agent removes those that wait, and none that is in use', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 2 })
  await agent.warm()
  const running = agent.begin({ prompt: 'echo effect; sleep 2' })
  await until('it runs', () => agent.points.includes('container.delivered'))
  await agent.pool.close()
  t.same(await agent.waiting(), [])
  t.match(await running.outcome, { state: 'SUCCEEDED', result: { stdout: { text: 'effect\n' } } })
})

t.test('an image that is missing, or no good, is said once and costs no attempt anything', needsDocker, async (t) => {
  const missing = agentWithDocker(t, { poolSize: 1, image: 'agent-executor.invalid/no-such-image:1' })
  await missing.warm(0)
  await until('it is said', () => missing.warned.length > 0)
  await new Promise((resolve) => setTimeout(resolve, 2500))
  t.match(missing.warned, [/does not have the image/])
  t.match(await missing.begin({}).outcome, { error: { code: 'IMAGE_MISSING' } })

  const image = `agent-executor-test-pool-volume:${process.pid}`
  execFileSync('docker', ['build', '-q', '-t', image, '-'], { input: `FROM ${IMAGE}\nVOLUME /var/lib/data\n` })
  t.teardown(() => dockerode.getImage(image).remove({ force: true }))
  const volumes = agentWithDocker(t, { poolSize: 1, image })
  await volumes.warm(0)
  await until('it is said', () => volumes.warned.length > 0)
  t.match(volumes.warned, [/declares volumes/])
  await until('it is gone', async () => (await volumes.waiting()).length === 0)
})

t.test('cancelled before it got anything, it is gone and nothing ran', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1 })
  await agent.warm()
  agent.log.full = true
  const running = agent.begin({ prompt: 'echo effect' })
  await until('the journal was asked', () => agent.warned.some((line) => line.includes('could not be logged')))
  const { Id } = await agent.container().inspect()
  t.equal(await logsOf(Id), '')
  running.stop({ type: 'cancel', reason: 'enough' })
  t.match(await running.outcome, { state: 'CANCELLED' })
  await t.rejects(dockerode.getContainer(Id).inspect(), /no such container/i)
})

t.test('stopped while it runs it ends as any other', needsDocker, async (t) => {
  for (const [name, prompt] of [
    ['obeys', 'echo begun; sleep 1000'],
    ['ignores SIGTERM', "trap '' TERM; echo begun; while :; do sleep 0.2; done"],
  ] as const) {
    const agent = agentWithDocker(t, { poolSize: 1 })
    await agent.warm()
    const running = agent.begin({ prompt })
    await until('it has begun', async () => {
      const { Id } = await agent
        .container()
        .inspect()
        .catch(() => ({ Id: '' }))
      return Id !== '' && (await logsOf(Id)).includes('begun')
    })
    running.stop({ type: 'cancel', reason: 'enough', graceMs: 500 })
    const outcome = await running.outcome
    t.match(outcome, { state: 'CANCELLED', error: { message: 'enough' } }, name)
    t.match(resultOf(outcome), { reason: 'cancelled', stdout: { text: 'begun\n' }, outputFrom: 'stream' }, name)
  }
  const late = agentWithDocker(t, { poolSize: 1 })
  await late.warm()
  t.match(await late.begin({ prompt: 'echo begun; sleep 1000' }, { timeoutMs: 1500 }).outcome, {
    state: 'TIMED_OUT',
    result: { reason: 'timeout', stdout: { text: 'begun\n' } },
  })
})

t.test('an agent that stops leaves it, and its next life adopts it', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1 })
  await agent.warm()
  const prompt = 'echo one; sleep 3; echo two; exit 6'
  const first = agent.begin({ prompt })
  await until('it runs', () => agent.points.includes('container.delivered'))
  first.stop({ type: 'stop' })
  t.equal(await first.outcome, null)
  const outcome = await agent.begin({ prompt }).outcome
  t.match(outcome, { result: { exitCode: 6, outputFrom: 'log', stdout: { text: 'one\ntwo\n', bytes: 8 } } })
  t.match(await agent.begin({ prompt }).outcome, { result: { exitCode: 6, stdout: { text: 'one\ntwo\n' } } })
})

t.test('one that a dead life has taken is taken up where it was', needsDocker, async (t) => {
  const taken = async () => {
    const agent = agentWithDocker(t, { poolSize: 1 })
    await agent.warm()
    t.ok(await agent.pool.take(containerName(agent.attemptId)))
    const { Id } = await agent.container().inspect()
    return { agent, Id, running: dockerode.getContainer(Id) }
  }
  const expected = { state: 'SUCCEEDED', result: { stdout: { text: 'effect\n' }, stderr: { text: '' } } }
  const effects = async (id: string) => (await logsOf(id)).split('effect').length - 1

  const named = await taken()
  t.match(await named.agent.begin({ prompt: 'echo effect' }).outcome, expected, 'not logged')
  t.equal(named.agent.log.id, named.Id)

  const logged = await taken()
  logged.agent.log.id = logged.Id
  t.match(await logged.agent.begin({ prompt: 'echo effect' }).outcome, expected, 'logged')
  t.equal(await effects(logged.Id), 1)

  const killed = await taken()
  killed.agent.log.id = killed.Id
  await killed.running.kill()
  t.match(await killed.agent.begin({ prompt: 'echo effect' }).outcome, expected, 'logged, then killed')
  t.equal((await killed.running.inspect()).State.ExitCode, 0, 'started anew: what is logged does not change')

  // As the connection of an agent that is killed in the middle of it.
  const cut = await taken()
  cut.agent.log.id = cut.Id
  const stream = await cut.running.attach({ stream: true, stdin: true, hijack: true })
  stream.write('\n{\necho effect\n')
  await new Promise((resolve) => setTimeout(resolve, 200))
  ;(stream as unknown as { destroy: () => void }).destroy()
  t.match(await cut.agent.begin({ prompt: 'echo effect' }).outcome, { state: 'SUCCEEDED' }, 'half delivered')
  t.equal(await effects(cut.Id), 1)

  const twice = await taken()
  twice.agent.log.id = twice.Id
  const early = await twice.running.attach({ stream: true, stdin: true, hijack: true })
  early.write('\n{\n: \n')
  t.match(await twice.agent.begin({ prompt: 'echo effect' }).outcome, { state: 'SUCCEEDED' }, 'half, and then whole')
  t.equal(await effects(twice.Id), 1)
  ;(early as unknown as { destroy: () => void }).destroy()

  const dead = await taken()
  await dead.running.kill()
  t.match(await dead.agent.begin({ prompt: 'echo effect' }).outcome, expected, 'killed before it was logged')
  t.not(dead.agent.log.id, dead.Id)

  const begun = await taken()
  begun.agent.log.id = begun.Id
  execFileSync('docker', ['exec', begun.Id, '/bin/sh', '-c', `echo begun >${ONCE}`])
  t.match(
    await begun.agent.begin({ prompt: 'echo effect' }).outcome,
    { state: 'INTERRUPTED', result: { stderr: { text: `${RAN_BEFORE}\n` } } },
    'it says that it has begun',
  )

  const emptied = await taken()
  emptied.agent.log.id = emptied.Id
  execFileSync('docker', ['exec', emptied.Id, '/bin/sh', '-c', `: >${ONCE}`])
  await emptied.running.kill()
  t.match(await emptied.agent.begin({ prompt: 'echo effect' }).outcome, { result: { exitCode: 137 } }, 'and emptied it')
  t.equal(await effects(emptied.Id), 0)
})

t.test('one that is taken and gone may have run', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1 })
  await agent.warm()
  const running = agent.begin({ prompt: 'echo begun; sleep 1000' })
  await until('it runs', () => agent.points.includes('container.delivered'))
  await agent.container().remove({ force: true, v: true })
  t.match(await running.outcome, { state: 'INTERRUPTED', error: { message: /gone/ } })
})

t.test('only what the server has acknowledged is removed, also of the pool', needsDocker, async (t) => {
  const agent = agentWithDocker(t, { poolSize: 1 })
  await agent.warm()
  t.match(await agent.begin({}).outcome, { state: 'SUCCEEDED' })
  await until('another waits', () => agent.pool.ready() === 1)
  await agent.reconcile('open')
  t.equal((await agent.containers()).length, 2)
  await agent.reconcile('acknowledged')
  t.equal((await agent.containers()).length, 1)
  t.equal((await agent.waiting()).length, 1, 'what waits is of no attempt')
})

t.test('an answer to a rename or a delivery that is lost is found out, and it ran once', needsDocker, async (t) => {
  for (const call of ['/rename', '/attach']) {
    const way = await cuttableDocker(t)
    const agent = agentWithDocker(t, { socketPath: way.socketPath, poolSize: 1 })
    await agent.warm()
    way.loseAnswerTo(call)
    t.match(await agent.begin({ prompt: 'echo effect' }).outcome, { state: 'SUCCEEDED' }, call)
    t.equal((await logsOf((await agent.container().inspect()).Id)).split('effect').length - 1, 1)
  }
})

t.test('while Docker is away nothing is decided, warm as cold', needsDocker, async (t) => {
  const way = await cuttableDocker(t)
  const agent = agentWithDocker(t, { socketPath: way.socketPath, poolSize: 1 })
  await agent.warm()
  const running = agent.begin({ prompt: 'echo one; sleep 2; echo two; exit 5' })
  await until('it runs', () => agent.points.includes('container.delivered'))
  way.set('refused')
  await until('it has exited', async () => (await agent.container().inspect()).State.Status === 'exited')
  way.set('through')
  t.match(await running.outcome, {
    error: { code: 'EXIT_NONZERO' },
    result: { exitCode: 5, outputFrom: 'log', stdout: { text: 'one\ntwo\n' } },
  })
})
