/** Usage of language models as the database knows it; the promises of `store.ts` hold here too. */
import type { UsageGrouping, UsageSum } from '@agent-executor/protocol'
import type { KeptCall, UsageDecision, UsageFacts } from '../lifecycle/usage.ts'

/** The last call of a page: the next one begins after it. */
export type CallPlace = { attempt: number; gatewayId: string; callId: number }

export type StoredCall = KeptCall & { attempt: number; receivedAtMs: number }

export type UsageOfCommand = {
  attempts: (UsageSum & { attempt: number })[]
  /** By attempt and gateway, in the order in which they were made. */
  calls: StoredCall[]
}

export type UsageQuery = { groupBy: UsageGrouping; from: string; to: string; limit: number }
export type UsageAnswer = {
  total: UsageSum
  groupCount: number
  groups: (UsageSum & { key: string | null })[]
  /** False where it has looked at the newest only. */
  isComplete: boolean
}

export interface UsageStore {
  /**
   * Shows what is known to `decide`, and stores the calls that it answers, with the sums of their days, attempts and so
   * on, in one transaction. A call that is there already changes nothing. `added` are the new ones.
   */
  change(
    commandId: string,
    attempt: number,
    agentId: string,
    nowMs: number,
    decide: (facts: UsageFacts) => UsageDecision,
  ): Promise<{ decision: UsageDecision; added: KeptCall[] }>

  /** Of a command that may be gone, with at most `limit` calls after `after`. */
  ofCommand(commandId: string, after: CallPlace | null, limit: number): Promise<UsageOfCommand>

  /** Sums of whole days, the last included: days from the newest on, everything else from the dearest on. */
  groups(query: UsageQuery): Promise<UsageAnswer>
}
