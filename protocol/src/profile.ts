/** Profiles and templates: as operators write them, as clients read them, and what a profile comes to for one request. */
import { DocumentName, documentHead, oneOf } from './schema.ts'
import { type Static, Type } from './typebox.ts'
import { UsageLimits } from './usage.ts'

const DAY_MS = 86_400_000
/** Longest template, prompt, script and value of a variable, in characters. */
export const TEXT_CHARACTERS_MAX = 65_536

export const VARIABLE_TYPES = ['string', 'integer', 'float', 'boolean', 'enum', 'list', 'secret'] as const

/** A path of fields, a section, or `prompt.variables.<name>`. */
const FieldPath = Type.String({ pattern: '^[a-z][A-Za-z]*(\\.[a-z][A-Za-z0-9_]*){0,2}$', maxLength: 100 })
const LongText = Type.String({ maxLength: TEXT_CHARACTERS_MAX })
const Description = Type.Optional(Type.String({ maxLength: 1000 }))
const Milliseconds = Type.Optional(Type.Integer({ minimum: 1, maximum: 30 * DAY_MS }))
const Bytes = Type.Optional(Type.Integer({ minimum: 1_048_576, maximum: Number.MAX_SAFE_INTEGER }))
const ToolNames = Type.Optional(
  Type.Array(Type.String({ pattern: '^[^\\x00-\\x1f]{1,200}$' }), { maxItems: 100, uniqueItems: true }),
)
const closed = { additionalProperties: false }

/** What a variable may be; a list is of strings. */
export type VariableValue = string | number | boolean | string[]
const AnyVariableValue = Type.Unsafe<VariableValue>({
  type: ['string', 'number', 'boolean', 'array'],
  maxLength: TEXT_CHARACTERS_MAX,
  maxItems: 1000,
  items: { type: 'string', maxLength: TEXT_CHARACTERS_MAX },
})
const VariableName = Type.String({ pattern: '^[a-z][A-Za-z0-9_]{0,63}$' })

/** `min` and `max` limit a number, the characters of a text, or the items of a list; `pattern` has to match the whole. */
export const ProfileVariable = Type.Object(
  {
    type: oneOf(VARIABLE_TYPES),
    description: Description,
    required: Type.Optional(Type.Boolean()),
    default: Type.Optional(AnyVariableValue),
    min: Type.Optional(Type.Number()),
    max: Type.Optional(Type.Number()),
    pattern: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
    values: Type.Optional(
      Type.Array(Type.String({ maxLength: 1000 }), { minItems: 1, maxItems: 100, uniqueItems: true }),
    ),
  },
  closed,
)
export type ProfileVariable = Static<typeof ProfileVariable>

const agent = Type.Object(
  {
    engine: Type.Optional(DocumentName),
    model: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$' })),
    image: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}$' })),
    timeoutMs: Milliseconds,
    idleTimeoutMs: Milliseconds,
  },
  closed,
)
const tools = Type.Object({ allow: ToolNames, deny: ToolNames }, closed)
const promptFields = {
  template: Type.Optional(DocumentName),
  text: Type.Optional(LongText),
  system: Type.Optional(LongText),
}
const resources = Type.Object(
  {
    memoryBytes: Bytes,
    cpus: Type.Optional(Type.Number({ minimum: 0.01, maximum: 1024 })),
    pidsMax: Type.Optional(Type.Integer({ minimum: 1, maximum: 4_194_304 })),
    workspaceBytes: Bytes,
  },
  closed,
)
const Hook = Type.Object({ script: Type.Optional(LongText), timeoutMs: Milliseconds }, closed)
const limits = UsageLimits.properties

/** A server of tools that the engine starts in its container. */
const McpServer = Type.Object(
  {
    command: Type.String({ minLength: 1, maxLength: 4096 }),
    args: Type.Optional(Type.Array(Type.String({ maxLength: 4096 }), { maxItems: 100 })),
    env: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,99}$' }), Type.String({ maxLength: 4096 }), {
        ...closed,
        maxProperties: 100,
      }),
    ),
  },
  closed,
)
export type McpServer = Static<typeof McpServer>
const mcp = Type.Record(Type.String({ pattern: '^[a-z][a-z0-9_-]{0,63}$' }), McpServer, {
  ...closed,
  maxProperties: 20,
})

export const EGRESS_HOSTS_MAX = 50
/** `name:port`; that the port is one is looked at after this. */
const HostAndPort = Type.String({
  pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*:[1-9][0-9]{0,4}$',
  maxLength: 259,
})
const network = Type.Object(
  {
    mode: Type.Optional(oneOf(['none', 'hosts'])),
    hosts: Type.Optional(Type.Array(HostAndPort, { minItems: 1, maxItems: EGRESS_HOSTS_MAX, uniqueItems: true })),
  },
  closed,
)

/** What a TOML document of a profile may say. */
export const Profile = Type.Object(
  {
    description: Description,
    extends: Type.Optional(DocumentName),
    locked: Type.Optional(Type.Array(FieldPath, { maxItems: 100, uniqueItems: true })),
    agent: Type.Optional(agent),
    tools: Type.Optional(tools),
    prompt: Type.Optional(
      Type.Object(
        {
          ...promptFields,
          variables: Type.Optional(Type.Record(VariableName, ProfileVariable, { ...closed, maxProperties: 100 })),
        },
        closed,
      ),
    ),
    resources: Type.Optional(resources),
    hooks: Type.Optional(
      Type.Object(
        {
          pre: Type.Optional(Hook),
          post: Type.Optional(Hook),
          onFailure: Type.Optional(Hook),
          always: Type.Optional(Hook),
        },
        closed,
      ),
    ),
    network: Type.Optional(network),
    mcp: Type.Optional(mcp),
    /** Of a command, and under `profile` of all commands of the profile together. */
    limits: Type.Optional(Type.Object({ ...limits, profile: Type.Optional(Type.Object(limits, closed)) }, closed)),
  },
  closed,
)
export type Profile = Static<typeof Profile>

/**
 * What a request may say in place of its profile: no hooks, variables and servers of tools of its own, no host that the
 * profile does not name, and no limit of what others spend too.
 */
export const ProfileOverrides = Type.Object(
  {
    agent: Type.Optional(agent),
    tools: Type.Optional(tools),
    prompt: Type.Optional(Type.Object(promptFields, closed)),
    resources: Type.Optional(resources),
    network: Type.Optional(Type.Object({ mode: Type.Optional(oneOf(['none'])) }, closed)),
    limits: Type.Optional(Type.Object(limits, closed)),
  },
  closed,
)
export type ProfileOverrides = Static<typeof ProfileOverrides>

export const VariableValues = Type.Record(VariableName, AnyVariableValue, { ...closed, maxProperties: 100 })
export type VariableValues = Static<typeof VariableValues>

export const ProfileRecord = Type.Object({ ...documentHead, profile: Type.Unsafe<Profile>({}), toml: Type.String() })
export type ProfileRecord = Static<typeof ProfileRecord>
export const ProfileSummary = Type.Object({
  ...documentHead,
  description: Type.Union([Type.String(), Type.Null()]),
  extends: Type.Union([Type.String(), Type.Null()]),
})
export type ProfileSummary = Static<typeof ProfileSummary>

const names = Type.Array(Type.String(), { description: 'The variables that it names' })
export const TemplateRecord = Type.Object({ ...documentHead, text: Type.String(), variables: names })
export type TemplateRecord = Static<typeof TemplateRecord>
export const TemplateSummary = Type.Object({ ...documentHead, variables: names })
export type TemplateSummary = Static<typeof TemplateSummary>

/** Where a value comes from, the nearest first. */
export const VALUE_ORIGINS = ['request', 'profile', 'extended', 'default'] as const
export type ValueOrigin = (typeof VALUE_ORIGINS)[number]

const origin = {
  from: oneOf(VALUE_ORIGINS),
  profile: Type.Union([Type.String(), Type.Null()], { description: 'The profile that says so' }),
  locked: Type.Boolean({ description: 'A request cannot say otherwise' }),
}

export const Resolution = Type.Object({
  name: Type.String(),
  chain: Type.Array(Type.Object({ name: Type.String(), version: Type.Integer() }), {
    description: 'The profile and those it extends, with the versions that were read',
  }),
  configuration: Type.Unknown({ description: 'The effective values, in the sections of a profile' }),
  fields: Type.Record(Type.String(), Type.Object({ value: Type.Unknown(), ...origin })),
  variables: Type.Record(
    Type.String(),
    Type.Object({
      type: oneOf(VARIABLE_TYPES),
      value: Type.Unknown({ description: 'null where there is none, and for every secret' }),
      given: Type.Boolean(),
      ...origin,
    }),
  ),
  prompt: Type.Object(
    { text: Type.Union([Type.String(), Type.Null()]), system: Type.Union([Type.String(), Type.Null()]) },
    { description: 'Rendered, with [secret] for every secret' },
  ),
  problems: Type.Array(Type.Object({ path: Type.String(), message: Type.String() }), {
    description: 'Why a submission of this would be refused: no engine, a field that means nothing to it, no prompt',
  }),
})
export type Resolution = Static<typeof Resolution>
