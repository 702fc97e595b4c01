import { FAILURE_CODES, type FailureCode, type JsonValue } from '@agent-executor/protocol'
import type { Ending } from './executor.ts'

/** Why an effect ended without a result, thrown inside an executor and answered by `failed` at its edge. */
export class Failure extends Error {
  readonly code: FailureCode

  constructor(code: FailureCode, message: string) {
    super(message)
    this.code = code
  }
}

/** The ending for a failure. `retryable` is what the table of codes says. */
export const failed = ({
  code,
  message,
  details,
}: {
  code: FailureCode
  message: string
  details?: JsonValue
}): Ending => ({
  ok: false,
  error: { code, message, retryable: FAILURE_CODES[code][0], ...(details === undefined ? {} : { details }) },
})
