/**
 * Engines: what works on the prompt of a RUN_AGENT. Operators define them in TOML documents; how one is called and read
 * is the adapter that its document names, code in `engines/`, or `program`, which the document says itself.
 */
import { DOCUMENT_NAME_PATTERN, documentHead, oneOf } from './schema.ts'
import { type Static, Type } from './typebox.ts'

/** Whose models an engine can ask for; each is a key that a gateway may hold. */
export const PROVIDERS = ['anthropic', 'openai', 'gemini'] as const
export type ProviderName = (typeof PROVIDERS)[number]

/** What a run may ask for that not every engine can honour. */
export const CAPABILITIES = ['model', 'system', 'tools', 'mcp', 'resume', 'limits', 'egress'] as const
export type Capability = (typeof CAPABILITIES)[number]
export type Capabilities = Readonly<Record<Capability, boolean>>

type AdapterFacts = {
  /** Any of these will do. None: it needs no language model, and gets no way to one. */
  providers: readonly ProviderName[]
  /** Of `CAPABILITIES`, beside limits, which need providers, and egress, which is the sandbox's. */
  honours: readonly Capability[]
}
/** The adapters that are code. */
const CODED = {
  shell: { providers: [], honours: [] },
  'claude-code': { providers: ['anthropic'], honours: ['model', 'system', 'tools', 'mcp', 'resume'] },
  codex: { providers: ['openai'], honours: ['model', 'system', 'mcp', 'resume'] },
  opencode: { providers: ['anthropic', 'openai'], honours: ['model', 'system', 'tools', 'mcp', 'resume'] },
  gemini: { providers: ['gemini'], honours: ['model', 'system', 'tools', 'mcp', 'resume'] },
} as const satisfies Record<string, AdapterFacts>
export type CodedAdapter = keyof typeof CODED
export const CODED_ADAPTERS = Object.keys(CODED) as CodedAdapter[]
export const ADAPTERS = [...CODED_ADAPTERS, 'program'] as const
export type AdapterName = CodedAdapter | 'program'

/** How what a program prints is read: as text, which is its answer, or as an adapter reads what its own engine prints. */
export const OUTPUTS = ['text', 'claude-code', 'codex', 'opencode', 'gemini'] as const
export type OutputName = (typeof OUTPUTS)[number]

/** What may stand in the texts of a program, as `{{name}}`. */
export const PLACEHOLDERS = ['prompt', 'model', 'system', 'gateway', 'home', 'workspace', 'sessionId'] as const

const closed = { additionalProperties: false }
const Text = Type.String({ maxLength: 4096 })
const Argv = Type.Array(Text, { minItems: 1, maxItems: 100 })
/** Relative, and nothing that leads out: its parts are looked at after the schema. */
const Path = Type.String({ pattern: '^[^/\\x00-\\x1f][^\\x00-\\x1f]{0,511}$' })

/**
 * How a program is called in its container, in the workspace and without a shell. `with`: what is added to `argv` where
 * the run says a model or instructions; without it the engine has no such thing. `{{prompt}}` and `{{system}}` are files.
 */
export const EngineProgram = Type.Object(
  {
    argv: Argv,
    stdin: Type.Optional(oneOf(['prompt', 'nothing'])),
    with: Type.Optional(Type.Object({ model: Type.Optional(Argv), system: Type.Optional(Argv) }, closed)),
    env: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,99}$' }), Text, { ...closed, maxProperties: 100 }),
    ),
    /** Below the home folder, written before the start. */
    files: Type.Optional(
      Type.Array(Type.Object({ path: Path, content: Type.String({ maxLength: 65_536 }) }, closed), { maxItems: 20 }),
    ),
    /** Paths of the workspace that could run code or redirect traffic: put away while it runs. */
    quarantine: Type.Optional(Type.Array(Path, { maxItems: 50, uniqueItems: true })),
    output: Type.Optional(oneOf(OUTPUTS)),
  },
  closed,
)
export type EngineProgram = Static<typeof EngineProgram>

/** What a TOML document of an engine may say. */
export const Engine = Type.Object(
  {
    description: Type.Optional(Type.String({ maxLength: 1000 })),
    adapter: oneOf(ADAPTERS),
    /** The image that it runs in where nobody names another; absent: that of the agent (RUN_AGENT_IMAGE). */
    image: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,255}$' })),
    /** Of a program; the other adapters have theirs. */
    providers: Type.Optional(Type.Array(oneOf(PROVIDERS), { uniqueItems: true })),
    program: Type.Optional(EngineProgram),
    /** What an agent asks the image once before it offers the engine: it has to end with 0, and print `prints`. */
    probe: Type.Optional(
      Type.Object({ argv: Argv, prints: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })) }, closed),
    ),
  },
  closed,
)
export type Engine = Static<typeof Engine>

/** What has to be known of an engine to run it: a document, with what its adapter adds. */
export type EngineDefinition = {
  name: string
  /** Of the document. */
  version: number
  adapter: AdapterName
  image: string | null
  /** Any of these will do. None: it needs no language model. */
  providers: ProviderName[]
  program?: EngineProgram
  probe?: NonNullable<Engine['probe']>
}
/** Undefined for an adapter that another version has. */
const factsOf = (adapter: string): AdapterFacts | undefined =>
  (CODED as Readonly<Record<string, AdapterFacts>>)[adapter]

export const definitionOf = (name: string, version: number, engine: Engine): EngineDefinition => ({
  ...{ name, version, adapter: engine.adapter, image: engine.image ?? null },
  providers: [
    ...(engine.adapter === 'program' ? (engine.providers ?? []) : (factsOf(engine.adapter)?.providers ?? [])),
  ],
  ...(engine.program === undefined ? {} : { program: engine.program }),
  ...(engine.probe === undefined ? {} : { probe: engine.probe }),
})

/** A field that an engine cannot honour is refused at submit. */
export function capabilitiesOf({ adapter, providers, program }: EngineDefinition): Capabilities {
  const honours: readonly Capability[] =
    adapter === 'program'
      ? (['model', 'system'] as const).filter((name) => program?.with?.[name] !== undefined)
      : (factsOf(adapter)?.honours ?? [])
  const can = (capability: Capability): boolean =>
    capability === 'egress' || (capability === 'limits' ? providers.length > 0 : honours.includes(capability))
  return Object.fromEntries(CAPABILITIES.map((name) => [name, can(name)])) as Record<Capability, boolean>
}

/** Whether an agent can run an engine now, and why not; the same as an agent tells it and as clients read it. */
const availability = {
  available: Type.Boolean(),
  reason: Type.Union([Type.String({ maxLength: 500 }), Type.Null()], { description: 'Why not' }),
}
export type EngineAvailability = { available: boolean; reason: string | null }

/** By the name of the engine. */
export const EngineAvailabilities = Type.Record(
  Type.String({ pattern: DOCUMENT_NAME_PATTERN }),
  Type.Object(availability, { additionalProperties: true }),
  { additionalProperties: false, maxProperties: 1000 },
)
export type EngineAvailabilities = Record<string, EngineAvailability>

const can: Record<Capability, ReturnType<typeof Type.Boolean>> = Object.assign(
  {},
  ...CAPABILITIES.map((capability) => ({ [capability]: Type.Boolean() })),
)

const summary = {
  ...documentHead,
  description: Type.Union([Type.String(), Type.Null()]),
  adapter: oneOf(ADAPTERS),
  image: Type.Union([Type.String(), Type.Null()], {
    description: 'Where nobody names another; null: that of the agent (RUN_AGENT_IMAGE)',
  }),
  providers: Type.Array(oneOf(PROVIDERS), { description: 'Whose models it can ask for; none: it needs no model' }),
  can: Type.Object(can, { description: 'A field that the engine cannot honour is refused at submit' }),
  available: Type.Boolean({ description: 'An agent that is online and ready can run it now' }),
  agents: Type.Array(Type.Object({ agentId: Type.String(), ...availability }), {
    description: 'Every agent that is online',
  }),
}
export const EngineSummary = Type.Object(summary)
export type EngineSummary = {
  name: string
  version: number
  origin: 'api' | 'seed'
  updatedAt: string
  description: string | null
  adapter: AdapterName
  image: string | null
  providers: ProviderName[]
  can: Record<Capability, boolean>
  available: boolean
  agents: ({ agentId: string } & EngineAvailability)[]
}
export const EngineRecord = Type.Object({ ...summary, engine: Type.Unsafe<Engine>({}), toml: Type.String() })
export type EngineRecord = EngineSummary & { engine: Engine; toml: string }
