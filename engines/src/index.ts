/** Every engine that can be called. */
import type { EngineDefinition } from '@agent-executor/protocol'
import { claudeCode } from './claude-code.ts'
import { codex } from './codex.ts'
import type { EngineAdapter } from './engine.ts'
import { gemini } from './gemini.ts'
import { opencode } from './opencode.ts'
import { programAdapter } from './program.ts'
import { shell } from './shell.ts'

export type { EngineAdapter, EngineCall, EngineOutcome, EngineParser, EngineRun } from './engine.ts'

const CODED: readonly EngineAdapter[] = [shell, claudeCode, codex, opencode, gemini]
const coded = (name: string): EngineAdapter | undefined => CODED.find((adapter) => adapter.name === name)

/** Undefined where this version has no such adapter. */
export const adapterOf = ({
  adapter,
  program,
}: Pick<EngineDefinition, 'adapter' | 'program'>): EngineAdapter | undefined =>
  program === undefined ? coded(adapter) : programAdapter(program, (name) => coded(name)?.parser ?? null)
