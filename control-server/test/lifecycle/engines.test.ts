// Which agents can run an engine, and why not the others; and what an agent is told of them.
import type { Engine, EngineDefinition } from '@agent-executor/protocol'
import t from 'tap'
import { definitionsOf, engineSummary, keptEngines } from '../../src/lifecycle/engines.ts'
import type { LiveEngine } from '../../src/profiles/document.ts'
import { documentsOf, engineVersion } from '../profiles/builders.ts'
import { agent, LEASE_MS, simpleAgent } from './builders.ts'

const has = { shell: { available: true, reason: null } }
const engine = (name: string, content: Engine): LiveEngine => engineVersion(name, content) as LiveEngine
const shell = engine('shell', { adapter: 'shell' })

t.test('every agent that is online is named, with its reason', async (t) => {
  const agents = [
    agent('good', { engines: has }),
    agent('without', { engines: { shell: { available: false, reason: 'Docker does not answer.' } } }),
    agent('old'),
    agent('draining', { engines: has, mode: 'draining' }),
    agent('gone', { engines: has, renewedAtMs: -LEASE_MS }),
    simpleAgent('curl'),
  ]
  const codex = engineSummary(engine('codex', { adapter: 'codex', image: 'an-image' }), agents, 0)
  t.match(codex, { available: false, image: 'an-image', providers: ['openai'], can: { model: true, tools: false } })
  t.match(codex.agents[0]?.reason, /does not say/)
  const summary = engineSummary(shell, agents, 0)
  t.match(summary, {
    ...{ name: 'shell', version: 1, origin: 'api', adapter: 'shell', providers: [], image: null, available: true },
    can: { model: false, system: false, tools: false, limits: false, egress: true },
  })
  t.same(
    summary.agents.map(({ agentId, available }) => [agentId, available]),
    [
      ['good', true],
      ['without', false],
      ['old', false],
      ['draining', false],
    ],
  )
  for (const { available, reason } of summary.agents) t.equal(reason === null, available, `${reason}`)
})

t.test('an engine that nobody can run is not available', async (t) => {
  t.match(engineSummary(shell, [], 0), { name: 'shell', available: false, agents: [] })
  const gone = agent('gone', { engines: has, renewedAtMs: -LEASE_MS })
  t.match(engineSummary(shell, [gone], 0), { available: false })
})

t.test('what a newer agent tells besides is left out, and a name is only a name', async (t) => {
  const told = {
    shell: { available: true, reason: null, version: '9' },
    constructor: { available: true, reason: null },
  }
  t.same(Object.entries(keptEngines(told)), [
    ['shell', { available: true, reason: null }],
    ['constructor', { available: true, reason: null }],
  ])
  t.match(engineSummary(shell, [agent('x', { engines: {} })], 0), {
    agents: [{ available: false, reason: /does not say/ }],
  })
})

t.test('agents are told what there is, under a fingerprint that changes with it and with nothing else', async (t) => {
  const own = engineVersion('own', { adapter: 'program', program: { argv: ['own'] }, providers: ['openai'] })
  const { fingerprint, engines } = definitionsOf(documentsOf(own, shell))
  t.strictSame(engines, [
    { name: 'own', version: 1, adapter: 'program', image: null, providers: ['openai'], program: { argv: ['own'] } },
    { name: 'shell', version: 1, adapter: 'shell', image: null, providers: [] },
  ] satisfies EngineDefinition[])
  t.equal(definitionsOf(documentsOf(shell, own)).fingerprint, fingerprint, 'in whatever order they were stored')
  for (const other of [
    documentsOf(shell),
    documentsOf(shell, engineVersion('own', { adapter: 'program', program: { argv: ['own', '-x'] } }, 2)),
    documentsOf(shell, { ...own, version: 2, content: null } as typeof own),
  ])
    t.not(definitionsOf(other).fingerprint, fingerprint)
})
