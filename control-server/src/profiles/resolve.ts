/**
 * What a profile comes to for one request: every field from the nearest that says it (the request, the profile, those it
 * extends, the default), every variable checked, and where each came from.
 */
import type {
  EngineDefinition,
  Profile,
  ProfileOverrides,
  ProfileVariable,
  ValueOrigin,
  VariableValue,
} from '@agent-executor/protocol'
import { type Chain, chainOf, declaredBy, isChain, promptOwner, promptText, systemOwner } from './chain.ts'
import type { Refusal } from './change.ts'
import { noSuch } from './change.ts'
import {
  type Documents,
  definitionIn,
  engineIn,
  type LiveProfile,
  type Problem,
  profileIn,
  templateIn,
} from './document.ts'
import { asSections, FIELDS, type FieldPath, type FieldValue, fieldOf, pointerTo, sameAs } from './fields.ts'
import { isFieldLocked, isVariableLocked, locksOf } from './locks.ts'
import { defaultOf, type Maxima, maximumProblem } from './profile.ts'
import { type PatternCheck, patternChecks, valueProblems } from './variables.ts'

/** What a secret is shown as, wherever somebody can read it. */
export const SECRET_SHOWN = '[secret]'

export type ProfileRequest = {
  overrides: ProfileOverrides
  variables: Readonly<Record<string, VariableValue>>
  /** The variables that the prompts among the overrides name. */
  names: { text: string[]; system: string[] }
}

type Origin = { from: ValueOrigin; profile: string | null; locked: boolean }
export type ResolvedField = Origin & { value: FieldValue }
/** `value` is undefined where nobody gave one. */
export type ResolvedVariable = Origin & { variable: ProfileVariable; value: VariableValue | undefined }

export type Resolved = {
  chain: readonly { name: string; version: number }[]
  fields: ReadonlyMap<FieldPath, ResolvedField>
  /** Null where there is none of the name. */
  engine: EngineDefinition | null
  variables: ReadonlyMap<string, ResolvedVariable>
  /** Templates, to be rendered with the variables. */
  prompt: { text: string | null; system: string | null }
  /** Those that the prompt was taken from. */
  templates: readonly { name: string; version: number }[]
  /** What remains to be tested of the variables, in a place with a limit on time; each path is one of the request. */
  patterns: PatternCheck[]
}

export function resolve(
  documents: Documents,
  name: string,
  request: ProfileRequest,
  maxima: Maxima,
): { ok: true; resolved: Resolved } | { ok: false; refusal: Refusal } {
  if (profileIn(documents, name) === undefined) return refused('PROFILE_NOT_FOUND', [], noSuch('profile', name))
  const chain = chainOf(documents, name)
  if (!isChain(chain)) return refused('PROFILE_UNUSABLE', [chain])

  const locks = locksOf(chain.map(({ content }) => content.profile))
  const lockProblems = [
    ...FIELDS.filter((path) => fieldOf(request.overrides, path) !== undefined && isFieldLocked(locks, path)).map(
      (path) => locked(`/overrides${pointerTo(path)}`),
    ),
    ...Object.keys(request.variables)
      .filter((variable) => isVariableLocked(locks, variable))
      .map((variable) => locked(`/variables/${variable}`)),
  ]
  if (lockProblems.length > 0) return refused('FIELD_LOCKED', lockProblems)

  const fields = resolvedFields(documents, chain, { overrides: request.overrides, locks, maxima })
  const variables = resolvedVariables(chain, request, locks)
  const prompt = resolvedPrompt(documents, chain, request, variables)
  const asked = [...fieldProblems(fields, maxima, true), ...variableProblems(variables, request), ...prompt.asked]
  if (asked.length > 0) return refused('INVALID_REQUEST', asked)
  const own = [...fieldProblems(fields, maxima, false), ...prompt.own]
  if (own.length > 0) return refused('PROFILE_UNUSABLE', own)

  return {
    ok: true,
    resolved: {
      chain: chain.map((each) => ({ name: each.name, version: each.version })),
      fields,
      engine: engineOf(documents, fields),
      variables,
      prompt: { text: prompt.text, system: prompt.system },
      templates: templatesOf(documents, fields),
      patterns: [...variables].flatMap(([variable, { variable: declared, value, from }]) =>
        value === undefined || from !== 'request' ? [] : patternChecks(declared, value, `/variables/${variable}`),
      ),
    },
  }
}

/** The values as the sections of a profile. */
export const configurationOf = (fields: Resolved['fields']): Record<string, unknown> =>
  asSections(new Map([...fields].map(([path, { value }]) => [path, value])))

/** What templates are rendered with where somebody reads the result. A list that nobody gave is an empty one. */
export const shownValues = (variables: Resolved['variables']): Record<string, VariableValue> =>
  Object.fromEntries(
    [...variables].flatMap(([name, { variable, value }]): [string, VariableValue][] => {
      if (value === undefined) return variable.type === 'list' ? [[name, []]] : []
      return [[name, variable.type === 'secret' ? SECRET_SHOWN : value]]
    }),
  )

/** As `shownValues`, for what nobody reads but the container. */
export const secretValues = (variables: Resolved['variables']): Record<string, string> =>
  Object.fromEntries(
    [...variables].flatMap(([name, { variable, value }]) =>
      variable.type === 'secret' && typeof value === 'string' ? [[name, value]] : [],
    ),
  )

const templatesOf = (documents: Documents, fields: Resolved['fields']): Resolved['templates'] => {
  const name = fields.get('prompt.template')?.value
  const found = typeof name === 'string' ? templateIn(documents, name) : undefined
  return found === undefined ? [] : [{ name: found.name, version: found.version }]
}

const refused = (code: Refusal['code'], details: Problem[], message?: string): { ok: false; refusal: Refusal } => ({
  ok: false,
  refusal: { code, ...(message === undefined ? {} : { message }), ...(details.length === 0 ? {} : { details }) },
})

const locked = (path: string): Problem => ({ path, message: 'is locked by the profile' })

const engineOf = (documents: Documents, fields: Resolved['fields']): EngineDefinition | null => {
  const found = engineIn(documents, String(fields.get('agent.engine')?.value))
  return found === undefined ? null : definitionIn(found)
}

function resolvedFields(
  documents: Documents,
  chain: Chain,
  { overrides, locks, maxima }: { overrides: ProfileOverrides; locks: readonly string[]; maxima: Maxima },
): Resolved['fields'] {
  const layers: { says: Profile; from: ValueOrigin; profile: string | null }[] = [
    { says: overrides, from: 'request', profile: null },
    ...chain.map(({ name, content }, index) => ({
      says: content.profile,
      from: index === 0 ? ('profile' as const) : ('extended' as const),
      profile: name,
    })),
  ]
  const fields = new Map<FieldPath, ResolvedField>()
  for (const path of FIELDS) {
    const isLocked = isFieldLocked(locks, path)
    const layer = layers.find(({ says }) => sameAs(path).some((each) => fieldOf(says, each) !== undefined))
    const said = layer && fieldOf(layer.says, path)
    const value = layer === undefined ? defaultOf(path, maxima, engineOf(documents, fields)) : said
    if (value !== undefined)
      fields.set(path, { value, from: layer?.from ?? 'default', profile: layer?.profile ?? null, locked: isLocked })
  }
  // A limit without a script limits nothing.
  for (const path of FIELDS)
    if (path.startsWith('hooks.') && !fields.has(path.replace('.timeoutMs', '.script') as FieldPath))
      fields.delete(path)
  // Nor does a list of hosts that are closed.
  if (fields.get('network.mode')?.value !== 'hosts') fields.delete('network.hosts')
  return fields
}

function resolvedVariables(chain: Chain, request: ProfileRequest, locks: readonly string[]): Resolved['variables'] {
  const variables = new Map<string, ResolvedVariable>()
  for (const [name, { variable, by }] of declaredBy(chain)) {
    const isGiven = Object.hasOwn(request.variables, name)
    variables.set(name, {
      variable,
      value: isGiven ? request.variables[name] : variable.default,
      from: isGiven ? 'request' : variable.default === undefined ? 'default' : originOf(chain, by),
      profile: isGiven ? null : by.name,
      locked: isVariableLocked(locks, name),
    })
  }
  return variables
}

const originOf = (chain: Chain, by: LiveProfile): ValueOrigin => (by === chain[0] ? 'profile' : 'extended')

function variableProblems(variables: Resolved['variables'], request: ProfileRequest): Problem[] {
  const unknown = Object.keys(request.variables).filter((name) => !variables.has(name))
  return [
    ...unknown.map((name) => ({ path: `/variables/${name}`, message: 'is not declared by the profile' })),
    ...[...variables].flatMap(([name, { variable, value, from }]) => {
      const path = `/variables/${name}`
      if (value === undefined) return variable.required === true ? [{ path, message: 'is required' }] : []
      return from === 'request' ? valueProblems(variable, value).map((message) => ({ path, message })) : []
    }),
  ]
}

/** Of the fields that the request sets, or of those that it does not. */
function fieldProblems(fields: Resolved['fields'], maxima: Maxima, ofRequest: boolean): Problem[] {
  const problems = [...fields].flatMap(([path, { value, from }]) => {
    const message = (from === 'request') === ofRequest ? maximumProblem(path, value, maxima) : null
    return message === null ? [] : [{ path: `${ofRequest ? '/overrides' : ''}${pointerTo(path)}`, message }]
  })
  if (ofRequest && !fields.has('agent.engine'))
    problems.push({ path: '/overrides/agent/engine', message: 'is required: the profile names no engine' })
  return problems
}

function resolvedPrompt(
  documents: Documents,
  chain: Chain,
  { overrides, names }: ProfileRequest,
  variables: Resolved['variables'],
): { text: string | null; system: string | null; asked: Problem[]; own: Problem[] } {
  const isDeclared = (name: string): boolean => variables.has(name)
  const { template, text, system } = overrides.prompt ?? {}
  const isAsked = template !== undefined || text !== undefined
  const owner = promptOwner(chain)?.content
  const prompt = isAsked
    ? promptText(documents, { template, text, names: names.text, path: '/overrides/prompt' }, isDeclared)
    : promptText(documents, { ...owner?.profile.prompt, names: owner?.names.text ?? [], path: '/prompt' }, isDeclared)
  const systemContent = systemOwner(chain)?.content
  const ownSystem = promptText(
    documents,
    { text: systemContent?.profile.prompt?.system, names: systemContent?.names.system ?? [], path: '/prompt' },
    isDeclared,
  )
  const askedSystem = promptText(
    documents,
    { text: system, names: names.system, path: '/overrides/prompt' },
    isDeclared,
  )
  const ofSystem = (problems: readonly Problem[]): Problem[] =>
    problems.map(({ path, message }) => ({ path: path.replace(/text$/, 'system'), message }))
  const both = template !== undefined && text !== undefined
  return {
    text: prompt.text,
    system: system ?? ownSystem.text,
    asked: [
      ...(both
        ? [{ path: '/overrides/prompt/text', message: 'stands beside template: a prompt is one or the other' }]
        : []),
      ...(isAsked ? prompt.problems : []),
      ...ofSystem(askedSystem.problems),
    ],
    own: [...(isAsked ? [] : prompt.problems), ...(system === undefined ? ofSystem(ownSystem.problems) : [])],
  }
}
