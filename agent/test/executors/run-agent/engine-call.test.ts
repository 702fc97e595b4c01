// How an engine is started: what is said where, and what lies elsewhere while it runs.
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { RunAgentPayload } from '@agent-executor/protocol'
import t from 'tap'
import {
  callOf,
  engineEnv,
  engineFiles,
  GATEWAY_URL,
  hasWayOut,
  quarantine,
} from '../../../src/executors/run-agent/engine-call.ts'
import { entryScript, keptPatterns, SESSION_OUTPUT } from '../../../src/executors/run-agent/input.ts'
import { sessionIdOf } from '../../../src/executors/run-agent/session-id.ts'

const ENGINES = ['claude-code', 'codex', 'opencode', 'gemini'] as const
const SAID = 'said-to-the-engine-alone'

const payload = (engine: RunAgentPayload['engine'], more: Partial<RunAgentPayload> = {}): RunAgentPayload => ({
  ...{ engine, prompt: SAID, system: SAID, model: 'some-model' },
  mcpServers: { tools: { command: 'serve', env: { TOKEN: SAID } } },
  ...more,
})

t.test('what docker inspect shows of a run has nothing of what its command says', async (t) => {
  for (const engine of ENGINES) {
    const script = entryScript({ ...payload(engine), endsAfterMs: 60_000 })
    t.notMatch(script, SAID, engine)
    t.match(script, '/bin/sh /input/engine', engine)
    t.doesNotThrow(() => execFileSync('/bin/sh', ['-n', '-c', script]), `${engine} is a script`)
  }
})

t.test('a system prompt with secrets reaches the engine as it is', async (t) => {
  const asked = payload('claude-code', { system: 'Say [secret]', secrets: { system: 'Say hunter2', promptVars: {} } })
  t.match(JSON.stringify(callOf(asked, 'id')?.homeFiles), 'Say hunter2')
})

t.test('an engine with a way out is started behind the forwarder, another one is not', async (t) => {
  for (const engine of ENGINES) {
    const asked = payload(engine)
    const call = callOf(asked, sessionIdOf('c'))
    t.ok(call)
    if (call === null) continue
    const { script = '' } = engineFiles(asked, call) ?? {}
    t.match(script, "'node' '/input/forwarder.mjs' '47100' '/gateway/gateway.sock'", engine)
    t.match(script, '</input/prompt', engine)
    t.doesNotThrow(() => execFileSync('/bin/sh', ['-n', '-c', script]), engine)
    const env = engineEnv(asked, call)
    t.same(env.at(-1), ['HOME', '/home/agent'], `${engine}: a home of the command's own would bring its settings`)
    t.notMatch(JSON.stringify(env), 'HTTPS_PROXY')
  }
  const shell = payload('shell')
  t.notOk(hasWayOut(shell))
  t.equal(engineFiles(shell, callOf(shell, 'id') as never), null)
  const withHosts = payload('shell', { egress: [{ host: 'example.com', port: 443 }] })
  t.ok(hasWayOut(withHosts))
  t.match(engineEnv(withHosts, callOf(withHosts, 'id') as never), [['HTTPS_PROXY', GATEWAY_URL]])
})

t.test('the id of a conversation follows from the command', async (t) => {
  t.match(sessionIdOf('a'), /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.equal(sessionIdOf('a'), sessionIdOf('a'))
  t.not(sessionIdOf('a'), sessionIdOf('b'))
})

t.test('a conversation is kept unless nothing is', async (t) => {
  t.same(keptPatterns({ engine: 'codex' }), ['/output/**', SESSION_OUTPUT])
  t.same(keptPatterns({ engine: 'codex', artifacts: ['a'] }), ['a', SESSION_OUTPUT])
  t.same(keptPatterns({ engine: 'codex', artifacts: [] }), [])
  t.same(keptPatterns({ engine: 'shell', artifacts: ['a'] }), ['a'])
})

t.test('what a repository configures is away while the engine runs, and back after it', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'aside-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const workspace = join(dir, 'workspace')
  const put = (path: string, content = path): void => {
    mkdirSync(dirname(join(workspace, path)), { recursive: true })
    writeFileSync(join(workspace, path), content)
  }
  for (const path of [
    '.mcp.json',
    '.claude/settings.json',
    '.claude/settings.local.json',
    '.claude/notes',
    'a/.env',
    '.tool/x/y',
  ])
    put(path)
  symlinkSync('nowhere', join(workspace, '.env'))
  const patterns = ['.mcp.json', '.claude/settings*.json', '.env', '.tool', 'missing/*.json']
  const lines = quarantine({ quarantine: patterns }).map((line) =>
    line.replaceAll('/workspace', workspace).replaceAll('/tmp/.agent', join(dir, '.agent')),
  )
  const run = (...commands: string[]) => execFileSync('/bin/sh', ['-ec', [...lines, ...commands].join('\n')]).toString()
  run('set_aside')
  for (const path of ['.mcp.json', '.claude/settings.json', '.claude/settings.local.json', '.tool'])
    t.notOk(existsSync(join(workspace, path)), path)
  t.throws(() => lstatSync(join(workspace, '.env')), 'a link that leads nowhere as well')
  t.ok(existsSync(join(workspace, '.claude/notes')) && existsSync(join(workspace, 'a/.env')), 'and nothing else')
  put('.mcp.json', 'of the engine')
  run('put_back')
  t.equal(readFileSync(join(workspace, '.mcp.json'), 'utf8'), 'of the engine', 'what it has written stays')
  for (const path of ['.claude/settings.json', '.claude/settings.local.json', '.tool/x/y'])
    t.equal(readFileSync(join(workspace, path), 'utf8'), path)
  t.ok(lstatSync(join(workspace, '.env')).isSymbolicLink())
})
