/** A command as clients submit it and as they read it back. */
import { AttemptRecord } from './attempt.ts'
import { type DelayPayload, delayPayload } from './commands/delay.ts'
import { HttpGetJsonPayload } from './commands/http-get-json.ts'
import { RunAgentSubmission } from './commands/run-agent.ts'
import { CommandError, FAILURE_CODE_PATTERN } from './errors.ts'
import { Instant, oneOf } from './schema.ts'
import { type Static, type TSchema, Type } from './typebox.ts'

export const COMMAND_TYPES = ['DELAY', 'HTTP_GET_JSON', 'RUN_AGENT'] as const
export type CommandType = (typeof COMMAND_TYPES)[number]

/** PENDING and RUNNING are live; COMPLETED, FAILED and CANCELLED are final and never change. */
export const COMMAND_STATUSES = ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const
export type CommandStatus = (typeof COMMAND_STATUSES)[number]

/** Ids that people choose (agents) or read back (commands): safe in URLs, file names and container names. */
export const ID_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'
export const Id = Type.String({ pattern: ID_PATTERN, maxLength: 100 })
export const LABEL_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._=:/-]{0,99}$'
export const Label = Type.String({ pattern: LABEL_PATTERN })

const DAY_MS = 86_400_000

export const RetryPolicy = Type.Object(
  {
    maxAttempts: Type.Integer({ minimum: 1, maximum: 100, description: 'Attempts that were granted; 1 = never again' }),
    backoff: Type.Optional(
      Type.Object(
        {
          initialMs: Type.Optional(Type.Integer({ minimum: 0, maximum: DAY_MS })),
          maxMs: Type.Optional(Type.Integer({ minimum: 0, maximum: DAY_MS })),
          factor: Type.Optional(Type.Number({ minimum: 1, maximum: 10 })),
        },
        { additionalProperties: false },
      ),
    ),
    retryOn: Type.Optional(
      Type.Array(Type.String({ pattern: FAILURE_CODE_PATTERN }), { maxItems: 50, uniqueItems: true }),
    ),
  },
  { additionalProperties: false },
)
export type RetryPolicy = Static<typeof RetryPolicy>

/** Fields that a submission of any type may have. */
const submissionFields = {
  priority: Type.Optional(Type.Integer({ minimum: -100, maximum: 100 })),
  labels: Type.Optional(Type.Array(Label, { maxItems: 16, uniqueItems: true })),
  agentId: Type.Optional(Id),
  timeoutMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 30 * DAY_MS })),
  totalTimeoutMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 90 * DAY_MS })),
  expiresAt: Type.Optional(Instant),
  notBefore: Type.Optional(Instant),
  retry: Type.Optional(RetryPolicy),
  takeover: Type.Optional(oneOf(['manual', 'auto'])),
  lostAfterMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 90 * DAY_MS })),
  metadata: Type.Optional(
    Type.Record(
      Type.String({ pattern: '^[A-Za-z0-9._:/-]{1,100}$' }),
      Type.Union([Type.String({ maxLength: 4096 }), Type.Number(), Type.Boolean()]),
      { additionalProperties: false, maxProperties: 64 },
    ),
  ),
}
const SubmissionFields = Type.Object(submissionFields)

export type Submission = Static<typeof SubmissionFields> &
  (
    | { type: 'DELAY'; payload: DelayPayload }
    | { type: 'HTTP_GET_JSON'; payload: HttpGetJsonPayload }
    | { type: 'RUN_AGENT'; payload: RunAgentSubmission }
  )

/** Body of `POST /commands`. `delayMsMax` is the server's limit on a DELAY, in milliseconds. */
export const submissionSchema = (limits: { delayMsMax: number }) => {
  const of = (type: CommandType, payload: TSchema) =>
    Type.Object({ type: Type.Literal(type), payload, ...submissionFields }, { additionalProperties: false })
  return Type.Unsafe<Submission>({
    type: 'object',
    required: ['type'],
    discriminator: { propertyName: 'type' },
    oneOf: [
      of('DELAY', delayPayload(limits.delayMsMax)),
      of('HTTP_GET_JSON', HttpGetJsonPayload),
      of('RUN_AGENT', RunAgentSubmission),
    ],
  })
}

const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])

/** A command in a list: everything but `payload`, `result` and `attempts`. */
export const CommandSummary = Type.Object({
  commandId: Id,
  type: oneOf(COMMAND_TYPES),
  status: oneOf(COMMAND_STATUSES),
  priority: Type.Integer(),
  labels: Type.Array(Type.String()),
  pinnedTo: Nullable(Id),
  agentId: Nullable(Id),
  attempt: Type.Integer({ description: 'Number of the newest attempt, 0 before the first' }),
  error: Nullable(CommandError),
  resultTruncated: Type.Boolean(),
  cancelRequested: Type.Boolean(),
  takeover: oneOf(['manual', 'auto']),
  timeoutMs: Type.Integer(),
  totalTimeoutMs: Nullable(Type.Integer()),
  lostAfterMs: Nullable(Type.Integer()),
  retry: RetryPolicy,
  metadata: Type.Record(Type.String(), Type.Unknown()),
  createdAt: Instant,
  notBefore: Nullable(Instant),
  expiresAt: Nullable(Instant),
  startedAt: Nullable(Instant),
  finishedAt: Nullable(Instant),
})

/** The whole record: the answer to submit, get, cancel and `GET /commands/next`. */
export const CommandRecord = Type.Object({
  ...CommandSummary.properties,
  payload: Type.Unknown(),
  result: Type.Unknown(),
  attempts: Type.Array(AttemptRecord),
  timings: Type.Object({
    queuedMs: Type.Integer({ description: 'From submit to the first start, or until now' }),
    runMs: Nullable(Type.Integer({ description: 'From the first start to the end, or until now' })),
    totalMs: Type.Integer({ description: 'From submit to the end, or until now' }),
  }),
})
export type CommandRecord = Static<typeof CommandRecord>

export const COMMAND_FIELDS = Object.keys(CommandRecord.properties) as (keyof CommandRecord)[]

/** Body of `PUT /commands/:id/result`, the simple API. Exactly one of `result` and `error`. */
export const SimpleReport = Type.Object(
  {
    agentId: Id,
    result: Type.Optional(Type.Unknown()),
    error: Type.Optional(
      Type.Union([
        Type.String({ minLength: 1, maxLength: 65_536 }),
        Type.Object(
          {
            message: Type.String({ minLength: 1, maxLength: 65_536 }),
            code: Type.Optional(Type.String({ pattern: FAILURE_CODE_PATTERN })),
            retryable: Type.Optional(Type.Boolean()),
            details: Type.Optional(Type.Unknown()),
          },
          { additionalProperties: false },
        ),
      ]),
    ),
    attempt: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647 })),
  },
  { additionalProperties: false },
)
export type SimpleReport = Static<typeof SimpleReport>
