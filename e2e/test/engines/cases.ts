/** What is true of every engine: its real program in a container with the options of an attempt, against a provider on loopback. */
import { type CodedAdapter, capabilitiesOf } from '@agent-executor/protocol'
import type { TAP, Test } from 'tap'
import { type EngineWorld, engineWorld, KEY, needsEngine } from '../../src/engine-sandbox.ts'
import { FIRED, HOSTILE_REPOSITORY, LISTEN } from '../../src/hostile-repository.ts'
import { shippedEngine } from '../../src/shipped-engines.ts'

const MADE = '/workspace/made.txt'
const GIT = 'git init -q .'
const COMMIT = 'git add -A && git -c user.name=x -c user.email=x@localhost commit -qm x'

/** What differs from engine to engine in what is said to it and in what it sends. */
type Peculiar = {
  model: string
  /** By the names of the engine: one that may be used, and one that writes and may not. */
  reader: string
  writer: { name: string; input: Record<string, unknown> }
  greet: { name: string; input: Record<string, unknown>; isCustom?: boolean }
}

const ENGINES: Readonly<Record<Exclude<CodedAdapter, 'shell'>, Peculiar>> = {
  'claude-code': {
    model: 'claude-sonnet-4-5',
    reader: 'Read',
    writer: { name: 'Write', input: { file_path: MADE, content: 'made' } },
    greet: { name: 'mcp__own__greet', input: {} },
  },
  codex: {
    model: 'gpt-5.6-sol',
    reader: '',
    writer: { name: '', input: {} },
    greet: { name: 'exec', input: { input: 'text(await tools.mcp__own__greet({}))' }, isCustom: true },
  },
  opencode: {
    model: 'claude-sonnet-4-5',
    reader: 'read',
    writer: { name: 'write', input: { filePath: MADE, content: 'made' } },
    greet: { name: 'own_greet', input: {} },
  },
  gemini: {
    model: 'gemini-2.5-pro',
    reader: 'read_file',
    writer: { name: 'write_file', input: { file_path: MADE, content: 'made' } },
    greet: { name: 'mcp_own_greet', input: {} },
  },
}

/** A server of one tool, which says in a file that it was started and with what. */
const SERVER = `
require('node:fs').writeFileSync('/workspace/started', process.env.OF_SERVER ?? '')
const send = (message) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n')
const answers = {
  initialize: ({ protocolVersion }) => ({ protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'own', version: '1' } }),
  'tools/list': () => ({ tools: [{ name: 'greet', description: 'Greets', inputSchema: { type: 'object', properties: {} } }] }),
  'tools/call': () => ({ content: [{ type: 'text', text: 'greeted by the server' }] }),
}
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params } = JSON.parse(line)
  if (id !== undefined) send({ id, result: answers[method]?.(params) ?? {} })
})
`

const world = async (t: Test, options?: Parameters<typeof engineWorld>[0]): Promise<EngineWorld> => {
  const made = await engineWorld(options)
  t.teardown(made.close)
  return made
}
const said = ({ provider }: EngineWorld): string => JSON.stringify(provider.heard.map(({ body }) => body))
const modelsOf = ({ provider }: EngineWorld): string[] => [
  ...new Set(provider.heard.map(({ path, body }) => String(body.model ?? /models\/([^:]+):/.exec(path)?.[1]))),
]

export async function engineCases(t: TAP, engine: keyof typeof ENGINES): Promise<void> {
  const { model, reader, writer, greet } = ENGINES[engine]
  const can = capabilitiesOf(shippedEngine(engine))
  const needs = await needsEngine(engine)

  await t.test(
    'changes a file by a tool, with the model that was asked for and the instructions of the run',
    needs,
    async (t) => {
      const own = await world(t)
      own.provider.behave({ writes: MADE })
      const end = await own.run(engine, {
        ...{ model, before: GIT, system: 'Words of the system: "brief" \\ ✓' },
        // Whatever it begins with, it is a prompt.
        prompt: '--help, words of the prompt\n',
      })
      t.match(end, { exitCode: 0, files: { 'made.txt': 'made' } }, end.stderr)
      t.match(end.outcome, { answer: /Ferne/, failure: null, sessionId: /./ })
      t.match(
        end.events.map(({ type }) => type),
        ['session', 'tool', 'toolResult', 'message'],
      )
      const heard = said(own)
      t.match(heard, 'Words of the system: \\"brief\\" \\\\ ✓')
      t.match(heard, '--help, words of the prompt')
      t.strictSame(modelsOf(own), [model], 'and no call of another model')
      t.equal(own.calls().length, own.provider.heard.length)
      t.ok(own.calls().every(({ state }) => state === 'settled'))
      t.comment(`took ${end.tookMs} ms`)
    },
  )

  await t.test('ends after one call that a limit refuses', needs, async (t) => {
    const own = await world(t, { limits: [{ scope: 'command', id: 'c', unit: 'requests', most: 2 }] })
    own.provider.behave({ writes: MADE, isEndless: true })
    const end = await own.run(engine, { model, prompt: 'Go on for ever', before: GIT })
    t.not(end.exitCode, 0)
    t.equal(own.provider.heard.length, 2)
    t.equal(own.refusals.length, 1, 'and does not ask again')
    t.match(end.outcome, { failure: { code: 'GATEWAY_ERROR' } })
  })

  await t.test('ends after one call that its money is not enough for', needs, async (t) => {
    const own = await world(t, {
      models: [model],
      limits: [{ scope: 'command', id: 'c', unit: 'microUsd', most: 1000 }],
    })
    own.provider.behave({ writes: MADE })
    const end = await own.run(engine, { model, prompt: 'Spend', before: GIT })
    t.not(end.exitCode, 0)
    t.equal(own.provider.heard.length, 0)
    t.equal(own.refusals.length, 1)
  })

  await t.test('gets nothing from a hostile repository, and its words all the same', needs, async (t) => {
    const own = await world(t)
    own.provider.behave({ writes: MADE })
    const end = await own.run(engine, {
      ...{ model, prompt: 'Write it', files: HOSTILE_REPOSITORY },
      ...{ before: `${GIT} && ${COMMIT}; ${LISTEN}`, after: FIRED },
    })
    t.match(end, { exitCode: 0, files: { 'made.txt': 'made' } }, end.stderr)
    t.notMatch(end.stderr, 'fired-')
    t.match(said(own), 'Words of the repository.')
    t.notMatch(JSON.stringify(own.provider.heard), 'stolen')
  })

  await t.test(
    'finds no key: not in its environment, its files, its processes and what the gateway answers',
    needs,
    async (t) => {
      const own = await world(t)
      const look = `(env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; grep -rl ${KEY.slice(4)} /home /tmp /input /gateway /workspace; ls -la /gateway) >/tmp/found 2>&1; grep -c 'of-the-provider' /tmp/found >${MADE}`
      own.provider.behave({ runs: look })
      const end = await own.run(engine, { model, prompt: 'Look for it', before: GIT })
      // The command that looks has a part of it.
      t.notMatch([end.files, end.lines, end.stderr].map((each) => JSON.stringify(each)).join(''), KEY)
      t.equal(end.exitCode, 0, end.stderr)
      t.ok(own.provider.heard.every(({ headers }) => JSON.stringify(headers).includes(KEY)))
    },
  )

  await t.test('takes a prompt of 250,000 characters', needs, async (t) => {
    const own = await world(t)
    const end = await own.run(engine, { model, prompt: `-- ${'x'.repeat(250_000)} its end`, before: GIT })
    t.equal(end.exitCode, 0, end.stderr)
    t.match(said(own), 'xxx its end')
    t.match(end.outcome?.answer, 'Grüße aus der Ferne 🌍')
  })

  await t.test('starts the MCP servers of the run, and calls their tools', needs, async (t) => {
    const own = await world(t)
    own.provider.behave({ calls: greet })
    const end = await own.run(engine, {
      ...{ model, prompt: 'Greet', before: GIT, files: { 'server.cjs': SERVER } },
      mcpServers: { own: { command: 'node', args: ['/workspace/server.cjs'], env: { OF_SERVER: 'its "own"' } } },
    })
    t.equal(end.exitCode, 0, end.stderr)
    t.equal(end.files.started, 'its "own"')
    t.match(JSON.stringify(end.events.filter(({ type }) => type === 'toolResult')), 'greeted by the server')
    t.match(JSON.stringify(own.provider.heard.at(-1)?.body), 'greeted by the server')
  })

  if (can.tools)
    await t.test('uses no tool that is not allowed, and none that is denied', needs, async (t) => {
      for (const tools of [{ allow: [reader] }, { allow: [] }, { deny: [writer.name] }]) {
        const own = await world(t)
        own.provider.behave({ calls: writer })
        const end = await own.run(engine, { model, prompt: 'Write', before: GIT, tools })
        t.equal(end.files['made.txt'], undefined, JSON.stringify(tools))
        t.notOk(end.events.some((event) => event.type === 'toolResult' && event.ok !== false))
      }
      const own = await world(t)
      own.provider.behave({ calls: writer })
      const end = await own.run(engine, { model, prompt: 'Write', before: GIT, tools: { allow: [writer.name] } })
      t.equal(end.files['made.txt'], 'made', end.stderr)
    })

  if (can.resume)
    await t.test('goes on with a conversation in another container', needs, async (t) => {
      const own = await world(t)
      const first = await own.run(engine, { model, prompt: 'The first words', system: 'Old rules', before: GIT })
      const sessionId = first.outcome?.sessionId ?? ''
      const again = { model, prompt: 'The second words', system: 'New rules', resume: sessionId, before: GIT }
      const second = await own.run(engine, { ...again, session: first.session })
      t.equal(second.exitCode, 0, second.stderr)
      t.equal(second.outcome?.sessionId, sessionId)
      const last = JSON.stringify(own.provider.heard.at(-1)?.body)
      for (const words of ['The first words', 'Grüße aus der Ferne', 'The second words', 'New rules'])
        t.match(last, words)
      const without = await own.run(engine, again)
      t.not(without.exitCode, 0, 'and not without what the first has left')
    })
}
