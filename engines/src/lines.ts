/** What the parsers have in common: lines that may be anything, and texts that may be long. */

export type Fields = Readonly<Record<string, unknown>>

const EVENT_CHARACTERS_MAX = 2000

/** Null for whatever is no JSON object. */
export function objectOf(line: string): Fields | null {
  if (!line.startsWith('{')) return null
  try {
    return fields(JSON.parse(line))
  } catch {
    return null
  }
}

/** Empty for whatever is no object. */
export const fields = (value: unknown): Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}

export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

export const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)

/** A text as it is, anything else as JSON. */
export const shown = (value: unknown): string =>
  value === undefined ? '' : typeof value === 'string' ? value : (JSON.stringify(value) ?? '')

/** Without half of a pair of code units at its end. */
export const cut = (value: string): string =>
  value.length <= EVENT_CHARACTERS_MAX ? value : value.slice(0, EVENT_CHARACTERS_MAX).replace(/[\uD800-\uDBFF]$/, '')
