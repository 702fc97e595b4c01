/** What the server remembers of a command. Plain data: `transition.ts` alone changes it. */
import type {
  AttemptState,
  CommandError,
  CommandStatus,
  CommandType,
  JsonValue,
  RunAgentSecrets,
} from '@agent-executor/protocol'

export type AgentKind = 'sync' | 'simple'

export type Attempt = {
  number: number
  state: AttemptState
  agentId: string
  /** The incarnation it was granted to; null before the grant. */
  incarnation: number | null
  /** How long the agent may be silent before the lease is over, from its last renewal or the grant. */
  leaseMs: number
  offeredAtMs: number
  grantedAtMs: number | null
  lostAtMs: number | null
  finishedAtMs: number | null
  outcomeSha256: string | null
  error: CommandError | null
}

/** What was submitted, defaults filled in. Never changes. */
export type CommandSpec = {
  payload: JsonValue
  labels: string[]
  pinnedTo: string | null
  timeoutMs: number
  totalTimeoutMs: number | null
  expiresAtMs: number | null
  notBeforeMs: number | null
  retry: {
    maxAttempts: number
    backoff: { initialMs: number; maxMs: number; factor: number }
    retryOn: string[] | null
  }
  takeover: 'manual' | 'auto'
  lostAfterMs: number | null
  metadata: Record<string, string | number | boolean>
}

export type Command = {
  commandId: string
  type: CommandType
  priority: number
  spec: CommandSpec
  /** For the agent alone, in no answer; the store forgets them when the command is final. */
  secrets: RunAgentSecrets | null
  status: CommandStatus
  /** When it may be offered, null = now. Later than now for `notBefore` and between retries. */
  availableAtMs: number | null
  result: JsonValue
  resultTruncated: boolean
  error: CommandError | null
  cancel: { reason: string; requestedAtMs: number } | null
  grantedCount: number
  crashCount: number
  createdAtMs: number
  startedAtMs: number | null
  finishedAtMs: number | null
  /**
   * The newest attempt and, where another one, the newest that was granted; to an agent that asks, also those granted to
   * it. In the order of their numbers.
   */
  attempts: readonly Attempt[]
}

/**
 * Status and newest attempt in one word, the states of the machine: WAITING and OFFERED are PENDING on the wire,
 * RUNNING and LOST are RUNNING.
 */
export const PHASES = ['WAITING', 'OFFERED', 'RUNNING', 'LOST', 'COMPLETED', 'FAILED', 'CANCELLED'] as const
export type Phase = (typeof PHASES)[number]

export const newestAttempt = (command: Command): Attempt | undefined => command.attempts.at(-1)

export const lastGrantedAttempt = (command: Command): Attempt | undefined =>
  command.attempts.findLast((attempt) => attempt.grantedAtMs !== null)

export const phaseOf = (command: Command): Phase => {
  const state = newestAttempt(command)?.state
  switch (command.status) {
    case 'PENDING':
      return state === 'OFFERED' ? 'OFFERED' : 'WAITING'
    case 'RUNNING':
      return state === 'LOST' ? 'LOST' : 'RUNNING'
    default:
      return command.status
  }
}
