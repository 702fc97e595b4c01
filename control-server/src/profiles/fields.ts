/** The fields that one layer may take from another: each by its path, each taken whole. */
import type { McpServer, Profile } from '@agent-executor/protocol'

export const FIELDS = [
  'agent.engine',
  'agent.model',
  'agent.image',
  'agent.timeoutMs',
  'agent.idleTimeoutMs',
  'tools.allow',
  'tools.deny',
  'prompt.template',
  'prompt.text',
  'prompt.system',
  'resources.memoryBytes',
  'resources.cpus',
  'resources.pidsMax',
  'resources.workspaceBytes',
  'hooks.pre.script',
  'hooks.pre.timeoutMs',
  'hooks.post.script',
  'hooks.post.timeoutMs',
  'hooks.onFailure.script',
  'hooks.onFailure.timeoutMs',
  'hooks.always.script',
  'hooks.always.timeoutMs',
  'network.mode',
  'network.hosts',
  'mcp',
  'limits.costMicroUsd',
  'limits.tokens',
  'limits.requests',
  'limits.profile.costMicroUsd',
  'limits.profile.tokens',
  'limits.profile.requests',
] as const
export type FieldPath = (typeof FIELDS)[number]
export type FieldValue = string | number | readonly string[] | Readonly<Record<string, McpServer>>

/** Two ways to say the same: a nearer one hides both farther ones, and a lock on one is a lock on the other. */
const PROMPT: readonly FieldPath[] = ['prompt.template', 'prompt.text']

/** The fields that stand and fall together with this one, itself included. */
export const sameAs = (path: FieldPath): readonly FieldPath[] => (PROMPT.includes(path) ? PROMPT : [path])

/** Undefined where the layer does not say. */
export function fieldOf(layer: Profile, path: FieldPath): FieldValue | undefined {
  let part: unknown = layer
  for (const key of path.split('.')) {
    if (typeof part !== 'object' || part === null || !Object.hasOwn(part, key)) return undefined
    part = (part as Record<string, unknown>)[key]
  }
  return part as FieldValue
}

/** A JSON pointer to the field. */
export const pointerTo = (path: string): string => `/${path.replaceAll('.', '/')}`

/** The fields as the sections of a profile. */
export function asSections(fields: ReadonlyMap<FieldPath, FieldValue>): Record<string, unknown> {
  const sections: Record<string, unknown> = {}
  for (const [path, value] of fields) {
    const keys = path.split('.')
    const last = keys.pop() as string
    let section = sections
    for (const key of keys) {
      section[key] ??= {}
      section = section[key] as Record<string, unknown>
    }
    section[last] = value
  }
  return sections
}
