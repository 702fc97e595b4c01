/**
 * What keeps a request within itself. A provider that fetches an address, searches the web or runs a connector for a
 * request is a way out of a sandbox that has none, and costs what nobody can know beforehand. Pure.
 */
import { type JsonObject, objectOf, WireError } from './wire.ts'

/** The request with those tools alone that `own` keeps; null is none of a tool. */
export function withTools(body: JsonObject, own: (tool: JsonObject) => JsonObject | null): JsonObject {
  if (!Array.isArray(body.tools)) return body
  const tools = body.tools.flatMap((tool) => own(objectOf(tool)) ?? [])
  if (tools.length > 0) return { ...body, tools }
  const { tools: _, tool_choice: __, toolConfig: ___, ...rest } = body
  return rest
}

export function without(body: JsonObject, ...names: string[]): JsonObject {
  return Object.fromEntries(Object.entries(body).filter(([name]) => !names.includes(name)))
}

/** Throws `WireError` at the first object, however deep, that `isElsewhere` finds. */
export function refuseElsewhere(path: string, value: unknown, isElsewhere: (part: JsonObject) => boolean): void {
  const open: [path: string, value: unknown][] = [[path, value]]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [at, part] = next
    if (typeof part !== 'object' || part === null) continue
    if (!Array.isArray(part) && isElsewhere(part as JsonObject))
      throw new WireError(at, 'must be in the request itself, not at an address or with the provider')
    for (const [name, inner] of Object.entries(part)) open.push([`${at}/${name}`, inner])
  }
}

export function refuseGiven(body: JsonObject, ...names: string[]): void {
  for (const name of names)
    if (body[name] !== undefined && body[name] !== null)
      throw new WireError(`/${name}`, 'refers to what the provider keeps, which is not allowed')
}

export const isAddress = (value: unknown): boolean => typeof value === 'string' && !/^data:/i.test(value)
