import type { EngineAvailabilities, JsonValue } from '@agent-executor/protocol'
import t from 'tap'
import { laneOf, mayTake, parseLane } from '../../src/lifecycle/matching.ts'
import { type CommandOptions, waiting } from './builders.ts'

const lane = (options: CommandOptions = {}) => laneOf(waiting('a', options))
const taker = (change: { agentId?: string; types?: string[]; labels?: string[] } = {}) => ({
  ...{ agentId: 'x', types: ['DELAY', 'HTTP_GET_JSON'], labels: [], engines: {} as EngineAvailabilities },
  ...change,
})

t.test('commands with the same needs share a lane, and nothing else about them matters', async (t) => {
  t.equal(lane(), lane({ priority: 9, maxAttempts: 3, timeoutMs: 1, metadata: { a: 1 } }))
  t.equal(lane({ labels: ['eu', 'gpu'] }), lane({ labels: ['gpu', 'eu'] }), 'in whatever order labels were given')
  const different = [
    lane(),
    lane({ type: 'HTTP_GET_JSON' }),
    lane({ labels: ['gpu'] }),
    lane({ labels: ['gpu', 'eu'] }),
  ]
  different.push(lane({ pinnedTo: 'x' }), lane({ pinnedTo: 'y' }), lane({ labels: ['gpu"],"x'] }))
  t.equal(new Set(different).size, different.length)
})

t.test('a lane says what it was made of, and making it leaves the labels in their order', async (t) => {
  const command = waiting('a', { type: 'HTTP_GET_JSON', labels: ['z', 'a'], pinnedTo: 'x' })
  t.same(parseLane(laneOf(command)), {
    ...{ type: 'HTTP_GET_JSON', labels: ['a', 'z'], pinnedTo: 'x', engine: null },
  })
  t.same(command.spec.labels, ['z', 'a'])
})

t.test('an agent may take what it knows the type of, has every label of, and is not pinned to another', async (t) => {
  const cases: [boolean, ReturnType<typeof taker>, CommandOptions][] = [
    [true, taker(), {}],
    [false, taker({ types: ['HTTP_GET_JSON'] }), {}],
    [false, taker({ types: [] }), {}],
    [true, taker({ labels: ['gpu', 'eu'] }), { labels: ['eu'] }],
    [true, taker({ labels: ['gpu', 'eu'] }), {}],
    [false, taker({ labels: ['gpu'] }), { labels: ['gpu', 'eu'] }],
    [false, taker({ labels: ['GPU'] }), { labels: ['gpu'] }],
    [true, taker(), { pinnedTo: 'x' }],
    [false, taker(), { pinnedTo: 'y' }],
    [false, taker(), { pinnedTo: 'x', labels: ['gpu'] }],
  ]
  for (const [may, agent, options] of cases)
    t.equal(mayTake(agent, parseLane(lane(options))), may, JSON.stringify([agent, options]))
})

t.test('what needs an agent that knows profiles goes to none that does not tell of its engines', async (t) => {
  const plain = { engine: 'shell', prompt: 'true' }
  const engineIn = (payload: object) => parseLane(lane({ type: 'RUN_AGENT', payload: payload as JsonValue })).engine
  const shell = { name: 'shell', now: false }
  t.equal(engineIn(plain), null, 'as it always was')
  t.equal(engineIn({ ...plain, dryRun: false }), null)
  t.same(engineIn({ ...plain, dryRun: true }), shell)
  t.same(engineIn({ ...plain, resolvedFrom: { profile: 'p' } }), shell)
  t.same(engineIn({ ...plain, engine: 'codex' }), { name: 'codex', now: true })
  const defined = (adapter: string, image: string | null) => ({ ...plain, engineDefinition: { adapter, image } })
  t.equal(engineIn(defined('shell', null)), null)
  t.same(engineIn(defined('shell', 'own-image')), { name: 'shell', now: true }, 'its image has to be there')
  t.same(engineIn(defined('program', null)), { name: 'shell', now: true })
  for (const odd of [null, 'text', 7, [], { engine: 7 }]) t.equal(engineIn(odd as object), null, JSON.stringify(odd))

  const dryRun = parseLane(lane({ type: 'RUN_AGENT', payload: { ...plain, dryRun: true } }))
  const old = taker({ types: ['RUN_AGENT'] })
  t.equal(mayTake(old, dryRun), false)
  t.equal(mayTake({ ...old, engines: { shell: { available: false, reason: 'x' } } }, dryRun), true, 'want says when')
  t.equal(mayTake({ ...old, engines: { codex: { available: true, reason: null } } }, dryRun), false)

  const codex = parseLane(lane({ type: 'RUN_AGENT', payload: { ...plain, engine: 'codex' } }))
  t.equal(mayTake({ ...old, engines: { codex: { available: true, reason: null } } }, codex), true)
  t.equal(mayTake({ ...old, engines: { codex: { available: false, reason: 'No key.' } } }, codex), false)
})
