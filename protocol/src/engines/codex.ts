import type { EngineDefinition } from './engine.ts'

export const codex = {
  name: 'codex',
  description: "OpenAI's Codex.",
  providers: ['openai'],
  image: 'agent-executor/codex:0.169.0',
  can: { model: true, system: true, tools: false, mcp: true, resume: true, limits: true, egress: true },
} as const satisfies EngineDefinition
