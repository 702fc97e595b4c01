import { type Static, Type } from '../typebox.ts'

/** Payload of `DELAY`: wait `ms` milliseconds, a whole number from 0 to the server's `DELAY_MS_MAX`. */
export const delayPayload = (msMax: number) =>
  Type.Object({ ms: Type.Integer({ minimum: 0, maximum: msMax }) }, { additionalProperties: false })
export type DelayPayload = Static<ReturnType<typeof delayPayload>>

/** Result of `DELAY`. `tookMs` is counted from the first start, crashes and restarts included. */
export type DelayResult = { ok: true; tookMs: number }
