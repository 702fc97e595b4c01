/** The engines that exist. Another one is a file beside this one, and its name here. */
import { oneOf } from '../schema.ts'
import { Type } from '../typebox.ts'
import { claudeCode } from './claude-code.ts'
import { codex } from './codex.ts'
import { CAPABILITIES, type Capability, type EngineDefinition, PROVIDERS, type ProviderName } from './engine.ts'
import { gemini } from './gemini.ts'
import { opencode } from './opencode.ts'
import { shell } from './shell.ts'

export { CAPABILITIES, type Capability, type EngineDefinition, PROVIDERS, type ProviderName } from './engine.ts'

const ALL = [shell, claudeCode, codex, opencode, gemini] as const
export type EngineName = (typeof ALL)[number]['name']

export const ENGINE_DEFINITIONS: readonly EngineDefinition[] = ALL
export const ENGINES: readonly EngineName[] = ALL.map(({ name }) => name)

/** Undefined where there is none of this name. */
export const engineNamed = (name: string): EngineDefinition | undefined =>
  ENGINE_DEFINITIONS.find((engine) => engine.name === name)

/** Whether an agent can run an engine now, and why not; the same as an agent tells it and as clients read it. */
const availability = {
  available: Type.Boolean(),
  reason: Type.Union([Type.String({ maxLength: 500 }), Type.Null()], { description: 'Why not' }),
}
export type EngineAvailability = { available: boolean; reason: string | null }

/** By the name of the engine. An agent may know engines that this server does not. */
export const EngineAvailabilities = Type.Record(
  Type.String({ pattern: '^[a-z][a-z0-9-]{0,63}$' }),
  Type.Object(availability, { additionalProperties: true }),
  { additionalProperties: false, maxProperties: 50 },
)
export type EngineAvailabilities = Record<string, EngineAvailability>

const can: Record<Capability, ReturnType<typeof Type.Boolean>> = Object.assign(
  {},
  ...CAPABILITIES.map((capability) => ({ [capability]: Type.Boolean() })),
)

export const EngineRecord = Type.Object({
  name: Type.String(),
  description: Type.String(),
  providers: Type.Array(oneOf(PROVIDERS), { description: 'Whose models it can ask for; none: it needs no model' }),
  image: Type.Union([Type.String(), Type.Null()], {
    description: 'Where nobody names another; null: that of the agent (RUN_AGENT_IMAGE)',
  }),
  can: Type.Object(can, { description: 'A field that the engine cannot honour is refused at submit' }),
  available: Type.Boolean({ description: 'An agent that is online and ready can run it now' }),
  agents: Type.Array(Type.Object({ agentId: Type.String(), ...availability }), {
    description: 'Every agent that is online',
  }),
})
export type EngineRecord = {
  name: string
  description: string
  providers: ProviderName[]
  image: string | null
  can: Record<Capability, boolean>
  available: boolean
  agents: ({ agentId: string } & EngineAvailability)[]
}
