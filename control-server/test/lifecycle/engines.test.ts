// Which agents can run an engine, and why not the others.
import t from 'tap'
import { engineRecords, keptEngines } from '../../src/lifecycle/engines.ts'
import { agent, LEASE_MS, simpleAgent } from './builders.ts'

const has = { shell: { available: true, reason: null } }

t.test('every agent that is online is named, with its reason', async (t) => {
  const agents = [
    agent('good', { engines: has }),
    agent('without', { engines: { shell: { available: false, reason: 'Docker does not answer.' } } }),
    agent('old'),
    agent('draining', { engines: has, mode: 'draining' }),
    agent('gone', { engines: has, renewedAtMs: -LEASE_MS }),
    simpleAgent('curl'),
  ]
  const [shell, ...others] = engineRecords(agents, 0)
  t.match(others, [{ name: 'claude-code' }, { name: 'codex' }, { name: 'opencode' }, { name: 'gemini' }])
  for (const { available, agents } of others) t.match([available, agents[0]?.reason], [false, /does not say/])
  t.match(shell, {
    name: 'shell',
    providers: [],
    image: null,
    can: { model: false, system: false, tools: false },
    available: true,
  })
  t.same(
    shell?.agents.map(({ agentId, available }) => [agentId, available]),
    [
      ['good', true],
      ['without', false],
      ['old', false],
      ['draining', false],
    ],
  )
  for (const { available, reason } of shell?.agents ?? []) t.equal(reason === null, available, `${reason}`)
})

t.test('an engine tells whose models it asks for, and in which image it runs', async (t) => {
  for (const { name, providers, image, can } of engineRecords([], 0)) {
    t.equal(providers.length > 0, can.model, name)
    t.equal(image !== null, can.model, name)
  }
})

t.test('an engine that nobody can run is not available', async (t) => {
  t.match(engineRecords([], 0)[0], { name: 'shell', available: false, agents: [] })
  t.match(engineRecords([agent('gone', { engines: has, renewedAtMs: -LEASE_MS })], 0)[0], { available: false })
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
  t.match(engineRecords([agent('x', { engines: {} })], 0)[0], {
    agents: [{ available: false, reason: /does not say/ }],
  })
})
