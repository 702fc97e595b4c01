import { type Static, Type } from 'typebox'

/** What can work on a prompt. `shell` runs it as a script of /bin/sh. */
export const ENGINES = ['shell'] as const
export const RUN_AGENT_TIMEOUT_MS_DEFAULT = 900_000
export const RUN_AGENT_FILES_MAX = 256
/** Of each of stdout and stderr: what is longer keeps the first and the last half of so much. */
export const STREAM_BYTES_MAX = 65_536

/** `path` is relative to /workspace, with `/` between its parts. Exactly one of the two contents. */
const RunAgentFile = Type.Object(
  {
    path: Type.String({ minLength: 1, maxLength: 512 }),
    content: Type.Optional(Type.String()),
    contentBase64: Type.Optional(Type.String()),
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

export const RunAgentPayload = Type.Object(
  {
    engine: Type.Unsafe<(typeof ENGINES)[number]>({ type: 'string', enum: [...ENGINES] }),
    prompt: Type.String({ minLength: 1, maxLength: 262_144 }),
    image: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,255}$' })),
    env: Type.Optional(
      Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,99}$' }), Type.String({ maxLength: 32_768 }), {
        maxProperties: 100,
        additionalProperties: false,
      }),
    ),
    files: Type.Optional(Type.Array(RunAgentFile, { maxItems: RUN_AGENT_FILES_MAX })),
    idleTimeoutMs: Type.Optional(Type.Integer({ minimum: 100, maximum: 86_400_000 })),
    resources: Type.Optional(Type.Partial(Resources, { additionalProperties: false })),
  },
  { additionalProperties: false },
)
export type RunAgentPayload = Static<typeof RunAgentPayload>

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
  engine: (typeof ENGINES)[number]
  image: string
  exitCode: number | null
  reason: RunAgentReason
  oomKilled: boolean
  stdout: CapturedText
  stderr: CapturedText
  outputFrom: 'stream' | 'log' | 'none'
  tookMs: number | null
}
