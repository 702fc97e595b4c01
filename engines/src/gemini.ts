/** Gemini CLI, whose instructions and limits of tools are files of its home. */
import type { EngineEvent, Tools } from '@agent-executor/protocol'
import type { EngineAdapter, EngineCall, EngineOutcome, EngineParser, EngineRun } from './engine.ts'
import { cut, type Fields, fields, objectOf, shown, text } from './lines.ts'

export const gemini: EngineAdapter = {
  name: 'gemini',
  call,
  parser,
  sessionFiles: ['.gemini/tmp'],
}

function call({ model, system, tools, mcpServers, sessionId, resume, gatewayUrl, folders }: EngineRun): EngineCall {
  const settings = {
    // Without it the address of the gateway chooses a way to sign in that it then refuses.
    security: { auth: { selectedType: 'gemini-api-key' } },
    general: { enableAutoUpdate: false, enableAutoUpdateNotification: false, maxAttempts: 5 },
    privacy: { usageStatisticsEnabled: false },
    telemetry: { enabled: false },
    // One of the workspace could name a proxy.
    advanced: { ignoreLocalEnv: true, autoConfigureMemory: false },
    tools: toolSettings(tools),
    mcpServers: Object.fromEntries(
      Object.entries(mcpServers).map(([name, server]) => [name, { ...server, trust: true }]),
    ),
  }
  return {
    argv: [
      ...['gemini', '--output-format', 'stream-json', '--approval-mode', 'yolo'],
      '--skip-trust',
      ...(model === null ? [] : [`--model=${model}`]),
      ...(resume === null ? [`--session-id=${sessionId}`] : [`--resume=${resume}`]),
    ],
    stdin: 'prompt',
    env: {
      GOOGLE_GEMINI_BASE_URL: gatewayUrl,
      GEMINI_API_KEY: 'none',
      GEMINI_CLI_HOME: folders.home,
      // It would start itself again with other limits of memory, those of the machine.
      GEMINI_CLI_NO_RELAUNCH: 'true',
      // It warns of a terminal that has none.
      ...{ NO_COLOR: '1', TERM: 'xterm-256color', COLORTERM: 'truecolor' },
    },
    homeFiles: [
      { path: '.gemini/settings.json', content: JSON.stringify(settings) },
      ...(system === null ? [] : [{ path: '.gemini/GEMINI.md', content: system }]),
    ],
    // To run at all it has to trust: these could name a proxy, start servers and allow tools.
    quarantine: ['.gemini/.env', '.gemini/settings.json', '.gemini/policies', '.gemini/extensions'],
  }
}

const toolSettings = ({ allow, deny }: Tools): object => ({
  ...(allow === undefined ? {} : { core: allow }),
  ...(deny === undefined ? {} : { exclude: deny }),
})

function parser(): EngineParser {
  let sessionId: string | null = null
  let answer: string | null = null
  let words = ''
  let result: Fields | null = null
  let lastError: string | null = null
  const names = new Map<string, string>()

  /** A message comes in pieces, and whatever else comes ends it. */
  const spoken = (): EngineEvent[] => {
    if (words === '') return []
    answer = words
    words = ''
    return [{ type: 'message', text: cut(answer) }]
  }
  const take = (line: string): EngineEvent[] => {
    const event = objectOf(line)
    if (event === null) return []
    if (event.type === 'message' && event.role === 'assistant') {
      words += shown(event.content)
      return []
    }
    return [...spoken(), ...told(event)]
  }
  const told = (event: Fields): EngineEvent[] => {
    switch (event.type) {
      case 'init': {
        const id = text(event.session_id)
        if (id === null) return []
        sessionId = id
        return [{ type: 'session', sessionId: cut(id) }]
      }
      case 'tool_use': {
        const name = cut(text(event.tool_name) ?? '')
        names.set(shown(event.tool_id), name)
        return [{ type: 'tool', name, input: cut(shown(event.parameters)) }]
      }
      case 'tool_result': {
        const id = shown(event.tool_id)
        const name = names.get(id) ?? null
        names.delete(id)
        const output = text(event.output) ?? text(fields(event.error).message) ?? ''
        return [{ type: 'toolResult', name, ok: event.status === 'success', output: cut(output) }]
      }
      case 'error': {
        const message = text(event.message) ?? 'Gemini CLI says that something failed.'
        if (event.severity !== 'warning') lastError = message
        return [{ type: 'error', text: cut(message) }]
      }
      case 'result':
        result = event
        return []
      default:
        return []
    }
  }
  return {
    take,
    outcome: (exitCode) => {
      spoken()
      return { answer, sessionId, failure: failureOf(result, lastError, exitCode) }
    },
  }
}

const TURN_LIMIT_EXIT_CODE = 53
const AUTH_EXIT_CODE = 41

function failureOf(result: Fields | null, lastError: string | null, exitCode: number): EngineOutcome['failure'] {
  const error = fields(result?.error)
  const message = text(error.message) ?? lastError
  if (exitCode === TURN_LIMIT_EXIT_CODE)
    return { code: 'TURN_LIMIT', message: cut(message ?? 'Gemini CLI has reached its limit of turns.') }
  if (result === null && exitCode === 0) return { code: 'ENGINE_ERROR', message: 'Gemini CLI ended without a result.' }
  if (result?.status !== 'error' && exitCode !== AUTH_EXIT_CODE) return null
  const isOfCall = exitCode > 128 || /status|quota|API|fetch failed/i.test(`${shown(error.type)} ${message ?? ''}`)
  return {
    code: isOfCall ? 'GATEWAY_ERROR' : 'ENGINE_ERROR',
    message: cut(message ?? `Gemini CLI failed with ${exitCode}.`),
  }
}
