import type { EngineDefinition } from './engine.ts'

export const gemini = {
  name: 'gemini',
  description: "Google's Gemini CLI.",
  providers: ['gemini'],
  image: 'agent-executor/gemini:0.61.0',
  can: { model: true, system: true, tools: true, mcp: true, resume: true, limits: true, egress: true },
} as const satisfies EngineDefinition
