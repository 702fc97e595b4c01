/** Every engine that can be called. */
import { claudeCode } from './claude-code.ts'
import { codex } from './codex.ts'
import type { EngineAdapter } from './engine.ts'
import { gemini } from './gemini.ts'
import { opencode } from './opencode.ts'
import { shell } from './shell.ts'

export type { EngineAdapter, EngineCall, EngineOutcome, EngineParser, EngineRun } from './engine.ts'

const ADAPTERS: readonly EngineAdapter[] = [shell, claudeCode, codex, opencode, gemini]

/** Undefined where there is none of this name. */
export const adapterOf = (name: string): EngineAdapter | undefined => ADAPTERS.find((adapter) => adapter.name === name)
