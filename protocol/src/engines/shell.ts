import type { EngineDefinition } from './engine.ts'

export const shell = {
  name: 'shell',
  description: 'Runs the prompt as a script of /bin/sh, without a language model.',
  providers: [],
  image: null,
  can: { model: false, system: false, tools: false, mcp: false, resume: false, limits: false, egress: true },
} as const satisfies EngineDefinition
