/** The calls between agent and control server. `docs/protocol.md` has the rules; this file has the shapes. */
import { ATTEMPT_ID_PATTERN } from './attempt.ts'
import { COMMAND_TYPES, type CommandType, Id, Label } from './command.ts'
import { EngineAvailabilities, type EngineDefinition } from './engine.ts'
import { CommandError } from './errors.ts'
import type { JsonValue } from './json.ts'
import { oneOf } from './schema.ts'
import { type Static, Type } from './typebox.ts'

const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
/** Far below MAX_SAFE_INTEGER: the server answers with the number after it. */
const Incarnation = Type.Integer({ minimum: 0, maximum: 2 ** 48 })
const AttemptIdField = Type.String({ pattern: ATTEMPT_ID_PATTERN, maxLength: 111 })
const Token = Type.String({ pattern: '^[A-Za-z0-9-]{8,64}$' })
/** Slots by command type: a long DELAY never takes the place of a fetch. */
const Slots = Type.Record(
  Type.String({ pattern: '^[A-Z][A-Z0-9_]{0,63}$' }),
  Type.Integer({ minimum: 0, maximum: 100_000 }),
  {
    additionalProperties: false,
  },
)

export const RegisterRequest = Type.Object(
  {
    agentId: Id,
    journalId: Token,
    nonce: Token,
    previousNonces: Type.Array(Token, {
      maxItems: 16,
      description: 'Nonces of earlier registrations whose answer this journal never saw',
    }),
    previousIncarnation: Incarnation,
    logSeq: Count,
    protocol: Type.Object({ min: Count, max: Count }),
    version: Type.String({ maxLength: 100 }),
    types: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 100 }),
    labels: Type.Array(Label, { maxItems: 100 }),
    slots: Slots,
    engines: Type.Optional(EngineAvailabilities),
  },
  { additionalProperties: true },
)
export type RegisterRequest = Static<typeof RegisterRequest>

export const RegisterResponse = Type.Object({
  incarnation: Count,
  epoch: Token,
  rev: Count,
  leaseMs: Count,
  syncMs: Count,
  protocol: Count,
  recovery: Type.Boolean({ description: 'The server asks for the whole journal: acknowledged outcomes and specs too' }),
})
export type RegisterResponse = Static<typeof RegisterResponse>

export const OUTCOME_STATES = ['SUCCEEDED', 'FAILED', 'TIMED_OUT', 'CANCELLED', 'INTERRUPTED'] as const
export type OutcomeState = (typeof OUTCOME_STATES)[number]

export const Outcome = Type.Object({
  state: oneOf(OUTCOME_STATES),
  result: Type.Optional(Type.Unknown()),
  resultTruncated: Type.Optional(Type.Boolean()),
  error: Type.Optional(CommandError),
})
export type Outcome = {
  state: OutcomeState
  result?: JsonValue
  resultTruncated?: boolean
  error?: CommandError
}

/** What an agent needs to run one attempt. Kept whole in its journal. */
export const Offer = Type.Object({
  attemptId: AttemptIdField,
  commandId: Id,
  attempt: Type.Integer({ minimum: 1 }),
  type: oneOf(COMMAND_TYPES),
  payload: Type.Unknown(),
  timeoutMs: Type.Integer({ minimum: 1 }),
  takeover: oneOf(['manual', 'auto']),
  resultBytesMax: Type.Integer({ minimum: 1 }),
  createdAtMs: Count,
})
export type Offer = {
  attemptId: string
  commandId: string
  attempt: number
  type: CommandType
  payload: JsonValue
  timeoutMs: number
  takeover: 'manual' | 'auto'
  resultBytesMax: number
  createdAtMs: number
}

/** One attempt in the journal. `finished` and `interrupted` carry the outcome, unless the request is full: then later. */
export const HeldAttempt = Type.Object(
  {
    attemptId: AttemptIdField,
    phase: oneOf(['accepted', 'running', 'finished', 'interrupted']),
    outcome: Type.Optional(Outcome),
    outcomeSha256: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
    offer: Type.Optional(Offer),
  },
  { additionalProperties: true },
)
export type HeldAttempt = {
  attemptId: string
  phase: 'accepted' | 'running' | 'finished' | 'interrupted'
  outcome?: Outcome
  outcomeSha256?: string
  /** Only while the server is in recovery mode. */
  offer?: Offer
}

/** `held` is the complete inventory of attempts the server has not acknowledged. */
export const SyncRequest = Type.Object(
  {
    incarnation: Count,
    seq: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
    epoch: Token,
    revSeen: Count,
    logSeq: Count,
    mode: oneOf(['ready', 'draining', 'paused']),
    want: Slots,
    held: Type.Array(HeldAttempt, { maxItems: 100_000 }),
    clockMs: Type.Optional(Count),
    engines: Type.Optional(EngineAvailabilities),
    definitionsSeen: Type.Optional(Type.String({ maxLength: 100 })),
  },
  { additionalProperties: true },
)
export type SyncRequest = {
  incarnation: number
  seq: number
  epoch: string
  revSeen: number
  logSeq: number
  mode: 'ready' | 'draining' | 'paused'
  want: Record<string, number>
  held: HeldAttempt[]
  /** The agent's wall clock, so that its skew can be shown. */
  clockMs?: number
  /** Where it is not as it was told last. */
  engines?: EngineAvailabilities
  /** The fingerprint of the engine definitions that the agent has, empty for none; absent where it wants none. */
  definitionsSeen?: string
}

/** `accepted`, `duplicate`: stored. `superseded`, `orphan`, `rejected`: kept as evidence. The agent is done with all five. */
export const ACK_VERDICTS = ['accepted', 'duplicate', 'superseded', 'orphan', 'rejected'] as const
export type AckVerdict = (typeof ACK_VERDICTS)[number]

export const SyncResponse = Type.Object({
  incarnation: Count,
  seq: Count,
  epoch: Token,
  rev: Count,
  leaseMs: Count,
  nextSyncMs: Count,
  recovery: Type.Boolean(),
  offers: Type.Array(Offer),
  grants: Type.Array(AttemptIdField),
  acks: Type.Array(Type.Object({ attemptId: AttemptIdField, verdict: oneOf(ACK_VERDICTS) })),
  desired: Type.Array(Type.Object({ attemptId: AttemptIdField, cancel: Type.String(), graceMs: Count })),
  drop: Type.Array(AttemptIdField),
  definitions: Type.Optional(
    Type.Object({ fingerprint: Type.String(), engines: Type.Array(Type.Unsafe<EngineDefinition>({})) }),
  ),
})
export type SyncResponse = {
  incarnation: number
  seq: number
  epoch: string
  rev: number
  leaseMs: number
  nextSyncMs: number
  recovery: boolean
  offers: Offer[]
  grants: string[]
  acks: { attemptId: string; verdict: AckVerdict }[]
  desired: { attemptId: string; cancel: string; graceMs: number }[]
  drop: string[]
  /** Every engine that the server has, where the agent has seen others. */
  definitions?: EngineDefinitions
}
export type EngineDefinitions = { fingerprint: string; engines: EngineDefinition[] }

/** Body and answer of `POST /agents/:agentId/heartbeat`: renews the lease, moves nothing. */
export const HeartbeatRequest = Type.Object({ incarnation: Count, epoch: Token }, { additionalProperties: true })
export type HeartbeatRequest = Static<typeof HeartbeatRequest>
export const HeartbeatResponse = Type.Object({ incarnation: Count, leaseMs: Count })
export type HeartbeatResponse = Static<typeof HeartbeatResponse>

/** `GET /agents/:agentId/wait?rev=N`, at most this long; 204 where nothing changed. */
export const WAIT_MS_MAX = 25_000
export const WaitResponse = Type.Object({ rev: Count })
export type WaitResponse = Static<typeof WaitResponse>

export const AgentRecord = Type.Object({
  agentId: Id,
  kind: oneOf(['sync', 'simple']),
  online: Type.Boolean(),
  mode: oneOf(['ready', 'draining', 'paused']),
  version: Type.Union([Type.String(), Type.Null()]),
  types: Type.Array(Type.String()),
  labels: Type.Array(Type.String()),
  slots: Type.Record(Type.String(), Type.Integer()),
  engines: Type.Record(
    Type.String(),
    Type.Object({ available: Type.Boolean(), reason: Type.Union([Type.String(), Type.Null()]) }),
    { description: 'What it can run of RUN_AGENT, and why not' },
  ),
  incarnation: Count,
  lastSeenAt: Type.Union([Type.String(), Type.Null()]),
  leaseExpiresAt: Type.Union([Type.String(), Type.Null()]),
  clockSkewMs: Type.Union([Type.Integer(), Type.Null()]),
  running: Type.Integer({ description: 'Attempts granted and not finished' }),
  offered: Type.Integer(),
  lost: Type.Integer(),
})
export type AgentRecord = Static<typeof AgentRecord>
