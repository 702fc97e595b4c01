/** Every engine that can be called. */
import type { EngineAdapter } from './engine.ts'
import { shell } from './shell.ts'

export type { EngineAdapter, EngineCall, EngineOutcome, EngineParser, EngineRun } from './engine.ts'

const ADAPTERS: readonly EngineAdapter[] = [shell]

/** Undefined where there is none of this name. */
export const adapterOf = (name: string): EngineAdapter | undefined => ADAPTERS.find((adapter) => adapter.name === name)
