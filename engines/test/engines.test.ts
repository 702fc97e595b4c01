// From a run to a call, and from lines that the real programs have printed to events and outcomes.
import { readFileSync } from 'node:fs'
import { CODED_ADAPTERS, type CodedAdapter, capabilitiesOf, definitionOf, type Engine } from '@agent-executor/protocol'
import fc from 'fast-check'
import t from 'tap'
import { adapterOf, type EngineAdapter, type EngineRun } from '../src/index.ts'

const FOLDERS = { input: '/input', home: '/home/agent', workspace: '/workspace' }
const RUN: EngineRun = {
  ...{ model: 'claude-sonnet-4-5', system: null, tools: {}, mcpServers: {}, resume: null },
  ...{ sessionId: '5f0d0a56-94ac-5c4b-9a4c-1c9d5b4a8d10', gatewayUrl: 'http://127.0.0.1:4000', folders: FOLDERS },
}
const of = (adapter: CodedAdapter) => definitionOf('own', 1, { adapter })
const WITH_MODEL = CODED_ADAPTERS.filter((name) => of(name).providers.length > 0)

const adapter = (name: CodedAdapter): EngineAdapter => adapterOf(of(name)) as EngineAdapter
const callOf = (name: CodedAdapter, change: Partial<EngineRun> = {}) => adapter(name).call({ ...RUN, ...change })
/** The one file of the home that has this in its name. */
const fileOf = (name: CodedAdapter, part: string, change: Partial<EngineRun> = {}): string | undefined =>
  callOf(name, change).homeFiles.find(({ path }) => path.includes(part))?.content
const settingsOf = (name: CodedAdapter, part: string, change: Partial<EngineRun> = {}) =>
  JSON.parse(fileOf(name, part, change) ?? 'null') as Record<string, unknown>

const fixture = (name: string): string[] =>
  readFileSync(new URL(`../../test/fixtures/${name}.jsonl`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')

const read = (name: CodedAdapter, lines: readonly string[], exitCode: number) => {
  const parser = adapter(name).parser?.()
  if (parser === undefined) throw new Error(`${name} has no parser`)
  return { events: lines.flatMap((line) => parser.take(line)), outcome: parser.outcome(exitCode) }
}

t.test('every adapter of the protocol is there', async (t) => {
  for (const name of CODED_ADAPTERS) t.equal(adapter(name).name, name)
  t.equal(adapterOf({ adapter: 'another' as CodedAdapter }), undefined)
})

t.test('a program is called as its document says, and what a run says is filled in', async (t) => {
  const program: NonNullable<Engine['program']> = {
    argv: ['own', '--file', '{{prompt}}', '--in={{ workspace }}', '{{unknown}}'],
    with: { model: ['--model', '{{model}}'], system: ['--read', '{{system}}'] },
    env: { BASE_URL: '{{gateway}}/v1', PLAIN: 'as it is' },
    files: [{ path: '.own/settings', content: 'home = {{home}}, session = {{sessionId}}' }],
    quarantine: ['.own'],
  }
  const definition = definitionOf('own', 1, { adapter: 'program', providers: ['openai'], program })
  t.match(capabilitiesOf(definition), {
    model: true,
    system: true,
    tools: false,
    mcp: false,
    resume: false,
    limits: true,
  })
  const called = adapterOf(definition)?.call({ ...RUN, model: 'm', system: 'Be {{brief}}.' })
  t.strictSame(called, {
    argv: [
      ...['own', '--file', '/input/prompt', '--in=/workspace', '{{unknown}}', '--model', 'm'],
      ...['--read', '/home/agent/.agent-executor/system.md'],
    ],
    stdin: 'nothing',
    env: { BASE_URL: 'http://127.0.0.1:4000/v1', PLAIN: 'as it is' },
    homeFiles: [
      { path: '.own/settings', content: `home = /home/agent, session = ${RUN.sessionId}` },
      { path: '.agent-executor/system.md', content: 'Be {{brief}}.' },
    ],
    quarantine: ['.own'],
  })
  t.strictSame(adapterOf(definition)?.call({ ...RUN, model: null }).argv.length, 5, 'without what the run does not say')
  t.equal(adapterOf(definition)?.call({ ...RUN, model: '{{home}}' }).argv[6], '{{home}}', 'filled in once')
})

t.test('the answer of a program is the end of what it prints, or what an adapter reads in it', async (t) => {
  const parse = (program: NonNullable<Engine['program']>, lines: readonly string[]) => {
    const parser = adapterOf(definitionOf('own', 1, { adapter: 'program', program }))?.parser?.()
    return { events: lines.flatMap((line) => parser?.take(line) ?? []), outcome: parser?.outcome(0) }
  }
  const argv = ['own']
  t.strictSame(parse({ argv }, ['one', 'two']), {
    events: [],
    outcome: { answer: 'one\ntwo', sessionId: null, failure: null },
  })
  t.match(parse({ argv }, []), { outcome: { answer: null } })
  const flood = parse({ argv }, Array<string>(5000).fill('x'.repeat(100)).concat('the end'))
  t.equal(flood.outcome?.answer?.length, 65_536)
  t.ok(flood.outcome?.answer?.endsWith('the end'))
  t.strictSame(parse({ argv, output: 'codex' }, fixture('codex-wrote')), read('codex', fixture('codex-wrote'), 0))
})

t.test(
  'what a run says is never in the arguments or the environment, but for the model, the session and the tools',
  async (t) => {
    const marker = '--marker\n"\' $(x) ✓'
    for (const name of WITH_MODEL) {
      const call = callOf(name, {
        system: marker,
        mcpServers: { own: { command: marker, args: [marker], env: { A: marker } } },
      })
      t.notMatch(JSON.stringify([call.argv, call.env]), 'marker', name)
      t.match(JSON.stringify(call.homeFiles), 'marker')
      t.equal(call.stdin, 'prompt')
      t.notOk(call.homeFiles.some(({ path }) => path.startsWith('/') || path.includes('..')))
      // What comes back from another run must not be what it is set with.
      for (const { path } of call.homeFiles)
        t.notOk(
          adapter(name).sessionFiles.some((kept) => path === kept || path.startsWith(`${kept}/`)),
          path,
        )
    }
  },
)

t.test('all calls go to the gateway, with a key that is none', async (t) => {
  for (const name of WITH_MODEL) {
    const { env, homeFiles, argv } = callOf(name)
    const all = JSON.stringify([argv, env, homeFiles])
    t.match(all, 'http://127.0.0.1:4000', name)
    t.same(
      all.match(/https?:\/\/[^"\\/]+/g)?.filter((url) => url !== 'http://127.0.0.1:4000'),
      [],
    )
  }
})

t.test('a model is asked for by its name, and none by none', async (t) => {
  t.ok(callOf('claude-code').argv.includes('--model=claude-sonnet-4-5'))
  t.match(fileOf('codex', 'config.toml', { model: 'gpt-5.6-sol' }), /^"model" = "gpt-5\.6-sol"$/m)
  t.ok(callOf('gemini', { model: 'gemini-2.5-pro' }).argv.includes('--model=gemini-2.5-pro'))
  for (const name of WITH_MODEL) {
    const { argv, homeFiles } = callOf(name, { model: null })
    t.notMatch(argv.join(' '), '--model')
    t.notMatch(fileOf(name, 'config.toml', { model: null }) ?? '', /^"model" =/m)
    t.ok(homeFiles.length > 0)
  }
})

t.test('OpenCode asks whose the model is, in the format that its provider speaks', async (t) => {
  const CASES: readonly (readonly [string, string, string])[] = [
    ['claude-sonnet-4-5', 'anthropic/claude-sonnet-4-5', '@ai-sdk/anthropic'],
    ['gpt-5.6-sol', 'openai/gpt-5.6-sol', '@ai-sdk/openai'],
    ['o4-mini', 'openai/o4-mini', '@ai-sdk/openai'],
    ['qwen3-coder', 'openai-chat/qwen3-coder', '@ai-sdk/openai-compatible'],
    ['meta/llama-4', 'openai-chat/meta/llama-4', '@ai-sdk/openai-compatible'],
    ['openai/of-our-own', 'openai/of-our-own', '@ai-sdk/openai'],
    ['openai-chat/gpt-5', 'openai-chat/gpt-5', '@ai-sdk/openai-compatible'],
    ['anthropic/fast', 'anthropic/fast', '@ai-sdk/anthropic'],
  ]
  for (const [model, placed, npm] of CASES) {
    const config = settingsOf('opencode', 'opencode.json', { model })
    const [id = ''] = placed.split('/')
    t.match(config, { model: placed, small_model: placed, enabled_providers: [id], provider: { [id]: { npm } } })
    t.ok(callOf('opencode', { model }).argv.includes(`--model=${placed}`))
  }
})

t.test('tools are limited where the engine can', async (t) => {
  const tools = { allow: ['Read', 'mcp__own__greet'], deny: ['Bash'] }
  const { argv, quarantine } = callOf('claude-code', { tools })
  t.strictSame(
    argv.filter((flag) => /ools=|permission/.test(flag)),
    ['--permission-mode=dontAsk', '--tools=Read', '--allowedTools=Read,mcp__own__greet', '--disallowedTools=Bash'],
  )
  t.ok(quarantine.includes('.claude/settings.json'), 'the repository could allow more')
  t.ok(callOf('claude-code').argv.includes('--dangerously-skip-permissions'))
  t.ok(callOf('claude-code', { tools: { allow: [] } }).argv.includes('--tools='))

  t.strictSame(settingsOf('opencode', 'opencode.json').permission, 'allow')
  t.strictSame(settingsOf('opencode', 'opencode.json', { tools: { allow: ['read', 'write'] } }).permission, {
    '*': 'deny',
    read: 'allow',
    edit: 'allow',
  })
  t.strictSame(settingsOf('opencode', 'opencode.json', { tools: { deny: ['write', 'bash'] } }).permission, {
    '*': 'allow',
    edit: 'deny',
    bash: 'deny',
  })

  t.strictSame(settingsOf('gemini', 'settings.json', { tools: { allow: ['read_file'], deny: ['glob'] } }).tools, {
    core: ['read_file'],
    exclude: ['glob'],
  })
  t.equal(capabilitiesOf(of('codex')).tools, false, 'Codex cannot')
})

t.test(
  'a conversation goes on under its id, and a new one gets the id of the command where there is a flag for it',
  async (t) => {
    t.ok(callOf('claude-code').argv.includes(`--session-id=${RUN.sessionId}`))
    t.ok(callOf('gemini').argv.includes(`--session-id=${RUN.sessionId}`))
    for (const name of WITH_MODEL) {
      const argv = callOf(name, { resume: 'earlier' }).argv
      t.ok(
        argv.some((word) => /^(--(resume|session)=)?earlier$/.test(word)),
        name,
      )
      t.notOk(argv.some((word) => word.includes(RUN.sessionId)))
      t.equal(adapter(name).sessionFiles.length > 0, capabilitiesOf(of(name)).resume)
    }
  },
)

t.test('instructions of a conversation that goes on take the place of those before', async (t) => {
  t.match(fileOf('codex', 'config.toml', { system: 'Be brief.' }), '"developer_instructions" = "Be brief."')
  t.equal(fileOf('codex', 'AGENTS.md', { system: 'Be brief.' }), undefined)
  t.equal(fileOf('codex', 'AGENTS.md', { system: 'Be brief.', resume: 'earlier' }), 'Be brief.')
  const { argv } = callOf('claude-code', { system: 'Be brief.', resume: 'earlier' })
  t.equal(argv[argv.indexOf('--system-prompt-snapshot') + 1], 'off')
})

t.test('any text is a string of TOML', async (t) => {
  const config = fileOf('codex', 'config.toml', { system: 'a "b" \\ \n\t\u0000\u007f ✓ 🌍' }) ?? ''
  t.match(config, '"developer_instructions" = "a \\"b\\" \\\\ \\n\\t\\u0000\\u007f ✓ 🌍"')
  t.equal(config.split('\n').filter((line) => line.startsWith('"developer')).length, 1)
})

t.test('a run that writes a file: what was done, what was said, and no failure', async (t) => {
  const TOOLS: Readonly<Record<string, string>> = {
    'claude-code': 'Write',
    codex: 'command',
    opencode: 'write',
    gemini: 'write_file',
  }
  for (const name of WITH_MODEL) {
    const { events, outcome } = read(name, fixture(`${name}-wrote`), 0)
    t.match(
      events,
      [
        { type: 'session', sessionId: outcome.sessionId },
        { type: 'tool', name: TOOLS[name], input: /made/ },
        { type: 'toolResult', name: TOOLS[name], ok: true },
        { type: 'message', text: 'Grüße aus der Ferne 🌍' },
      ],
      name,
    )
    t.equal(events.length, 4)
    t.match(outcome, { answer: 'Grüße aus der Ferne 🌍', sessionId: /^[\w-]{30,}$/, failure: null })
  }
})

t.test('a call that the gateway refuses is a failure of the run in the words of the refusal', async (t) => {
  const EXIT_CODES: Readonly<Record<string, number>> = { gemini: 147 }
  for (const name of WITH_MODEL) {
    const { events, outcome } = read(name, fixture(`${name}-refused`), EXIT_CODES[name] ?? 1)
    t.match(outcome, { answer: null, failure: { code: 'GATEWAY_ERROR', message: /no room for this call|Quota/ } }, name)
    t.notOk(
      events.some(({ type }) => type === 'message'),
      'and not what the engine has said',
    )
  }
})

t.test('an end that says nothing of a failure is none, and one with success and without a result is', async (t) => {
  for (const name of ['claude-code', 'codex', 'gemini'] as const) {
    t.match(read(name, [], 0).outcome, { answer: null, failure: { code: 'ENGINE_ERROR' } }, name)
    t.match(read(name, fixture(`${name}-wrote`).slice(0, -1), 0).outcome.failure, { code: 'ENGINE_ERROR' })
    t.equal(read(name, [], 143).outcome.failure, null, 'the exit code says enough')
  }
})

t.test("an engine's own limits are limits", async (t) => {
  const result = (subtype: string) => JSON.stringify({ type: 'result', subtype, is_error: true, errors: ['over'] })
  t.match(read('claude-code', [result('error_max_turns')], 1).outcome.failure, { code: 'TURN_LIMIT', message: 'over' })
  t.match(read('claude-code', [result('error_max_budget_usd')], 1).outcome.failure, { code: 'BUDGET_EXCEEDED' })
  t.match(read('claude-code', [result('error_during_execution')], 1).outcome.failure, { code: 'ENGINE_ERROR' })
  t.match(read('gemini', [], 53).outcome.failure, { code: 'TURN_LIMIT' })
  t.match(read('gemini', [], 41).outcome.failure, { code: 'ENGINE_ERROR' })
})

t.test('an error that an engine goes on after is no failure', async (t) => {
  const lines = fixture('codex-wrote')
  const failed = JSON.stringify({ type: 'error', message: 'Reconnecting... 1/1' })
  const { events, outcome } = read('codex', [...lines.slice(0, 2), failed, ...lines.slice(2)], 0)
  t.ok(events.some(({ type }) => type === 'error'))
  t.equal(outcome.failure, null)
})

t.test('a tool that was refused or failed is told as that', async (t) => {
  const claude = [
    { type: 'assistant', message: { content: [{ type: 'tool_use', id: 'a', name: 'Bash', input: { command: 'x' } }] } },
    { type: 'user', message: { content: [{ type: 'tool_result', tool_use_id: 'a', is_error: true, content: 'No.' }] } },
  ].map((line) => JSON.stringify(line))
  t.match(read('claude-code', claude, 1).events[1], { type: 'toolResult', name: 'Bash', ok: false, output: 'No.' })
  const part = { tool: 'invalid', state: { status: 'completed', input: {}, output: 'unavailable' } }
  t.match(read('opencode', [JSON.stringify({ type: 'tool_use', part })], 0).events[1], { ok: false })
  const item = { id: '1', type: 'command_execution', command: 'x', aggregated_output: 'y', status: 'failed' }
  t.match(read('codex', [JSON.stringify({ type: 'item.completed', item })], 0).events, [
    { type: 'tool', name: 'command', input: 'x' },
    { type: 'toolResult', ok: false, output: 'y' },
  ])
  const result = { type: 'tool_result', tool_id: 'b', status: 'error', error: { message: 'not found' } }
  t.match(read('gemini', [JSON.stringify(result)], 0).events, [{ ok: false, output: 'not found', name: null }])
})

t.test('texts of events are cut, and never in the middle of a character', async (t) => {
  const long = `${'x'.repeat(1999)}🌍 and more`
  const line = JSON.stringify({ type: 'item.completed', item: { id: '1', type: 'agent_message', text: long } })
  const { events, outcome } = read('codex', [line], 0)
  t.strictSame(events, [{ type: 'message', text: 'x'.repeat(1999) }])
  t.equal(outcome.answer, long)
})

t.test('whatever the sandbox prints, a parser does not throw, and its events are of the known shape', async () => {
  const words = fc.constantFrom(
    ...['assistant', 'user', 'result', 'system', 'init', 'text', 'tool_use', 'tool_result', 'error', 'message'],
    ...['item.completed', 'item.started', 'turn.failed', 'turn.completed', 'thread.started', 'command_execution'],
    ...['agent_message', 'mcp_tool_call', 'file_change', 'APIError', 'success'],
  )
  const names = fc.constantFrom(
    ...['type', 'role', 'content', 'message', 'item', 'part', 'state', 'error', 'data', 'result', 'session_id'],
    ...['sessionID', 'thread_id', 'subtype', 'id', 'text', 'tool', 'name', 'status', 'is_error', 'errors', 'changes'],
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      ...[words, fc.string(), fc.double(), fc.boolean(), fc.constant(null)],
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(names, tie('value'), { maxKeys: 6 }),
    ),
  }))
  const line = fc.oneof(
    fc.string(),
    fc.dictionary(names, value, { maxKeys: 6 }).map((each) => JSON.stringify(each)),
  )
  for (const name of WITH_MODEL)
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), fc.integer({ min: 0, max: 255 }), (lines, exitCode) => {
        const { events, outcome } = read(name, lines, exitCode)
        for (const event of events)
          for (const each of Object.values(event))
            if (typeof each !== 'string' && typeof each !== 'boolean' && each !== null) throw new Error(name)
        if (outcome.answer !== null && typeof outcome.answer !== 'string') throw new Error(name)
        if (outcome.sessionId !== null && typeof outcome.sessionId !== 'string') throw new Error(name)
      }),
      { numRuns: Number(process.env.FC_RUNS ?? 300) },
    )
})
