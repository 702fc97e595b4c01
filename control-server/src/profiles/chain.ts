/** A profile and those it extends: whether they hold together, and which profiles depend on a document. */
import type { ProfileVariable } from '@agent-executor/protocol'
import {
  type Documents,
  type DocumentVersion,
  engineIn,
  type LiveProfile,
  type Problem,
  profileIn,
  templateIn,
} from './document.ts'
import { fieldOf } from './fields.ts'
import { isLockable } from './locks.ts'

/** More would hide where a value comes from. */
const CHAIN_MAX = 8

export type Chain = readonly LiveProfile[]

/** The profile itself first; a problem where one is missing, where it comes back to itself, or where it is too long. */
export function chainOf(documents: Documents, name: string): Chain | Problem {
  const chain: LiveProfile[] = []
  for (let next: string | undefined = name; next !== undefined; ) {
    const found = profileIn(documents, next)
    const way = [...chain.map((each) => each.name), next].join(' → ')
    if (found === undefined) return { path: '/extends', message: `names a profile that does not exist: ${way}` }
    if (chain.includes(found)) return { path: '/extends', message: `leads back to itself: ${way}` }
    if (chain.length === CHAIN_MAX)
      return { path: '/extends', message: `makes a chain of more than ${CHAIN_MAX} profiles: ${way}` }
    chain.push(found)
    next = found.content.profile.extends
  }
  return chain
}

export const isChain = (chain: Chain | Problem): chain is Chain => Array.isArray(chain)

export type Declared = { variable: ProfileVariable; by: LiveProfile }

/** The variables of a chain; a nearer declaration replaces a farther one whole. */
export function declaredBy(chain: Chain): ReadonlyMap<string, Declared> {
  const declared = new Map<string, Declared>()
  for (const by of [...chain].reverse())
    for (const [name, variable] of Object.entries(by.content.profile.prompt?.variables ?? {}))
      declared.set(name, { variable, by })
  return declared
}

type Said = { template?: string | undefined; text?: string | undefined; names: readonly string[]; path: string }

/** What becomes of a prompt that is said by text or by template, and what is wrong with it. */
export function promptText(
  documents: Documents,
  { template, text, names, path }: Said,
  isDeclared: (name: string) => boolean,
): { text: string | null; problems: Problem[] } {
  if (template === undefined)
    return {
      text: text ?? null,
      problems: undeclared(names, isDeclared).map((message) => ({ path: `${path}/text`, message })),
    }
  const found = templateIn(documents, template)
  if (found === undefined)
    return {
      text: null,
      problems: [{ path: `${path}/template`, message: `names a template that does not exist: ${template}` }],
    }
  return {
    text: found.content.text,
    problems: undeclared(found.content.names, isDeclared).map((message) => ({ path: `${path}/template`, message })),
  }
}

const undeclared = (names: readonly string[], isDeclared: (name: string) => boolean): string[] =>
  names.filter((name) => !isDeclared(name)).map((name) => `names the variable ${name}, which no profile declares`)

/** The profile of the chain that says the prompt, by text or by template. */
export const promptOwner = (chain: Chain): LiveProfile | undefined =>
  chain.find(
    ({ content: { profile } }) =>
      fieldOf(profile, 'prompt.template') !== undefined || fieldOf(profile, 'prompt.text') !== undefined,
  )

export const systemOwner = (chain: Chain): LiveProfile | undefined =>
  chain.find(({ content: { profile } }) => profile.prompt?.system !== undefined)

/** All that is wrong between a profile and what it refers to; empty where nothing is. */
export function chainProblems(documents: Documents, name: string): Problem[] {
  const chain = chainOf(documents, name)
  if (!isChain(chain)) return [chain]
  const declared = declaredBy(chain)
  const isDeclared = (variable: string): boolean => declared.has(variable)
  const own = chain[0]?.content.profile.locked ?? []
  const prompt = promptOwner(chain)?.content
  const system = systemOwner(chain)?.content
  return [
    ...own.flatMap((lock, index) =>
      isLockable(lock, [...declared.keys()])
        ? []
        : [{ path: `/locked/${index}`, message: `names neither a field, nor a section, nor a variable: ${lock}` }],
    ),
    ...(chain[0] === undefined ? [] : engineProblems(documents, chain[0])),
    ...(prompt === undefined
      ? []
      : promptText(documents, { ...prompt.profile.prompt, names: prompt.names.text, path: '/prompt' }, isDeclared)
          .problems),
    ...undeclared(system?.names.system ?? [], isDeclared).map((message) => ({ path: '/prompt/system', message })),
  ]
}

/** Of the engine that the profile itself names. */
function engineProblems(documents: Documents, { content: { profile } }: LiveProfile): Problem[] {
  const name = profile.agent?.engine
  return name === undefined || engineIn(documents, name) !== undefined
    ? []
    : [{ path: '/agent/engine', message: `names an engine that does not exist: ${name}` }]
}

/** Whether a change of the document can make a difference to the profile. */
export function dependsOn(documents: Documents, profile: string, { kind, name }: DocumentVersion): boolean {
  const chain = chainOf(documents, profile)
  if (!isChain(chain)) return true
  if (kind === 'profile') return chain.some((each) => each.name === name)
  if (kind === 'engine') return chain[0]?.content.profile.agent?.engine === name
  return promptOwner(chain)?.content.profile.prompt?.template === name
}

/** The names of all live profiles. */
export const profileNames = (documents: Documents): string[] =>
  [...documents.values()].flatMap(({ kind, name, content }) => (kind === 'profile' && content !== null ? [name] : []))
