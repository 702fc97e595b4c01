/** Codex: `codex exec --json`, with all its settings in a file. */
import type { EngineEvent } from '@agent-executor/protocol'
import type { EngineAdapter, EngineCall, EngineParser, EngineRun } from './engine.ts'
import { cut, type Fields, fields, list, objectOf, shown, text } from './lines.ts'
import { tomlOf } from './toml.ts'

export const codex: EngineAdapter = {
  name: 'codex',
  call,
  parser,
  sessionFiles: ['.codex/sessions'],
}

function call({ model, system, mcpServers, resume, gatewayUrl, folders }: EngineRun): EngineCall {
  const config = tomlOf({
    ...(model === null ? {} : { model }),
    // Another than that of its own name: it would try WebSockets first.
    model_provider: 'gateway',
    model_providers: {
      gateway: {
        name: 'gateway',
        base_url: `${gatewayUrl}/v1`,
        env_key: 'GATEWAY_KEY',
        wire_api: 'responses',
        // A provider that is busy costs nothing, and a refusal of the gateway is not repeated whatever is here; what a
        // stream that broke off has said is paid for.
        request_max_retries: 4,
        stream_max_retries: 2,
        stream_idle_timeout_ms: 600_000,
      },
    },
    approval_policy: 'never',
    sandbox_mode: 'danger-full-access',
    check_for_update_on_startup: false,
    analytics: { enabled: false },
    // What asks the world at its start, and what waits for ever where nobody answers.
    features: { plugins: false, apps: false, unbounded_connection_retries: false },
    // A conversation keeps those that it began with; the other place is read whenever it goes on.
    ...(system === null
      ? {}
      : resume === null
        ? { developer_instructions: system }
        : { project_doc_max_bytes: 2 ** 20 }),
    mcp_servers: Object.fromEntries(
      Object.entries(mcpServers).map(([name, { command, args = [], env = {} }]) => [name, { command, args, env }]),
    ),
  })
  const flags = ['--json', '--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox']
  return {
    argv: ['codex', 'exec', ...(resume === null ? flags : ['resume', ...flags, resume]), '-'],
    stdin: 'prompt',
    // It wants a key; the gateway puts its own in its place.
    env: { CODEX_HOME: `${folders.home}/.codex`, GATEWAY_KEY: 'none', NO_COLOR: '1', TERM: 'dumb' },
    homeFiles: [
      { path: '.codex/config.toml', content: config },
      ...(system === null || resume === null ? [] : [{ path: '.codex/AGENTS.md', content: system }]),
    ],
    quarantine: [],
  }
}

function parser(): EngineParser {
  let sessionId: string | null = null
  let answer: string | null = null
  let failure: string | null = null
  let isWhole = false
  const begun = new Set<string>()

  const take = (line: string): EngineEvent[] => {
    const event = objectOf(line)
    if (event === null) return []
    const item = fields(event.item)
    switch (event.type) {
      case 'thread.started': {
        const id = text(event.thread_id)
        if (id === null) return []
        sessionId = id
        return [{ type: 'session', sessionId: cut(id) }]
      }
      case 'item.started':
        begun.add(shown(item.id))
        return called(item)
      case 'item.completed':
        return [...(begun.delete(shown(item.id)) ? [] : called(item)), ...ended(item)]
      case 'turn.completed':
        isWhole = true
        failure = null
        return []
      case 'turn.failed': {
        const said = text(fields(event.error).message) ?? 'Codex says that its turn failed.'
        const isKnown = said === failure
        failure = said
        return isKnown ? [] : [{ type: 'error', text: cut(said) }]
      }
      case 'error': {
        const said = text(event.message) ?? 'Codex says that something failed.'
        failure = said
        return [{ type: 'error', text: cut(said) }]
      }
      default:
        return []
    }
  }
  const ended = (item: Fields): EngineEvent[] => {
    const words = text(item.type === 'error' ? item.message : item.text)
    if (item.type === 'agent_message' && words !== null) {
      answer = words
      return [{ type: 'message', text: cut(words) }]
    }
    // It goes on after one; what ends a turn is told as `turn.failed`.
    if (item.type === 'error' && words !== null) return [{ type: 'error', text: cut(words) }]
    const tool = toolOf(item)
    if (tool === null) return []
    const ok = item.status === 'completed' ? true : item.status === undefined ? null : false
    return [{ type: 'toolResult', name: tool.name, ok, output: cut(tool.output) }]
  }
  return {
    take,
    outcome: (exitCode) => ({
      answer,
      sessionId,
      failure:
        failure !== null
          ? { code: isOfCall(failure) ? 'GATEWAY_ERROR' : 'ENGINE_ERROR', message: cut(failure) }
          : !isWhole && exitCode === 0
            ? { code: 'ENGINE_ERROR', message: 'Codex ended without the end of a turn.' }
            : null,
    }),
  }
}

/** It tells a failed call of the model in words alone. */
const isOfCall = (message: string): boolean =>
  /unexpected status \d|exceeded retry limit|stream disconnected|quota|high demand|error sending request|reconnecting/i.test(
    message,
  )

const called = (item: Fields): EngineEvent[] => {
  const tool = toolOf(item)
  return tool === null ? [] : [{ type: 'tool', name: cut(tool.name), input: cut(tool.input) }]
}

/** Null for what is no tool. */
function toolOf(item: Fields): { name: string; input: string; output: string } | null {
  switch (item.type) {
    case 'command_execution':
      return { name: 'command', input: shown(item.command), output: shown(item.aggregated_output) }
    case 'file_change':
      return { name: 'file_change', input: shown(list(item.changes)), output: '' }
    case 'mcp_tool_call': {
      const parts = list(fields(item.result).content).map((part) => text(fields(part).text) ?? '')
      return {
        name: `mcp__${shown(item.server)}__${shown(item.tool)}`,
        input: shown(item.arguments),
        output: text(fields(item.error).message) ?? parts.join('\n'),
      }
    }
    case 'web_search':
      return { name: 'web_search', input: shown(item.query), output: '' }
    default:
      return null
  }
}
