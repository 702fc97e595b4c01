// What an image says of itself before its engine is offered, on the real Docker.
import { definitionOf, type Engine } from '@agent-executor/protocol'
import t, { type Test } from 'tap'
import { probeLabels } from '../../../src/docker/create-options.ts'
import { dockerode, IMAGE, needsDocker } from '../../docker/fixtures/real-docker.ts'
import { until } from '../../fixtures/until.ts'
import { agentWithDocker } from './fixtures/attempts.ts'

const own = (probe: NonNullable<Engine['probe']>, more: Partial<Engine> = {}) =>
  definitionOf('own', 1, { adapter: 'shell', image: IMAGE, probe, ...more })

/** Of an agent that has just found Docker and asked, or will ask nothing. */
const asking = async (t: Test, engine: ReturnType<typeof own>, change: object = {}) => {
  const agent = agentWithDocker(t, { engines: [engine], ...change })
  agent.docker.watch()
  await until('Docker is there', agent.docker.up)
  await agent.reconcile('open')
  const says = () => agent.executor.engines?.().own
  await until('it was asked', () => !/being asked/.test(says()?.reason ?? ''))
  return { ...agent, says }
}

t.test(
  'an image that answers as the engine says is offered, and nothing of the question is left',
  needsDocker,
  async (t) => {
    const agent = await asking(t, own({ argv: ['cat', '--version'], prints: 'coreutils' }))
    t.same(agent.says(), { available: true, reason: null })
    await until('it is gone', async () => (await agent.containers()).length === 0)
    t.same(agent.warned, [])
  },
)

t.test('what it says is looked at, and how it ends', needsDocker, async (t) => {
  const rows: [NonNullable<Engine['probe']>, RegExp | null][] = [
    [{ argv: ['true'] }, null],
    [{ argv: ['cat', '--version'], prints: 'version 0' }, /cat --version says cat \(GNU .*, and not version 0/],
    [{ argv: ['true'], prints: 'a' }, /true says nothing, and not a/],
    [{ argv: ['/bin/sh', '-c', 'echo no >&2; exit 3'] }, /sh ended with 3: no/],
    [{ argv: ['no-such-program'] }, /no-such-program/],
    [{ argv: ['touch', '/etc/x'] }, /Read-only file system/],
    [{ argv: ['/bin/sh', '-c', 'id -u; cat /proc/net/route | wc -l'], prints: '10001\n1\n' }, null],
  ]
  for (const [probe, reason] of rows) {
    const agent = await asking(t, own(probe))
    if (reason === null) t.same(agent.says(), { available: true, reason: null }, JSON.stringify(probe))
    else {
      t.match(agent.says(), { available: false, reason }, JSON.stringify(probe))
      t.match(agent.warned, [/engine is not fit/])
    }
  }
})

t.test('an image is asked once for each question, and not where nobody wants it', needsDocker, async (t) => {
  const probe = { argv: ['/bin/sh', '-c', 'cat /proc/sys/kernel/random/uuid; exit 1'] }
  const agent = await asking(t, own(probe))
  const { reason } = agent.says() ?? {}
  await agent.reconcile('open')
  await agent.reconcile('open')
  t.equal(agent.says()?.reason, reason)
  t.match(agent.warned, { length: 1 })
  agent.executor.define?.([own({ ...probe, prints: 'x' })])
  await until('it was asked again', () => agent.says()?.reason !== reason && agent.warned.length === 2)
  t.same((await asking(t, own(probe), { probes: false })).says(), { available: true, reason: null })
  const foreign = await asking(t, own(probe, { image: 'foreign:1' }))
  t.match(foreign.says(), { reason: /does not allow the image foreign:1/ })
})

t.test('what a life that was killed has left of a question is removed', needsDocker, async (t) => {
  const agentId = `test-${process.pid}-probe`
  const left = await dockerode.createContainer({
    ...{ name: `agent-executor-probe-left${process.pid}`, Image: IMAGE, Cmd: ['true'], Labels: probeLabels(agentId) },
  })
  t.teardown(() => left.remove({ force: true }).catch(() => {}))
  const agent = await asking(t, own({ argv: ['true'] }), { agentId })
  await until('it is gone', async () => (await agent.containers()).length === 0)
  t.same(agent.says(), { available: true, reason: null })
})
