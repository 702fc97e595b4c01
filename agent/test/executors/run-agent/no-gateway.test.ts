// An engine with a language model on an agent without a gateway, and on one whose gateway is silent: nothing runs.
import t from 'tap'
import { createGatewayClient } from '../../../src/gateway/client.ts'
import { createGatewaySessions } from '../../../src/gateway/sessions.ts'
import { needsDocker } from '../../docker/fixtures/real-docker.ts'
import { agentWithDocker } from './fixtures/attempts.ts'

const GATEWAY_ERROR = { state: 'FAILED', error: { code: 'GATEWAY_ERROR' } }

t.test('without a gateway nothing is made', needsDocker, async (t) => {
  const agent = agentWithDocker(t)
  t.match(await agent.begin({ engine: 'codex', prompt: 'Do it' }).outcome, GATEWAY_ERROR)
  t.same(await agent.containers(), [])
})

t.test('a gateway that is silent is asked for a while', needsDocker, async (t) => {
  const client = createGatewayClient({ socketPath: '/no/such/control.sock' })
  t.teardown(client.disconnect)
  const sessions = createGatewaySessions({ client, onChange: () => {}, warn: () => {} })
  const gateway = { ...sessions, freshPrices: async () => {}, forwarder: '' }
  const agent = agentWithDocker(t, { gateway, patienceMs: 700 })
  t.match(await agent.begin({ engine: 'codex', prompt: 'Do it' }).outcome, GATEWAY_ERROR)
  t.same(await agent.containers(), [])
  const cancelled = agentWithDocker(t, { gateway })
  const running = cancelled.begin({ engine: 'codex', prompt: 'Do it' })
  running.stop({ type: 'cancel', reason: 'enough' })
  t.match(await running.outcome, { state: 'CANCELLED' }, 'and nobody has to wait for that')
})
