/**
 * What every engine promises: from a run to the call of its program, and from what it prints to events and an outcome.
 * One engine a file beside this one; everything is pure. What an engine prints is text of the sandbox: it may make a
 * failure of a success, never the reverse.
 */
import type { AdapterName, EngineEvent, FailureCode, McpServer, Tools } from '@agent-executor/protocol'

export type EngineRun = {
  /** null: the engine's own default. */
  model: string | null
  system: string | null
  tools: Tools
  mcpServers: Readonly<Record<string, McpServer>>
  /** A UUID made of the command: where the engine takes one, a second start under it fails by itself. */
  sessionId: string
  /** The engine's own id of a conversation that goes on; what `sessionFiles` names has to be back in its place. */
  resume: string | null
  /** Where the gateway answers in the sandbox, without a path: `http://127.0.0.1:4000`. */
  gatewayUrl: string
  /** In the sandbox. The prompt is `<input>/prompt`; `home` and `workspace` can be written. */
  folders: { input: string; home: string; workspace: string }
}

export type EngineCall = {
  /** Run in the workspace as it is: no shell reads it. Nothing of the prompt, of instructions or of MCP servers is in it. */
  argv: readonly string[]
  stdin: 'prompt' | 'nothing'
  env: Readonly<Record<string, string>>
  /** Paths below the home folder, written before the start. They may hold what is secret. */
  homeFiles: readonly { path: string; content: string }[]
  /** Paths below the workspace that could run code or redirect traffic: away while the engine runs. `*` as in a shell. */
  quarantine: readonly string[]
}

export type EngineOutcome = {
  answer: string | null
  sessionId: string | null
  /** What the engine says of its failure, whatever the exit code; null where it says nothing of one. */
  failure: {
    code: Extract<FailureCode, 'ENGINE_ERROR' | 'TURN_LIMIT' | 'BUDGET_EXCEEDED' | 'GATEWAY_ERROR'>
    message: string
  } | null
}

/** Of the standard output of one run. Takes whatever comes, and never throws. */
export type EngineParser = {
  /** A line without its end. */
  take: (line: string) => EngineEvent[]
  outcome: (exitCode: number) => EngineOutcome
}

export type EngineAdapter = {
  name: AdapterName
  call: (run: EngineRun) => EngineCall
  /** null: the output means nothing but itself. */
  parser: (() => EngineParser) | null
  /**
   * Where a conversation is kept, below the home folder: files and folders with all that is in them, and nothing of them
   * is a setting that could run code. Empty: it cannot go on elsewhere.
   */
  sessionFiles: readonly string[]
}
