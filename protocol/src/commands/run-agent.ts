import { ARTIFACT_PATTERNS_MAX, type Artifact, Sha256 } from '../artifact.ts'
import type { EngineDefinition } from '../engine.ts'
import type { JsonValue } from '../json.ts'
import type { McpServer } from '../profile.ts'
import { DocumentName } from '../schema.ts'
import { type Static, Type } from '../typebox.ts'
import { UsageLimits, type UsageTotal } from '../usage.ts'

export const RUN_AGENT_TIMEOUT_MS_DEFAULT = 900_000
export const RUN_AGENT_FILES_MAX = 256
export const RUN_AGENT_PROMPT_CHARACTERS_MAX = 262_144
/** Of each of stdout and stderr: what is longer keeps the first and the last half of so much. */
export const STREAM_BYTES_MAX = 65_536

/** `path` is relative to /workspace, with `/` between its parts. Exactly one of the three contents; `upload` is a SHA-256. */
const RunAgentFile = Type.Object(
  {
    path: Type.String({ minLength: 1, maxLength: 512 }),
    content: Type.Optional(Type.String()),
    contentBase64: Type.Optional(Type.String()),
    upload: Type.Optional(Sha256),
    mode: Type.Optional(Type.Unsafe<'0644' | '0755'>({ type: 'string', enum: ['0644', '0755'] })),
  },
  { additionalProperties: false },
)
export type RunAgentFile = Static<typeof RunAgentFile>

/** What a container may use. An agent has defaults, and maxima that it refuses to go beyond. */
export const Resources = Type.Object(
  {
    memoryBytes: Type.Integer({ minimum: 16 * 2 ** 20, maximum: 2 ** 40 }),
    cpus: Type.Number({ minimum: 0.01, maximum: 1024 }),
    pidsMax: Type.Integer({ minimum: 4, maximum: 100_000 }),
    /** Size of /workspace, which is memory: it counts in `memoryBytes` as far as it is used. */
    workspaceBytes: Type.Integer({ minimum: 2 ** 20, maximum: 2 ** 36 }),
  },
  { additionalProperties: false },
)
export type Resources = Static<typeof Resources>

export const Model = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$' })
export const SYSTEM_CHARACTERS_MAX = 65_536
const ToolName = Type.String({ pattern: '^[^\\x00-\\x1f]{1,200}$' })
/** By the engine's own names. `allow`: these and no others; `deny`: never these. */
const Tools = Type.Object(
  {
    allow: Type.Optional(Type.Array(ToolName, { maxItems: 100, uniqueItems: true })),
    deny: Type.Optional(Type.Array(ToolName, { maxItems: 100, uniqueItems: true })),
  },
  { additionalProperties: false },
)
export type Tools = Static<typeof Tools>

/** A host that a run may reach by TLS besides its models, through the gateway. Only a profile can name one. */
export type EgressHost = { host: string; port: number }

/**
 * What a client submits: `engine` and `prompt`, or `profile` with what belongs to it, and never both; that, and what is
 * in `promptVars` and `overrides`, is held against its rules after this schema.
 */
export const RunAgentSubmission = Type.Object(
  {
    engine: Type.Optional(DocumentName),
    prompt: Type.Optional(Type.String({ minLength: 1, maxLength: RUN_AGENT_PROMPT_CHARACTERS_MAX })),
    profile: Type.Optional(DocumentName),
    promptVars: Type.Optional(Type.Unsafe<unknown>({ type: 'object' })),
    overrides: Type.Optional(Type.Unsafe<unknown>({ type: 'object' })),
    image: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,255}$' })),
    env: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,99}$' }), Type.String({ maxLength: 32_768 }), {
        maxProperties: 100,
        additionalProperties: false,
      }),
    ),
    files: Type.Optional(Type.Array(RunAgentFile, { maxItems: RUN_AGENT_FILES_MAX })),
    artifacts: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 512 }), { maxItems: ARTIFACT_PATTERNS_MAX, uniqueItems: true }),
    ),
    model: Type.Optional(Model),
    system: Type.Optional(Type.String({ minLength: 1, maxLength: SYSTEM_CHARACTERS_MAX })),
    tools: Type.Optional(Tools),
    /** Of the command: all its attempts together. */
    limits: Type.Optional(UsageLimits),
    /** A command of the same engine whose conversation goes on. */
    resume: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$' })),
    idleTimeoutMs: Type.Optional(Type.Integer({ minimum: 100, maximum: 86_400_000 })),
    resources: Type.Optional(Type.Partial(Resources, { additionalProperties: false })),
    dryRun: Type.Optional(Type.Boolean({ description: 'Nothing runs; the result is what would' })),
  },
  { additionalProperties: false },
)
export type RunAgentSubmission = Static<typeof RunAgentSubmission>

/** In the order in which they can come. */
export const HOOK_NAMES = ['pre', 'post', 'onFailure', 'always'] as const
export type HookName = (typeof HOOK_NAMES)[number]
export type Hook = { script: string; timeoutMs: number }

type DocumentVersion = { name: string; version: number }

/** Where a configuration comes from: what was true when the command was submitted, and stays so. */
export type ResolvedFrom = {
  profile: string
  /** The profile and those it extends, the nearest first. */
  profiles: DocumentVersion[]
  templates: DocumentVersion[]
  /** Every variable that has a value, and `[secret]` for one that is secret. */
  promptVars: Record<string, string | number | boolean | string[]>
}

/** What is kept apart from everything that anybody can read, for the container alone. */
export type RunAgentSecrets = {
  /** Where a secret stands in it: the prompt as it is; the payload has it with `[secret]`. The same of `system`. */
  prompt?: string
  system?: string
  promptVars: Record<string, string>
}

/** What a command runs, the profile resolved. `secrets` is only in what goes to an agent. */
export type RunAgentPayload = {
  engine: string
  /** As it was when the command was submitted. Absent in commands of before: the adapter has the engine's name then. */
  engineDefinition?: EngineDefinition
  prompt: string
  image?: string
  env?: Record<string, string>
  files?: RunAgentFile[]
  /** Patterns of what is kept in the end; relative ones are below /workspace. */
  artifacts?: string[]
  model?: string
  system?: string
  tools?: Tools
  mcpServers?: Record<string, McpServer>
  egress?: EgressHost[]
  limits?: UsageLimits
  /** Of all runs of the profile together. */
  profileLimits?: UsageLimits
  /** The engine's own id of the conversation that goes on, and the command that had it. */
  resume?: { commandId: string; sessionId: string }
  idleTimeoutMs?: number
  resources?: Partial<Resources>
  hooks?: Partial<Record<HookName, Hook>>
  dryRun?: boolean
  resolvedFrom?: ResolvedFrom
  secrets?: RunAgentSecrets
}

export type Changes = { count: number; files: { path: string; status: 'added' | 'deleted' | 'modified' }[] }

/** Why the container stopped. `outOfMemory`, `hostStopped` and `unknown` say that the exit code is not the engine's own. */
export type RunAgentReason =
  | 'exited'
  | 'signal'
  | 'outOfMemory'
  | 'timeout'
  | 'idleTimeout'
  | 'cancelled'
  | 'leaseOver'
  | 'hostStopped'
  /** A limit of money or tokens, or of requests, has refused a call. */
  | 'budget'
  | 'turnLimit'
  /** The engine says that it failed, whatever its exit code. */
  | 'engineError'
  /** No provider could be reached, or it refused. */
  | 'gatewayError'
  | 'unknown'

/** `bytes` is all that was written; where `truncated`, `text` has the beginning and the end, and says what is between. */
export type CapturedText = { text: string; bytes: number; truncated: boolean }

/**
 * Result of `RUN_AGENT`, also beside an error. `exitCode` is null where the container is gone. `outputFrom`: `stream`,
 * read while it was written, complete and with exact byte counts; `log`, read afterwards from Docker's log, which keeps
 * the newest 20 to 30 MB and may miss the last words before Docker itself stopped; `none`, could not be read.
 * `oomKilled`: something in the container, not always the engine, was killed for want of memory.
 */
export type RunAgentResult = {
  engine: string
  image: string
  exitCode: number | null
  reason: RunAgentReason
  oomKilled: boolean
  stdout: CapturedText
  stderr: CapturedText
  outputFrom: 'stream' | 'log' | 'none'
  tookMs: number | null
  /** What it has left, as far as it matched `artifacts`; they follow in their own time. */
  artifacts: Artifact[]
  /** What matched and is not among them: how many, and the first of them. Absent where there is none. */
  artifactsSkipped?: { count: number; files: { name: string; reason: ArtifactSkipReason }[] }
  /** What has changed in a git checkout since the engine began; absent where /workspace is none. The first 200 by name. */
  changes?: Changes
  /** Why nobody could look for more; absent where somebody has. */
  artifactsMissing?: ArtifactsMissing
  /** What the engine said last; null where it said nothing. This and what follows is absent for `shell`. */
  answer?: string | null
  /** The engine's own id of the conversation. */
  sessionId?: string | null
  /** Calls of a model, as the gateway has counted them. */
  turns?: number
  usage?: UsageTotal
  /** null: the price of a model is not known. */
  costMicroUsd?: number | null
  /** What the engine did, in the same words for all; the first `EVENTS_MAX`. */
  events?: { count: number; items: EngineEvent[] }
  /** Those that ran, in their order; null where the command has hooks and nobody could say. Absent where it has none. */
  hooks?: HookEnd[] | null
}

/**
 * `tooLarge`, `tooMany`, `tooMuch` of all together; `notAFile`: a link, or whatever else is no file; `badName`: not
 * UTF-8, too long, or with a part that is `.` or `..`; `duplicate`: the name came twice; `cut`: its end is missing.
 */
export type ArtifactSkipReason = 'tooLarge' | 'tooMany' | 'tooMuch' | 'notAFile' | 'badName' | 'duplicate' | 'cut'

/**
 * `notPacked`: the container ended before it could; `noTar`: the image has no tar or find; `noSpace`: the agent's disk is
 * full; `unreadable`: nobody knows.
 */
export type ArtifactsMissing = 'notPacked' | 'noTar' | 'noSpace' | 'unreadable'

export const EVENTS_MAX = 200
/** Texts are cut to 2,000 characters. `ok` of a tool is null where the engine does not say. */
export type EngineEvent =
  | { type: 'session'; sessionId: string }
  | { type: 'message'; text: string }
  | { type: 'tool'; name: string; input: string }
  | { type: 'toolResult'; name: string | null; ok: boolean | null; output: string }
  | { type: 'error'; text: string }

/** `exitCode` is null where the hook was ended because it took longer than its `timeoutMs`. */
export type HookEnd = { hook: HookName; exitCode: number | null }

/** Result of `RUN_AGENT` with `dryRun`: what would run, to the letter, and nothing has. */
export type RunAgentPlan = {
  dryRun: true
  engine: string
  image: string
  /** False: the run would fail with IMAGE_MISSING. */
  imagePresent: boolean
  /** As Docker would get them; of the environment the names alone. */
  createOptions: JsonValue
  /** What the container begins with. */
  script: string
  prompt: string
  /** `bytes` is null for what is uploaded: the agent does not fetch it. */
  files: { path: string; mode: string; bytes: number | null; upload?: string }[]
  /** Patterns of what would be kept. */
  artifacts: string[]
  /** Every name that engine and hooks find in their environment. */
  env: string[]
  hooks: Partial<Record<HookName, Hook>>
}
