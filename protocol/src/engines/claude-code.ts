import type { EngineDefinition } from './engine.ts'

export const claudeCode = {
  name: 'claude-code',
  description: "Anthropic's Claude Code.",
  providers: ['anthropic'],
  image: 'agent-executor/claude-code:2.1.329',
  can: { model: true, system: true, tools: true, mcp: true, resume: true, limits: true, egress: true },
} as const satisfies EngineDefinition
