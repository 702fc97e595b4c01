// JSON that comes from strangers: told apart (fingerprint), refused (check), or made fit to be stored.
import { createHash } from 'node:crypto'
import type { JsonValue } from '@agent-executor/protocol'

const TOO_DEEP = '[too deep]'
const UNREADABLE = '[unreadable]'
const REPLACEMENT = '\ufffd'
// With the u flag a surrogate matches only where it has no partner.
const LONE_SURROGATE = /\p{Surrogate}/u
// Without it, the look that tells almost every text fit takes a fraction of the time.
const NUL_OR_SURROGATE = /[\0\ud800-\udfff]/

/**
 * The JSON text with the keys of every object sorted: equal for equal values. Throws `TypeError` for what JSON cannot
 * say (undefined, a cycle) and `RangeError` for nesting of some thousand levels.
 */
export function canonicalJson(value: unknown): string {
  const text: string | undefined = JSON.stringify(value, (_key, part: unknown) => {
    if (part === null || typeof part !== 'object' || Array.isArray(part)) return part
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
  if (text === undefined) throw new TypeError(`JSON cannot say ${typeof value}`)
  return text
}

/** The SHA-256 of the text's UTF-8 bytes, as 64 hexadecimal digits. */
export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

export interface JsonProblem {
  /** Where, as a JSON pointer (RFC 6901); `''` is the whole value. */
  path: string
  message: string
}

interface Place {
  value: unknown
  key: string
  parent: Place | null
  /** How many arrays and objects are around the value. */
  depth: number
}

/**
 * Looks for what valid JSON may hold but no database takes: more than `depthMax` arrays and objects inside one another,
 * more than `keysMax` object keys altogether, and lone surrogates in strings and keys. Answers one problem, or null.
 * Takes any nesting without overflowing the stack.
 */
export function checkJson(
  value: unknown,
  { depthMax, keysMax = Number.POSITIVE_INFINITY }: { depthMax: number; keysMax?: number },
): JsonProblem | null {
  const places: Place[] = [{ value, key: '', parent: null, depth: 0 }]
  let keyCount = 0
  for (let place = places.pop(); place !== undefined; place = places.pop()) {
    const parent = place
    const problem = (message: string) => ({ path: pointer(parent), message })

    if (typeof parent.value === 'string' && LONE_SURROGATE.test(parent.value)) return problem('has a lone surrogate')
    if (typeof parent.value !== 'object' || parent.value === null) continue
    if (parent.depth >= depthMax) return problem(`is nested deeper than ${depthMax} levels`)

    const entries = Object.entries(parent.value)
    if (!Array.isArray(parent.value)) {
      keyCount += entries.length
      if (keyCount > keysMax) return problem(`has the key that is one more than the ${keysMax} allowed`)
      if (entries.some(([key]) => LONE_SURROGATE.test(key))) return problem('has a key with a lone surrogate')
    }
    for (const [key, child] of entries) places.push({ value: child, key, parent, depth: parent.depth + 1 })
  }
  return null
}

function pointer(place: Place): string {
  const keys: string[] = []
  for (let at = place; at.parent !== null; at = at.parent)
    keys.unshift(at.key.replaceAll('~', '~0').replaceAll('/', '~1'))
  return keys.map((key) => `/${key}`).join('')
}

export interface StorableJson {
  value: JsonValue
  /** Whether the value differs from the one given. */
  changed: boolean
  /** Whether the value is a string with the beginning of the JSON text, because the whole was too large. */
  truncated: boolean
}

/**
 * Makes any value one that every database stores and gives back unchanged: lone surrogates and NUL become U+FFFD; what
 * JSON cannot say becomes null; what lies below `depthMax` (at most 1,000) levels becomes its JSON text, or `[too deep]`
 * where that cannot be had, as for a cycle. Where the JSON text is above `bytesMax` (UTF-8, at least 2) it becomes a
 * string with the text's beginning, whose own JSON text fits. Never throws.
 */
export function storableJson(
  value: unknown,
  { bytesMax, depthMax }: { bytesMax: number; depthMax: number },
): StorableJson {
  const cleaner = createCleaner(depthMax)
  try {
    const clean = cleaner.clean(value)
    const text = bytesMax === Number.POSITIVE_INFINITY ? '' : JSON.stringify(clean)
    if (Buffer.byteLength(text) <= bytesMax) return { value: clean, changed: cleaner.changed(), truncated: false }
    return { value: beginning(text, bytesMax), changed: true, truncated: true }
  } catch {
    // A getter or toJSON that throws, or a text longer than any string can be.
    return { value: beginning(UNREADABLE, bytesMax), changed: true, truncated: false }
  }
}

function createCleaner(depthMax: number): { clean: (value: unknown) => JsonValue; changed: () => boolean } {
  const around = new Set<object>()
  let changed = false

  function replaced<T>(replacement: T): T {
    changed = true
    return replacement
  }

  function cleanText(text: string): string {
    if (!NUL_OR_SURROGATE.test(text)) return text
    const clean = text.replace(/[\0\p{Surrogate}]/gu, REPLACEMENT)
    return clean === text ? text : replaced(clean)
  }

  function clean(value: unknown): JsonValue {
    if (typeof value === 'string') return cleanText(value)
    if (value === null || typeof value === 'boolean' || Number.isFinite(value)) return value as JsonValue
    if (typeof value !== 'object') return replaced(null)
    if (around.has(value)) return replaced(TOO_DEEP)
    if ('toJSON' in value && typeof value.toJSON === 'function') {
      const json: unknown = value.toJSON()
      return replaced(json === value ? null : clean(json))
    }
    if (around.size >= depthMax) return replaced(jsonText(value))
    around.add(value)
    const fit = Array.isArray(value) ? cleanItems(value) : cleanParts(value as Readonly<Record<string, unknown>>)
    around.delete(value)
    return fit
  }

  /** Itself where every item is fit, which almost every value is. */
  function cleanItems(items: readonly unknown[]): JsonValue {
    // Not `map`, which passes over holes.
    const fit = Array.from(items, clean)
    return fit.every((item, index) => item === items[index]) ? (items as JsonValue) : fit
  }

  function cleanParts(parts: Readonly<Record<string, unknown>>): JsonValue {
    const names = Object.keys(parts)
    const fitNames = names.map(cleanText)
    const fit = names.map((name) => clean(parts[name]))
    const isFit = names.every((name, index) => name === fitNames[index] && parts[name] === fit[index])
    return isFit ? (parts as JsonValue) : Object.fromEntries(fitNames.map((name, index) => [name, fit[index] ?? null]))
  }

  return { clean, changed: () => changed }
}

function jsonText(value: object): string {
  try {
    return JSON.stringify(value) ?? TOO_DEEP
  } catch {
    return TOO_DEEP
  }
}

/** The longest beginning of a text without control characters whose JSON text has at most `bytesMax` bytes. */
function beginning(text: string, bytesMax: number): string {
  let bytes = 2
  let end = 0
  for (const character of text) {
    bytes += character === '"' || character === '\\' ? 2 : Buffer.byteLength(character)
    if (bytes > bytesMax) break
    end += character.length
  }
  return text.slice(0, end)
}
