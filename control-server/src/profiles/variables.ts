/** Typed variables: what a declaration may say, and which values it takes. Messages never show a value: it may be secret. */
import type { ProfileVariable, VariableValue } from '@agent-executor/protocol'
import type { Problem } from './document.ts'

type Type = ProfileVariable['type']

/** The rules that have a meaning for a type. */
const RULES: Readonly<Record<Type, readonly (keyof ProfileVariable)[]>> = {
  string: ['default', 'min', 'max', 'pattern'],
  integer: ['default', 'min', 'max'],
  float: ['default', 'min', 'max'],
  boolean: ['default'],
  enum: ['default', 'values'],
  list: ['default', 'min', 'max', 'pattern', 'values'],
  // A default would stand in the profile, where everybody reads it.
  secret: ['min', 'max', 'pattern'],
}
const OF_ALL: readonly string[] = ['type', 'description', 'required']

/** Words of the template language, and names that every template has. */
const RESERVED: readonly string[] = [
  ...['and', 'break', 'call', 'caller', 'continue', 'else', 'elif', 'endcall', 'endfilter', 'endfor', 'endif'],
  ...['endmacro', 'endset', 'false', 'filter', 'for', 'if', 'in', 'is', 'kwargs', 'loop', 'macro', 'namespace'],
  ...['none', 'not', 'or', 'range', 'set', 'strftime_now', 'true', 'varargs'],
  ...['constructor', 'hasOwnProperty', 'isPrototypeOf', 'prototype', 'toJSON', 'toString', 'valueOf'],
]

/** A text that has to match a pattern as a whole; where that is tested there is a limit on time. */
export type PatternCheck = { path: string; pattern: string; text: string }

export function declarationProblems(name: string, variable: ProfileVariable, path: string): Problem[] {
  const { type, min, max, pattern, values, required } = variable
  const problems: Problem[] = []
  const refuse = (field: string, message: string) => problems.push({ path: `${path}${field}`, message })

  if (RESERVED.includes(name) || name === 'raise_exception') refuse('', 'has a name that templates use otherwise')
  for (const field of Object.keys(variable))
    if (!OF_ALL.includes(field) && !RULES[type].includes(field as keyof ProfileVariable))
      refuse(`/${field}`, `means nothing for type ${type}`)
  if (type === 'enum' && values === undefined) refuse('/values', 'is required for type enum')
  if (min !== undefined && max !== undefined && min > max) refuse('/min', 'must not be above max')
  const isCount = type !== 'float' && type !== 'integer'
  for (const [field, limit] of [['min', min] as const, ['max', max] as const])
    if (limit !== undefined && isCount && (!Number.isSafeInteger(limit) || limit < 0))
      refuse(`/${field}`, `must be a whole number of 0 or more: it counts ${type === 'list' ? 'items' : 'characters'}`)
  if (pattern !== undefined && !isPattern(pattern)) refuse('/pattern', 'is not a regular expression')
  if (required === true && variable.default !== undefined) refuse('/required', 'is always met where there is a default')
  if (problems.length === 0 && variable.default !== undefined)
    for (const message of valueProblems(variable, variable.default)) refuse('/default', message)
  return problems
}

// By itself: in the group that makes it match the whole, `a)|(b` would be an expression, and match what begins with a.
const isPattern = (pattern: string): boolean => {
  try {
    return new RegExp(pattern, 'u') instanceof RegExp
  } catch {
    return false
  }
}

/** All that is wrong with a value but its pattern. */
export function valueProblems(variable: ProfileVariable, value: VariableValue): string[] {
  const { type, min, max, values = [] } = variable
  const within = (amount: number, what: string): string[] => [
    ...(min !== undefined && amount < min ? [`must ${what} at least ${min}`] : []),
    ...(max !== undefined && amount > max ? [`must ${what} at most ${max}`] : []),
  ]
  const oneOfValues = `must be one of ${values.join(', ')}`
  switch (type) {
    case 'string':
    case 'secret':
      return typeof value === 'string' ? within([...value].length, 'have characters:') : ['must be a string']
    case 'integer':
      return Number.isSafeInteger(value) ? within(value as number, 'be') : ['must be a whole number']
    case 'float':
      return typeof value === 'number' && Number.isFinite(value) ? within(value, 'be') : ['must be a number']
    case 'boolean':
      return typeof value === 'boolean' ? [] : ['must be true or false']
    case 'enum':
      return typeof value === 'string' && values.includes(value) ? [] : [oneOfValues]
    case 'list': {
      if (!Array.isArray(value)) return ['must be a list of strings']
      const isOdd = variable.values !== undefined && value.some((item) => !values.includes(item))
      return [
        ...within(value.length, 'have items:'),
        ...(isOdd ? [`has an item that is none of ${values.join(', ')}`] : []),
      ]
    }
  }
}

/** What remains to be tested of a value without problems. */
export function patternChecks(variable: ProfileVariable, value: VariableValue, path: string): PatternCheck[] {
  const { pattern } = variable
  if (pattern === undefined) return []
  return (Array.isArray(value) ? value : [value]).map((text, index) => ({
    path: Array.isArray(value) ? `${path}/${index}` : path,
    pattern,
    text: String(text),
  }))
}
