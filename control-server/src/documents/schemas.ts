/** The schemas of what operators and requests say of profiles and engines, compiled when the first of each is read. */
import { Engine, Profile, ProfileOverrides, VariableValues } from '@agent-executor/protocol'
import type { ValidateFunction } from 'ajv'
import type { Problem } from '../profiles/document.ts'
import { schemaProblems } from '../validation/schema-problems.ts'
import { createValidator } from '../validation/validator.ts'

/** What is wrong with the value, each path after `at`; empty where it is as the schema says. */
type Check = (value: unknown, at: string) => Problem[]

const check = (schema: object): Check => {
  let validate: ValidateFunction | undefined
  return (value, at) => {
    validate ??= createValidator({ coerceTypes: false, useDefaults: false }).compile(schema)
    return validate(value) ? [] : schemaProblems(validate.errors ?? [], at)
  }
}

export const checkProfile = check(Profile)
export const checkEngine = check(Engine)
export const checkOverrides = check(ProfileOverrides)
export const checkVariables = check(VariableValues)
