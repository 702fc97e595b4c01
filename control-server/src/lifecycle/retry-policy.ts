/** Whether and when a failed attempt is followed by another. */
import type { CommandError } from '@agent-executor/protocol'
import type { Command } from './command.ts'

/** True where the submitter asked for more attempts and this error is one of those he named, or retryable by its code. */
export const mayRetry = (command: Command, error: CommandError): boolean => {
  const { maxAttempts, retryOn } = command.spec.retry
  return command.grantedCount < maxAttempts && (retryOn === null ? error.retryable : retryOn.includes(error.code))
}

/** Exponential with full jitter: a random share (`random` in [0, 1)) of a bound that grows with every granted attempt. */
export const backoffMs = (command: Command, random: number): number => {
  const { initialMs, maxMs, factor } = command.spec.retry.backoff
  return Math.floor(random * Math.min(maxMs, initialMs * factor ** Math.max(0, command.grantedCount - 1)))
}
