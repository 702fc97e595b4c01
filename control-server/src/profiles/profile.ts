/** What a profile says by itself: beyond its schema, within the limits of the server; and what holds where nobody says. */
import { capabilitiesOf, type EngineDefinition, type Profile } from '@agent-executor/protocol'
import type { Problem } from './document.ts'
import { type FieldPath, type FieldValue, fieldOf, pointerTo } from './fields.ts'
import { declarationProblems, type PatternCheck, patternChecks } from './variables.ts'

/** What neither a profile nor a request can exceed. */
export type Maxima = {
  runTimeoutMsMax: number
  runMemoryBytesMax: number
  runCpusMax: number
  runPidsMax: number
  runWorkspaceBytesMax: number
  /** What one run may cost, and what it may where nobody says; 0 = no maximum. */
  runCostMicroUsdMax: number
}

const HOOK_TIMEOUTS: readonly FieldPath[] = [
  'hooks.pre.timeoutMs',
  'hooks.post.timeoutMs',
  'hooks.onFailure.timeoutMs',
  'hooks.always.timeoutMs',
]
const TIMEOUTS: readonly FieldPath[] = ['agent.timeoutMs', 'agent.idleTimeoutMs', ...HOOK_TIMEOUTS]

const maximaByField = (maxima: Maxima): ReadonlyMap<FieldPath, number> =>
  new Map<FieldPath, number>([
    ...TIMEOUTS.map((path) => [path, maxima.runTimeoutMsMax] as const),
    ['resources.memoryBytes', maxima.runMemoryBytesMax],
    ['resources.cpus', maxima.runCpusMax],
    ['resources.pidsMax', maxima.runPidsMax],
    ['resources.workspaceBytes', maxima.runWorkspaceBytesMax],
    ...(maxima.runCostMicroUsdMax > 0 ? [['limits.costMicroUsd', maxima.runCostMicroUsdMax] as const] : []),
  ])

const MIB = 1_048_576
const DEFAULTS: readonly (readonly [FieldPath, FieldValue])[] = [
  ['agent.timeoutMs', 1_800_000],
  ['agent.idleTimeoutMs', 300_000],
  ['resources.memoryBytes', 2048 * MIB],
  ['resources.cpus', 2],
  ['resources.pidsMax', 512],
  ['resources.workspaceBytes', 256 * MIB],
  ...HOOK_TIMEOUTS.map((path) => [path, 60_000] as const),
  ['network.mode', 'none'],
]

/** A field's value where no layer has one; a server with smaller limits has smaller defaults. */
export function defaultOf(path: FieldPath, maxima: Maxima, engine: EngineDefinition | null): FieldValue | undefined {
  const value = DEFAULTS.find(([field]) => field === path)?.[1]
  const most = maximaByField(maxima).get(path)
  if (path === 'limits.costMicroUsd') return engine !== null && capabilitiesOf(engine).limits ? most : undefined
  return typeof value === 'number' && most !== undefined ? Math.min(value, most) : value
}

export function maximumProblem(path: FieldPath, value: FieldValue, maxima: Maxima): string | null {
  const most = maximaByField(maxima).get(path)
  return most !== undefined && typeof value === 'number' && value > most
    ? `must be <= ${most}, the maximum of this server`
    : null
}

/** All that is wrong with a profile that its schema accepts; paths begin at the profile. */
export function profileProblems(profile: Profile, maxima: Maxima): Problem[] {
  const problems: Problem[] = []
  const { template, text, variables = {} } = profile.prompt ?? {}
  if (template !== undefined && text !== undefined)
    problems.push({ path: '/prompt/text', message: 'stands beside template: a prompt is one or the other' })
  for (const [name, variable] of Object.entries(variables))
    problems.push(...declarationProblems(name, variable, `/prompt/variables/${name}`))
  const { mode, hosts = [] } = profile.network ?? {}
  // Without it the hosts would be closed, and the profile look as if they were open.
  if (hosts.length > 0 && mode !== 'hosts')
    problems.push({ path: '/network/hosts', message: 'means nothing without mode = "hosts" beside it' })
  for (const [index, host] of hosts.entries())
    if (Number(host.slice(host.lastIndexOf(':') + 1)) > 65_535)
      problems.push({ path: `/network/hosts/${index}`, message: 'must end with a port from 1 to 65535' })
  for (const [name, server] of Object.entries(profile.mcp ?? {}))
    if (
      [server.command, ...(server.args ?? []), ...Object.values(server.env ?? {})].some((text) => text.includes('\0'))
    )
      problems.push({ path: `/mcp/${name}`, message: 'must not contain NUL' })
  for (const path of maximaByField(maxima).keys()) {
    const value = fieldOf(profile, path)
    const message = value === undefined ? null : maximumProblem(path, value, maxima)
    if (message !== null) problems.push({ path: pointerTo(path), message })
  }
  return problems
}

/** The defaults of its variables that have to match a pattern. */
export const defaultsToMatch = ({ prompt }: Profile): PatternCheck[] =>
  Object.entries(prompt?.variables ?? {}).flatMap(([name, variable]) =>
    variable.default === undefined
      ? []
      : patternChecks(variable, variable.default, `/prompt/variables/${name}/default`),
  )
