/** A profile and those it extends: whether they hold together, and which profiles depend on a document. */
import type { ProfileVariable } from '@agent-executor/protocol'
import { type Documents, type LiveProfile, type Problem, profileIn, templateIn } from './document.ts'
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
    ...(prompt === undefined
      ? []
      : promptText(documents, { ...prompt.profile.prompt, names: prompt.names.text, path: '/prompt' }, isDeclared)
          .problems),
    ...undeclared(system?.names.system ?? [], isDeclared).map((message) => ({ path: '/prompt/system', message })),
  ]
}

/** The names of all live profiles. */
export const profileNames = (documents: Documents): string[] =>
  [...documents.values()].flatMap(({ kind, name, content }) => (kind === 'profile' && content !== null ? [name] : []))
