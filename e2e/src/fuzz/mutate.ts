/** Damage: to bytes (flip, cut, repeat, splice), and to JSON values one node at a time. */
import type { Random } from '../random.ts'
import type { Json } from './samples.ts'

const INTERESTING = [
  '\0',
  '\r\n',
  '\n',
  '"',
  '{',
  '[',
  '\\u',
  '\\ud800',
  '%00',
  '%',
  ':',
  ',',
  '\xff',
  '-1',
  '1e999',
  'chunked',
  '0\r\n\r\n',
]

/** One to four wounds; `other` is what pieces are taken from besides. */
export function mutateBytes(bytes: Buffer, other: Buffer, random: Random): Buffer {
  let wounded = Buffer.from(bytes)
  for (let count = random.between(1, 4); count > 0; count -= 1) {
    const at = random.between(0, wounded.length)
    const to = Math.min(wounded.length, at + random.between(1, 40))
    const [head, piece, tail] = [wounded.subarray(0, at), wounded.subarray(at, to), wounded.subarray(to)]
    const otherAt = random.between(0, other.length)
    const kind = random.between(0, 5)
    const parts = [
      [head, flipped(piece, random), tail],
      [head, tail],
      [head, piece, ...Array.from({ length: random.between(1, 30) }, () => piece), tail],
      [head, other.subarray(otherAt, otherAt + random.between(1, 200)), tail],
      [head, Buffer.from(random.pick(INTERESTING), 'latin1'), piece, tail],
      [head],
    ][kind] as Buffer[]
    wounded = Buffer.concat(parts)
  }
  return wounded
}

const flipped = (piece: Buffer, random: Random): Buffer => {
  const copy = Buffer.from(piece)
  const at = random.between(0, copy.length)
  if (at < copy.length) copy[at] = (copy[at] as number) ^ (1 << random.between(0, 7))
  return copy
}

const ODD: readonly Json[] = [
  null,
  true,
  [],
  {},
  [[[[]]]],
  -1,
  0,
  0.1,
  1e300,
  -1e300,
  2 ** 31,
  2 ** 53,
  Number.MAX_SAFE_INTEGER,
  '',
  ' ',
  'a'.repeat(300),
  'a\0b',
  '\ud800',
  '\u202e',
  '__proto__',
  '../../etc/passwd',
  "'; DROP TABLE commands; --",
  '0000-00-00T00:00:00Z',
  '9999-12-31T23:59:60Z',
  '2147483648.9999999999',
  '🙂'.repeat(50),
]
const ODD_KEYS = ['__proto__', 'constructor', 'toString', '', 'a'.repeat(300), '\u0000', 'seconds', 'offer', 'outcome']

type Place = { holder: Json[] | Record<string, Json>; key: string | number }

/** The value with one node replaced, removed, doubled, or with a key more. */
export function mutateJson(value: Json, random: Random): Json {
  const root: Json[] = [structuredClone(value)]
  const places: Place[] = []
  const visit = (holder: Place['holder']): void => {
    for (const key of Array.isArray(holder) ? holder.keys() : Object.keys(holder)) {
      places.push({ holder, key })
      const child = (holder as Record<string | number, Json>)[key]
      if (typeof child === 'object' && child !== null) visit(child)
    }
  }
  visit(root)
  const { holder, key } = random.pick(places) as { holder: Record<string | number, Json>; key: string | number }
  const from = random.pick(places) as { holder: Record<string | number, Json>; key: string | number }
  const odd = random.pick(ODD)
  const oddKey = random.pick(ODD_KEYS)
  const target = holder[key]
  switch (random.between(0, 4)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(key as number, 1)
      else delete holder[key]
      break
    case 1:
      // Defined, not assigned: `__proto__` has to become a key like any other.
      if (typeof target === 'object' && target !== null && !Array.isArray(target))
        Object.defineProperty(target, oddKey, { value: odd, enumerable: true, configurable: true, writable: true })
      else holder[key] = odd
      break
    case 2:
      holder[key] = structuredClone(from.holder[from.key] ?? null)
      break
    case 3:
      if (Array.isArray(target) && target.length > 0) target.push(...structuredClone(target))
      else holder[key] = odd
      break
    default:
      holder[key] = odd
  }
  return root[0] ?? null
}
