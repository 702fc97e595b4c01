/** Every wire format there is. */
import { anthropicMessages } from './anthropic-messages.ts'
import { gemini } from './gemini.ts'
import { openaiChat } from './openai-chat.ts'
import { openaiResponses } from './openai-responses.ts'
import type { Operation, Wire } from './wire.ts'

export const WIRES = {
  'anthropic-messages': anthropicMessages,
  'openai-responses': openaiResponses,
  'openai-chat': openaiChat,
  gemini,
} as const satisfies Record<string, Wire>

export type WireName = keyof typeof WIRES

/** Whose path it is; null where nothing may pass. All of them are POST. */
export function wireOf(path: string): { name: WireName; wire: Wire; operation: Operation } | null {
  for (const [name, wire] of Object.entries(WIRES) as [WireName, Wire][]) {
    const operation = wire.operation(path)
    if (operation !== null) return { name, wire, operation }
  }
  return null
}
