import type { EngineDefinition } from './engine.ts'

export const opencode = {
  name: 'opencode',
  description: 'OpenCode, with models of Anthropic or OpenAI, or of whoever speaks as they do.',
  providers: ['anthropic', 'openai'],
  image: 'agent-executor/opencode:1.18.33',
  can: { model: true, system: true, tools: true, mcp: true, resume: true, limits: true, egress: true },
} as const satisfies EngineDefinition
