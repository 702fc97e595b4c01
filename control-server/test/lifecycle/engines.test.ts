// Which agents can run an engine, and why not the others.
import t from 'tap'
import { engineAgents, keptEngines } from '../../src/lifecycle/engines.ts'
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
  const codex = engineAgents('codex', agents, 0)
  t.equal(codex.available, false)
  t.match(codex.agents[0]?.reason, /does not say/)
  const shell = engineAgents('shell', agents, 0)
  t.equal(shell.available, true)
  t.same(
    shell.agents.map(({ agentId, available }) => [agentId, available]),
    [
      ['good', true],
      ['without', false],
      ['old', false],
      ['draining', false],
    ],
  )
  for (const { available, reason } of shell.agents) t.equal(reason === null, available, `${reason}`)
})

t.test('an engine that nobody can run is not available', async (t) => {
  t.same(engineAgents('shell', [], 0), { available: false, agents: [] })
  t.match(engineAgents('shell', [agent('gone', { engines: has, renewedAtMs: -LEASE_MS })], 0), { available: false })
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
  t.match(engineAgents('constructor', [agent('x', { engines: {} })], 0), {
    agents: [{ available: false, reason: /does not say/ }],
  })
})
