/** What an engine is: data, so that server and agent read the same and a new one is a file. */

/** Stands in `argv` for the path of the file that holds the prompt. */
export const PROMPT_FILE = '{prompt}'

/** What a run may ask for that not every engine can honour. */
export const CAPABILITIES = ['model', 'system', 'tools'] as const
export type Capability = (typeof CAPABILITIES)[number]

export type EngineDefinition = {
  name: string
  description: string
  /** Run in /workspace, as it is: no shell reads it. */
  argv: readonly string[]
  can: Readonly<Record<Capability, boolean>>
}
