/** One hand-over of a command to one agent, numbered from 1. The number is the fence that every report carries. */
import { CommandError } from './errors.ts'
import { type Static, Type } from './typebox.ts'

/**
 * - `OFFERED`: shown to one agent, not started; may be withdrawn at any moment.
 * - `RUNNING`: granted to one incarnation of one agent.
 * - `LOST`: the agent is silent past its lease and nothing is decided; it may come back.
 * - The rest are final: `EXPIRED` = taken over after the lease, `WITHDRAWN` = an offer never accepted.
 */
export const ATTEMPT_STATES = [
  'OFFERED',
  'RUNNING',
  'LOST',
  'SUCCEEDED',
  'FAILED',
  'TIMED_OUT',
  'CANCELLED',
  'INTERRUPTED',
  'EXPIRED',
  'WITHDRAWN',
] as const
export type AttemptState = (typeof ATTEMPT_STATES)[number]

const instantOrNull = Type.Union([Type.String({ format: 'date-time' }), Type.Null()])

export const AttemptRecord = Type.Object({
  attempt: Type.Integer(),
  state: Type.Unsafe<AttemptState>({ type: 'string', enum: [...ATTEMPT_STATES] }),
  agentId: Type.String(),
  offeredAt: instantOrNull,
  grantedAt: instantOrNull,
  finishedAt: instantOrNull,
  error: Type.Union([CommandError, Type.Null()]),
})
export type AttemptRecord = Static<typeof AttemptRecord>

/** `<commandId>.<number>`: also the name that an attempt's effects carry outside. */
export type AttemptId = string
export const ATTEMPT_ID_PATTERN = '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\\.[1-9][0-9]{0,9}$'

export const attemptId = (commandId: string, number: number): AttemptId => `${commandId}.${number}`

/** Splits an attempt id that matches ATTEMPT_ID_PATTERN. */
export const parseAttemptId = (id: AttemptId): { commandId: string; number: number } => {
  const dot = id.lastIndexOf('.')
  return { commandId: id.slice(0, dot), number: Number(id.slice(dot + 1)) }
}
