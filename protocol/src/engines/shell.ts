import { type EngineDefinition, PROMPT_FILE } from './engine.ts'

export const shell = {
  name: 'shell',
  description: 'Runs the prompt as a script of /bin/sh, without a language model.',
  argv: ['/bin/sh', PROMPT_FILE],
  can: { model: false, system: false, tools: false },
} as const satisfies EngineDefinition
