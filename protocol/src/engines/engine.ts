/**
 * What an engine is, as far as the server has to know it: data. How it is called and read is in `engines/`, a file of the
 * same name.
 */

/** Whose models an engine can ask for; each is a key that a gateway may hold. */
export const PROVIDERS = ['anthropic', 'openai', 'gemini'] as const
export type ProviderName = (typeof PROVIDERS)[number]

/** What a run may ask for that not every engine can honour. */
export const CAPABILITIES = ['model', 'system', 'tools', 'mcp', 'resume', 'limits', 'egress'] as const
export type Capability = (typeof CAPABILITIES)[number]

export type EngineDefinition = {
  name: string
  description: string
  /** Any of these will do. None: it needs no language model, and gets no way to one. */
  providers: readonly ProviderName[]
  /** The image that it runs in where nobody names another; null: that of the agent (RUN_AGENT_IMAGE). */
  image: string | null
  can: Readonly<Record<Capability, boolean>>
}
