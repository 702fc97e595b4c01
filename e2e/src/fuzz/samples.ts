/** Requests that are right, or nearly: values made from the schema of a route and from what the server has answered. */

import type { Random } from '../random.ts'
import type { Route, Schema } from '../routes.ts'

export type Request = {
  method: string
  path: string
  headers: Record<string, string>
  body: Buffer | null
}
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

export const AGENT_IDS = ['f-0', 'f-1', 'f-2']
const TEXTS = [
  'a',
  'DELAY',
  'x.1',
  'y.9999999999',
  'f-0',
  'nonce-001',
  'EXIT_CODE',
  'http://127.0.0.1:1/',
  '0'.repeat(64),
  'ü 👍',
  'a=b',
  '',
]
const KEPT_MAX = 12
/** Fields that tell the server what it said under another name. */
const SAID_AS: Readonly<Record<string, string>> = { previousIncarnation: 'incarnation', revSeen: 'rev' }

export type Memory = ReturnType<typeof createMemory>

/** Values by the name of their field, in all and by the agent whose request they answered, newest first. */
export function createMemory() {
  const kept = new Map<string, Json[]>()
  let counter = 0
  const keep = (name: string, value: Json): void => {
    kept.set(name, [value, ...(kept.get(name) ?? []).filter((each) => each !== value)].slice(0, KEPT_MAX))
  }
  const remember = (value: Json, scope: string): void => {
    if (Array.isArray(value)) for (const each of value.slice(0, 20)) remember(each, scope)
    else if (typeof value === 'object' && value !== null)
      for (const [name, each] of Object.entries(value)) {
        if (typeof each === 'string' || typeof each === 'number') {
          keep(name, each)
          if (scope !== '') keep(`${scope}/${name}`, each)
        } else remember(each, scope)
      }
  }
  return {
    remember,
    of: (name: string, scope: string): readonly Json[] => kept.get(`${scope}/${name}`) ?? kept.get(name) ?? [],
    texts: (): readonly Json[] => [
      ...(kept.get('commandId') ?? []),
      ...(kept.get('attemptId') ?? []),
      ...(kept.get('epoch') ?? []),
    ],
    count: (): number => {
      counter += 1
      return counter
    },
  }
}

/** A value that satisfies the schema, as far as its patterns can be met from what is known. */
function sample(schema: Schema, random: Random, memory: Memory, scope: string, name = ''): Json {
  if (schema.const !== undefined) return schema.const as Json
  if (schema.enum !== undefined) return random.pick(schema.enum) as Json
  const choices = schema.oneOf ?? schema.anyOf
  if (choices !== undefined) return sample(random.pick(choices), random, memory, scope, name)
  // Grows for ever, as agents count their syncs.
  if (name === 'seq') return memory.count()
  switch (schema.type) {
    case 'object':
      return sampleObject(schema, random, memory, scope)
    case 'array':
      return Array.from({ length: random.between(0, 3) }, () => sample(schema.items ?? {}, random, memory, scope, name))
    case 'string':
      return sampleText(schema, random, memory, scope, name)
    case 'integer':
    case 'number': {
      const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = schema
      const isWithin = (each: Json): boolean => typeof each === 'number' && each >= minimum && each <= maximum
      const known = memory.of(SAID_AS[name] ?? name, scope).find(isWithin)
      if (known !== undefined && random.chance(0.85)) return known
      return random.pick([minimum, minimum, Math.min(maximum, minimum + random.between(0, 5)), maximum])
    }
    case 'boolean':
      return random.chance(0.5)
    case 'null':
      return null
    default:
      return random.pick<Json>([null, 1, 'text', [1, [2]], { a: { b: null } }, true])
  }
}

function sampleObject(schema: Schema, random: Random, memory: Memory, scope: string): Json {
  const object: Record<string, Json> = {}
  for (const [name, each] of Object.entries(schema.properties ?? {}))
    if (schema.required?.includes(name) || random.chance(0.3)) object[name] = sample(each, random, memory, scope, name)
  for (const [pattern, each] of Object.entries(schema.patternProperties ?? {}))
    for (const key of TEXTS.filter((text) => new RegExp(pattern).test(text)))
      if (random.chance(0.4)) object[key] = sample(each, random, memory, scope)
  // The parts of an attempt and of its offer belong together.
  const { attemptId } = object
  if (typeof attemptId === 'string' && random.chance(0.9))
    for (const part of [object, ...Object.values(object)])
      if (isObject(part) && 'attemptId' in part) nameAttempt(part, attemptId)
  return object
}

const isObject = (value: Json): value is Record<string, Json> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const nameAttempt = (part: Record<string, Json>, attemptId: string): void => {
  const dot = attemptId.lastIndexOf('.')
  part.attemptId = attemptId
  if ('commandId' in part) part.commandId = attemptId.slice(0, dot)
  if ('attempt' in part) part.attempt = Number(attemptId.slice(dot + 1))
}

function sampleText(schema: Schema, random: Random, memory: Memory, scope: string, name: string): string {
  if (name === 'agentId') return scope !== '' && random.chance(0.8) ? scope : random.pick(AGENT_IDS)
  if (name === 'journalId' && scope !== '' && random.chance(0.9)) return `journal-of-${scope}`
  if (schema.format === 'date-time') return new Date(Date.now() + random.pick([-1e9, 1000, 1e6, 1e12])).toISOString()
  if (schema.format === 'date') return new Date(Date.now() + random.pick([-1e9, 0, 1e9])).toISOString().slice(0, 10)
  const fits = (text: Json): text is string =>
    typeof text === 'string' && text.length >= (schema.minLength ?? 0) && new RegExp(schema.pattern ?? '').test(text)
  const known = memory.of(name, scope).filter(fits)
  // The newest epoch is the one that counts; of commands any may do.
  if (known.length > 0 && random.chance(0.85)) return random.chance(0.6) ? (known[0] as string) : random.pick(known)
  const candidates = [...TEXTS, `nonce-${random.between(1000, 1_000_000)}`, ...memory.texts()].filter(fits)
  return candidates.length > 0 ? random.pick(candidates) : 'a'
}

const FILE_NAMES = ['output/file', 'workspace/..%2f..%2fetc%2fpasswd', '%00', 'a//b', '%F0%9F%98%80']

/** A request for the route that the server could well serve. */
export function request({ method, url, schema }: Route, random: Random, memory: Memory, scope: string): Request {
  const path = url
    .replace(/:(\w+)/g, (_, name: string) =>
      encodeURIComponent(name === 'agentId' ? scope : String(random.pick([...memory.of(name, ''), 'nobody-knows']))),
    )
    .replace(/\*$/, () => random.pick(FILE_NAMES))
  const query =
    schema.querystring === undefined ? {} : (sample(schema.querystring, random, memory, scope) as Record<string, Json>)
  // Nobody waits longer for nothing, and a fuzz least of all.
  if ('timeoutMs' in (schema.querystring?.properties ?? {})) query.timeoutMs = random.between(0, 50)
  const text = new URLSearchParams(query as Record<string, string>).toString()
  const body = schema.body === undefined ? null : sample(schema.body, random, memory, scope)
  return {
    method,
    path: text === '' ? path : `${path}?${text}`,
    headers: {
      ...(body === null ? {} : { 'Content-Type': 'application/json' }),
      ...(method === 'POST' && random.chance(0.1) ? { 'Idempotency-Key': `k-${random.between(0, 20)}` } : {}),
    },
    body: body === null ? null : Buffer.from(JSON.stringify(body)),
  }
}

/** The request as it goes over the wire. */
export function bytesOf({ method, path, headers, body }: Request, close = true): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  const length = body === null ? [] : [`Content-Length: ${body.length}`]
  const end = close ? ['Connection: close'] : []
  const head = [`${method} ${path} HTTP/1.1`, 'Host: localhost', ...lines, ...length, ...end].join('\r\n')
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`), body ?? Buffer.alloc(0)])
}
