/**
 * What a run gets of a profile: every value it has at the submission, so that no later change of a document changes a
 * command. Secrets go apart from what can be read.
 */
import {
  CAPABILITIES,
  type Capability,
  capabilitiesOf,
  type EgressHost,
  type EngineDefinition,
  HOOK_NAMES,
  type Hook,
  type HookName,
  LIMIT_UNITS,
  type McpServer,
  type ResolvedFrom,
  type RunAgentPayload,
  type RunAgentSecrets,
  type RunAgentSubmission,
  type UsageLimits,
} from '@agent-executor/protocol'
import type { Refusal } from './change.ts'
import type { Problem } from './document.ts'
import { type FieldPath, pointerTo } from './fields.ts'
import { type Resolved, SECRET_SHOWN, secretValues } from './resolve.ts'

const FIELDS_OF: Readonly<Record<Capability, readonly FieldPath[]>> = {
  model: ['agent.model'],
  system: ['prompt.system'],
  tools: ['tools.allow', 'tools.deny'],
  mcp: ['mcp'],
  // No profile has it: it stands in the submission.
  resume: [],
  limits: LIMIT_UNITS.flatMap((unit) => [`limits.${unit}`, `limits.profile.${unit}`] as const),
  egress: ['network.hosts'],
}

/** Why the configuration cannot run, or null. What the request says is its fault, the rest is the profile's. */
export function runRefusal(resolved: Resolved): Refusal | null {
  const problems = [...engineProblems(resolved), ...promptProblems(resolved), ...networkProblems(resolved)]
  const asked = problems.filter(({ path }) => path.startsWith('/overrides/') || path.startsWith('/variables/'))
  if (asked.length > 0) return { code: 'INVALID_REQUEST', details: asked }
  return problems.length > 0 ? { code: 'PROFILE_UNUSABLE', details: problems } : null
}

function engineProblems({ fields, engine }: Resolved): Problem[] {
  const placed = (path: FieldPath, message: string): Problem => ({
    path: `${fields.get(path)?.from === 'request' ? '/overrides' : ''}${pointerTo(path)}`,
    message,
  })
  const name = String(fields.get('agent.engine')?.value)
  if (engine === null) return [placed('agent.engine', `names an engine that does not exist: ${name}`)]
  const can = capabilitiesOf(engine)
  return CAPABILITIES.filter((capability) => !can[capability]).flatMap((capability) =>
    FIELDS_OF[capability]
      .filter((path) => fields.has(path))
      .map((path) => placed(path, `means nothing to the engine ${name}, which has no ${capability}`)),
  )
}

function promptProblems({ prompt, variables }: Resolved): Problem[] {
  const withNul = [...variables].filter(([, { value }]) => [value].flat().some((each) => String(each).includes('\0')))
  return [
    ...(prompt.text === null ? [{ path: '/overrides/prompt', message: 'is required: the profile has no prompt' }] : []),
    // No file name, script or environment can have it.
    ...withNul.map(([name]) => ({ path: `/variables/${name}`, message: 'must not contain NUL' })),
  ]
}

const networkProblems = ({ fields }: Resolved): Problem[] =>
  fields.get('network.mode')?.value === 'hosts' && !fields.has('network.hosts')
    ? [{ path: '/network/hosts', message: 'is required where mode is hosts' }]
    : []

/** A rendered text, once as everybody may read it and once as it is. */
type Text = { shown: string; real: string }
/** `system` is absent where there is none, or it is empty. */
export type RenderedPrompt = Text & { system?: Text }

/** What `runRefusal` has let pass, as the agent gets it. */
export function profileRunOf(
  { profile, env, files, artifacts, dryRun }: RunAgentSubmission,
  resolved: Resolved,
  prompt: RenderedPrompt,
): { payload: RunAgentPayload; secrets: RunAgentSecrets | null; timeoutMs: number } {
  const { fields } = resolved
  const said = (path: FieldPath) => fields.get(path)?.value
  const image = said('agent.image') as string | undefined
  const hooks = hooksOf(fields)
  const promptVars = secretValues(resolved.variables)
  const model = said('agent.model') as string | undefined
  const [allow, deny] = [said('tools.allow'), said('tools.deny')] as (string[] | undefined)[]
  const mcpServers = said('mcp') as Record<string, McpServer> | undefined
  const hosts = said('network.hosts') as string[] | undefined
  const limits = limitsOf(fields, 'limits')
  const profileLimits = limitsOf(fields, 'limits.profile')
  const payload: RunAgentPayload = {
    engine: said('agent.engine') as string,
    engineDefinition: resolved.engine as EngineDefinition,
    prompt: prompt.shown,
    ...(image === undefined ? {} : { image }),
    ...(env === undefined ? {} : { env }),
    ...(files === undefined ? {} : { files }),
    ...(artifacts === undefined ? {} : { artifacts }),
    ...(model === undefined ? {} : { model }),
    ...(prompt.system === undefined ? {} : { system: prompt.system.shown }),
    ...(allow === undefined && deny === undefined
      ? {}
      : { tools: { ...(allow === undefined ? {} : { allow }), ...(deny === undefined ? {} : { deny }) } }),
    ...(mcpServers === undefined ? {} : { mcpServers }),
    ...(hosts === undefined ? {} : { egress: hosts.map(egressHost) }),
    ...(limits === null ? {} : { limits }),
    ...(profileLimits === null ? {} : { profileLimits }),
    idleTimeoutMs: said('agent.idleTimeoutMs') as number,
    resources: {
      memoryBytes: said('resources.memoryBytes') as number,
      cpus: said('resources.cpus') as number,
      pidsMax: said('resources.pidsMax') as number,
      workspaceBytes: said('resources.workspaceBytes') as number,
    },
    ...(Object.keys(hooks).length === 0 ? {} : { hooks }),
    ...(dryRun === true ? { dryRun } : {}),
    resolvedFrom: {
      profile: profile as string,
      profiles: resolved.chain.map(({ name, version }) => ({ name, version })),
      templates: [...resolved.templates],
      promptVars: shownVariables(resolved.variables),
    },
  }
  const secrets: RunAgentSecrets | null =
    Object.keys(promptVars).length === 0
      ? null
      : {
          promptVars,
          ...(prompt.real === prompt.shown ? {} : { prompt: prompt.real }),
          ...(prompt.system === undefined || prompt.system.real === prompt.system.shown
            ? {}
            : { system: prompt.system.real }),
        }
  return { payload, secrets, timeoutMs: said('agent.timeoutMs') as number }
}

/** Null where nothing is limited. */
function limitsOf(fields: Resolved['fields'], section: 'limits' | 'limits.profile'): UsageLimits | null {
  const said = LIMIT_UNITS.flatMap((unit) => {
    const value = fields.get(`${section}.${unit}`)?.value
    return typeof value === 'number' ? [[unit, value] as const] : []
  })
  return said.length === 0 ? null : Object.fromEntries(said)
}

const egressHost = (text: string): EgressHost => {
  const colon = text.lastIndexOf(':')
  return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)) }
}

const hooksOf = (fields: Resolved['fields']): Partial<Record<HookName, Hook>> =>
  Object.fromEntries(
    HOOK_NAMES.flatMap((name): [HookName, Hook][] => {
      const script = fields.get(`hooks.${name}.script`)?.value
      const timeoutMs = fields.get(`hooks.${name}.timeoutMs`)?.value
      return script === undefined ? [] : [[name, { script: script as string, timeoutMs: timeoutMs as number }]]
    }),
  )

const shownVariables = (variables: Resolved['variables']): ResolvedFrom['promptVars'] =>
  Object.fromEntries(
    [...variables].flatMap(([name, { variable, value }]): [string, ResolvedFrom['promptVars'][string]][] =>
      value === undefined ? [] : [[name, variable.type === 'secret' ? SECRET_SHOWN : value]],
    ),
  )
