/** OpenCode: `opencode run`, which asks for models of two providers in three formats. */
import type { EngineEvent, Tools } from '@agent-executor/protocol'
import type { EngineAdapter, EngineCall, EngineParser, EngineRun } from './engine.ts'
import { cut, type Fields, fields, objectOf, shown, text } from './lines.ts'

export const opencode: EngineAdapter = {
  name: 'opencode',
  call,
  parser,
  // The rest of that folder are repositories and programs.
  sessionFiles: ['', '-wal', '-shm'].map((end) => `.local/share/opencode/opencode.db${end}`),
}

const FOLDER = '.agent-executor'

/** Of OpenCode, by their ids there, and with what each is asked. */
const PROVIDERS: Readonly<Record<string, { npm: string }>> = {
  anthropic: { npm: '@ai-sdk/anthropic' },
  openai: { npm: '@ai-sdk/openai' },
  'openai-chat': { npm: '@ai-sdk/openai-compatible' },
}

/** `provider/model`, or a model alone, whose name says whose it is. */
function placed(model: string): { provider: string; model: string } {
  const [first = '', ...rest] = model.split('/')
  if (rest.length > 0 && PROVIDERS[first] !== undefined) return { provider: first, model: rest.join('/') }
  const provider = /^claude/.test(model) ? 'anthropic' : /^(gpt-|o\d|codex)/.test(model) ? 'openai' : 'openai-chat'
  return { provider, model }
}

function call({ model, system, tools, mcpServers, resume, gatewayUrl, folders }: EngineRun): EngineCall {
  const at = model === null ? null : placed(model)
  const provider = (id: string, models: object) => ({
    npm: PROVIDERS[id]?.npm,
    // It wants a key; the gateway puts its own in its place.
    options: { baseURL: `${gatewayUrl}/v1`, apiKey: 'none' },
    models,
  })
  const config = {
    autoupdate: false,
    share: 'disabled',
    // To undo what it has done, which nobody will ask for.
    snapshot: false,
    // It waits for ever for an answer to a question.
    permission: permissions(tools),
    ...(at === null
      ? { provider: { anthropic: provider('anthropic', {}), openai: provider('openai', {}) } }
      : {
          model: `${at.provider}/${at.model}`,
          // Small things too, or it picks a model of its own.
          small_model: `${at.provider}/${at.model}`,
          enabled_providers: [at.provider],
          provider: { [at.provider]: provider(at.provider, { [at.model]: {} }) },
        }),
    // With the settings of the repository its words are left out too.
    instructions: [
      `${folders.workspace}/AGENTS.md`,
      ...(system === null ? [] : [`${folders.home}/${FOLDER}/system.md`]),
    ],
    mcp: Object.fromEntries(
      Object.entries(mcpServers).map(([name, { command, args = [], env = {} }]) => [
        name,
        { type: 'local', command: [command, ...args], environment: env, enabled: true },
      ]),
    ),
  }
  return {
    argv: [
      // Without a title it asks a model for one.
      ...['opencode', 'run', '--pure', '--format', 'json', '--title', 'run', '--dir', folders.workspace],
      ...(at === null ? [] : [`--model=${at.provider}/${at.model}`]),
      ...(resume === null ? [] : [`--session=${resume}`]),
    ],
    stdin: 'prompt',
    env: {
      OPENCODE_CONFIG: `${folders.home}/${FOLDER}/opencode.json`,
      OPENCODE_DISABLE_PROJECT_CONFIG: '1',
      OPENCODE_PURE: '1',
      OPENCODE_DISABLE_AUTOUPDATE: '1',
      OPENCODE_DISABLE_MODELS_FETCH: '1',
      OPENCODE_DISABLE_LSP_DOWNLOAD: '1',
      OPENCODE_DISABLE_SHARE: '1',
      OPENCODE_EXPERIMENTAL_DISABLE_FILEWATCHER: '1',
      npm_config_offline: 'true',
      ...{ NO_COLOR: '1', TERM: 'dumb' },
    },
    homeFiles: [
      { path: `${FOLDER}/opencode.json`, content: JSON.stringify(config) },
      ...(system === null ? [] : [{ path: `${FOLDER}/system.md`, content: system }]),
    ],
    // A part of it looks there whatever it is told, and runs what it finds.
    quarantine: ['.opencode', 'opencode.json', 'opencode.jsonc'],
  }
}

const permissions = ({ allow, deny = [] }: Tools): object | string => {
  if (allow === undefined && deny.length === 0) return 'allow'
  // The last that fits counts.
  return Object.fromEntries([
    ['*', allow === undefined ? 'allow' : 'deny'],
    ...(allow ?? []).map((name) => [permissionOf(name), 'allow'] as const),
    ...deny.map((name) => [permissionOf(name), 'deny'] as const),
  ])
}

/** Whatever changes files has one permission. */
const permissionOf = (tool: string): string => (['write', 'patch', 'apply_patch'].includes(tool) ? 'edit' : tool)

function parser(): EngineParser {
  let sessionId: string | null = null
  let answer: string | null = null
  let failure: { message: string; isOfCall: boolean } | null = null

  const take = (line: string): EngineEvent[] => {
    const event = objectOf(line)
    if (event === null) return []
    const id = text(event.sessionID)
    const isNew = id !== null && id !== sessionId
    if (isNew) sessionId = id
    return [...(isNew ? [{ type: 'session' as const, sessionId: cut(id) }] : []), ...told(event)]
  }
  const told = (event: Fields): EngineEvent[] => {
    const part = fields(event.part)
    switch (event.type) {
      case 'text': {
        const words = text(part.text)
        if (words === null) return []
        answer = words
        return [{ type: 'message', text: cut(words) }]
      }
      case 'tool_use': {
        const state = fields(part.state)
        const name = cut(text(part.tool) ?? '')
        // A tool of its own, which takes what it cannot give to any other.
        const isRefused = name === 'invalid' || state.status === 'error'
        const ok = isRefused ? false : state.status === 'completed' ? true : null
        const output = text(state.output) ?? text(state.error) ?? ''
        return [
          { type: 'tool', name, input: cut(shown(state.input)) },
          { type: 'toolResult', name, ok, output: cut(output) },
        ]
      }
      case 'error': {
        const error = fields(event.error)
        const data = fields(error.data)
        const message = text(data.message) ?? text(error.message) ?? text(error.name) ?? 'OpenCode says that it failed.'
        failure = { message, isOfCall: error.name === 'APIError' || typeof data.statusCode === 'number' }
        return [{ type: 'error', text: cut(message) }]
      }
      default:
        return []
    }
  }
  return {
    take,
    outcome: () => ({
      answer,
      sessionId,
      failure:
        failure === null
          ? null
          : { code: failure.isOfCall ? 'GATEWAY_ERROR' : 'ENGINE_ERROR', message: cut(failure.message) },
    }),
  }
}
