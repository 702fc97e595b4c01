/** Schemas that many others are made of. */
import { Type } from './typebox.ts'

export const oneOf = <const T extends readonly string[]>(values: T) =>
  Type.Unsafe<T[number]>({ type: 'string', enum: [...values] })

/** RFC 3339 with a time zone, e.g. `2026-11-21T14:00:00Z`. */
export const Instant = Type.String({ format: 'date-time' })

/** Of profiles, templates and engines: safe in URLs and file names, whatever the file system thinks of case. */
export const DOCUMENT_NAME_PATTERN = '^[a-z0-9][a-z0-9-]{0,63}$'
export const DocumentName = Type.String({ pattern: DOCUMENT_NAME_PATTERN, maxLength: 64 })

/** What every record of a document begins with. */
export const documentHead = {
  name: Type.String(),
  version: Type.Integer({ description: 'Counts from 1 and goes on after a deletion; also the ETag' }),
  origin: oneOf(['api', 'seed']),
  updatedAt: Instant,
}
