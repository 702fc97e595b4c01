// kill -9 of a real gateway in the middle of an answer: what was under way is booked, and its limit holds afterwards.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as ask, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { openLedger } from '../src/ledger.ts'
import { startFakeProvider } from './fixtures/fake-provider.ts'

const CHILD = fileURLToPath(new URL('./fixtures/gateway-child.js', import.meta.url))

t.test('spend is never missing', async (t) => {
  const provider = await startFakeProvider()
  const dir = mkdtempSync(join(tmpdir(), 'gateway-'))
  t.teardown(async () => {
    await provider.close()
    rmSync(dir, { recursive: true })
  })
  const [file, socketPath] = [join(dir, 'ledger.db'), join(dir, 's')]
  const child = spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', process.execPath, CHILD, file, socketPath, provider.url])
  await once(child.stdout, 'data')
  provider.behave({ pauseMs: 50 })
  const outgoing = ask({ socketPath, path: '/v1/messages', method: 'POST' })
  outgoing.on('error', () => {})
  outgoing.end(JSON.stringify({ model: 'claude-sonnet-4-5', max_tokens: 2000, messages: [], stream: true }))
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  response.on('error', () => {})
  await once(response, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')

  const ledger = openLedger({ file, nowMs: 99 })
  t.teardown(ledger.close)
  const [call] = ledger.calls('c.1')
  t.match(call, { state: 'unknown', endedAtMs: 99, reserved: { requests: 1 } })
  t.ok((call?.costMicroUsd ?? 0) >= 30_000, '2000 tokens at 15 USD a million')
  t.same(ledger.used({ scope: 'command', id: 'c' }, 'microUsd'), { spent: call?.costMicroUsd, reserved: 0 })
})
