/**
 * What a request cannot say otherwise. A lock names a field, a section with everything in it, or a variable. Locks bind
 * requests, not the profiles that extend: whoever writes a profile is an operator. What one profile of a chain locks is
 * locked for every request that comes through it.
 */
import type { Profile } from '@agent-executor/protocol'
import { FIELDS, type FieldPath, sameAs } from './fields.ts'

export const VARIABLES = 'prompt.variables'
export const variablePath = (name: string): string => `${VARIABLES}.${name}`

const covers = (lock: string, path: string): boolean => path === lock || path.startsWith(`${lock}.`)

/** Whether a lock is about anything at all: a typo would lock nothing in silence. */
export const isLockable = (lock: string, variableNames: readonly string[]): boolean =>
  lock === VARIABLES ||
  FIELDS.some((path) => covers(lock, path)) ||
  variableNames.some((name) => variablePath(name) === lock)

export function isFieldLocked(locks: readonly string[], path: FieldPath): boolean {
  return sameAs(path).some((each) => locks.some((lock) => covers(lock, each)))
}

export const isVariableLocked = (locks: readonly string[], name: string): boolean =>
  locks.some((lock) => covers(lock, variablePath(name)))

export const locksOf = (chain: readonly Profile[]): string[] => [...new Set(chain.flatMap(({ locked = [] }) => locked))]
