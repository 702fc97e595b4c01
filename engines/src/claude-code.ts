/** Claude Code: `claude -p`, which prints a JSON object a line. */
import type { EngineEvent, Tools } from '@agent-executor/protocol'
import type { EngineAdapter, EngineCall, EngineOutcome, EngineParser, EngineRun } from './engine.ts'
import { cut, type Fields, fields, list, objectOf, shown, text } from './lines.ts'

const FOLDER = '.agent-executor'

export const claudeCode: EngineAdapter = {
  name: 'claude-code',
  call,
  parser,
  sessionFiles: ['.claude/projects'],
}

function call({ model, system, tools, mcpServers, sessionId, resume, gatewayUrl, folders }: EngineRun): EngineCall {
  const inFolder = (name: string): string => `${folders.home}/${FOLDER}/${name}`
  const settings = {
    // Before what the repository's own settings say, which are read for nothing but this.
    env: { ANTHROPIC_BASE_URL: gatewayUrl },
    disableAllHooks: true,
    apiKeyHelper: '',
  }
  const hasServers = Object.keys(mcpServers).length > 0
  return {
    argv: [
      ...['claude', '-p', '--output-format', 'stream-json', '--verbose'],
      // Where some are allowed, those of MCP servers that are not are refused as they are called.
      tools.allow === undefined ? '--dangerously-skip-permissions' : '--permission-mode=dontAsk',
      ...(resume === null ? [`--session-id=${sessionId}`] : [`--resume=${resume}`]),
      ...(model === null ? [] : [`--model=${model}`]),
      ...['--settings', inFolder('settings.json'), '--strict-mcp-config'],
      ...(hasServers ? ['--mcp-config', inFolder('mcp.json')] : []),
      // What a conversation began with would otherwise stay its instructions when it goes on.
      ...(system === null ? [] : ['--append-system-prompt-file', inFolder('system.md')]),
      ...['--system-prompt-snapshot', 'off'],
      ...toolFlags(tools),
    ],
    stdin: 'prompt',
    env: {
      ANTHROPIC_BASE_URL: gatewayUrl,
      // It wants one; the gateway puts its own in its place.
      ANTHROPIC_API_KEY: 'none',
      CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST: '1',
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: '1',
      // A second request for an answer that broke off would be paid for twice.
      CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK: '1',
      CLAUDE_CODE_MAX_RETRIES: '5',
      CLAUDE_CODE_MAX_OUTPUT_TOKENS: '32000',
      API_TIMEOUT_MS: '600000',
      DISABLE_AUTOUPDATER: '1',
      ...QUIET,
    },
    homeFiles: [
      { path: `${FOLDER}/settings.json`, content: JSON.stringify(settings) },
      ...(hasServers ? [{ path: `${FOLDER}/mcp.json`, content: JSON.stringify({ mcpServers }) }] : []),
      ...(system === null ? [] : [{ path: `${FOLDER}/system.md`, content: system }]),
    ],
    // The repository could allow more.
    quarantine: tools.allow === undefined ? [] : ['.claude/settings.json', '.claude/settings.local.json'],
  }
}

const QUIET = { NO_COLOR: '1', TERM: 'dumb' }

const toolFlags = ({ allow, deny = [] }: Tools): string[] => [
  ...(allow === undefined ? [] : [`--tools=${allow.filter((name) => !name.startsWith('mcp__')).join(',')}`]),
  ...(allow === undefined || allow.length === 0 ? [] : [`--allowedTools=${allow.join(',')}`]),
  ...(deny.length === 0 ? [] : [`--disallowedTools=${deny.join(',')}`]),
]

function parser(): EngineParser {
  let sessionId: string | null = null
  let lastText: string | null = null
  let result: Fields | null = null
  const names = new Map<string, string>()

  const take = (line: string): EngineEvent[] => {
    const event = objectOf(line)
    if (event === null) return []
    switch (event.type) {
      case 'system': {
        const id = text(event.session_id)
        if (event.subtype === 'api_retry')
          return [{ type: 'error', text: `A call of the model failed with ${shown(event.error_status)}, tried again` }]
        if (event.subtype !== 'init' || id === null) return []
        sessionId = id
        return [{ type: 'session', sessionId: cut(id) }]
      }
      case 'assistant': {
        const message = fields(event.message)
        // Its own words for a call that failed, which are in the result too.
        if (message.model === '<synthetic>') return []
        return list(message.content).flatMap((block) => said(fields(block)))
      }
      case 'user':
        return list(fields(event.message).content).flatMap((block) => returned(fields(block)))
      case 'result':
        result = event
        sessionId = text(event.session_id) ?? sessionId
        return []
      default:
        return []
    }
  }
  const said = (block: Fields): EngineEvent[] => {
    const words = text(block.text)
    if (block.type === 'text' && words !== null) {
      lastText = words
      return [{ type: 'message', text: cut(words) }]
    }
    if (block.type !== 'tool_use') return []
    const name = text(block.name) ?? ''
    names.set(shown(block.id), name)
    return [{ type: 'tool', name: cut(name), input: cut(shown(block.input)) }]
  }
  const returned = (block: Fields): EngineEvent[] => {
    if (block.type !== 'tool_result') return []
    const id = shown(block.tool_use_id)
    const name = names.get(id) ?? null
    names.delete(id)
    const parts = list(block.content).map((part) => text(fields(part).text) ?? '')
    const output = typeof block.content === 'string' ? block.content : parts.join('\n')
    return [{ type: 'toolResult', name, ok: block.is_error !== true, output: cut(output) }]
  }
  return {
    take,
    outcome: (exitCode) => ({
      answer: result?.is_error === true ? lastText : (text(result?.result) ?? lastText),
      sessionId,
      failure: failureOf(result, exitCode),
    }),
  }
}

/** `subtype` is `success` also where a call of the model failed: `is_error` is what counts. */
function failureOf(result: Fields | null, exitCode: number): EngineOutcome['failure'] {
  if (result === null)
    return exitCode === 0 ? { code: 'ENGINE_ERROR', message: 'Claude Code ended without a result.' } : null
  if (result.is_error !== true && result.subtype === 'success') return null
  const said = [text(result.result), ...list(result.errors).map(text)].filter((each) => each !== null).join('\n')
  const message = cut(said === '' ? `Claude Code ended with ${shown(result.subtype)}.` : said)
  if (result.subtype === 'error_max_turns') return { code: 'TURN_LIMIT', message }
  if (result.subtype === 'error_max_budget_usd') return { code: 'BUDGET_EXCEEDED', message }
  const isOfCall = typeof result.api_error_status === 'number' || result.terminal_reason === 'api_error'
  return { code: isOfCall ? 'GATEWAY_ERROR' : 'ENGINE_ERROR', message }
}
