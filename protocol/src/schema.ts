/** Schemas that many others are made of. */
import { Type } from './typebox.ts'

export const oneOf = <const T extends readonly string[]>(values: T) =>
  Type.Unsafe<T[number]>({ type: 'string', enum: [...values] })

/** RFC 3339 with a time zone, e.g. `2026-11-21T14:00:00Z`. */
export const Instant = Type.String({ format: 'date-time' })
