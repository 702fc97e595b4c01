/** What a profile comes to for a request: read, resolved, its patterns tested, its prompt rendered. */
import type { ProfileOverrides, RunAgentSubmission, VariableValues } from '@agent-executor/protocol'
import { RUN_AGENT_PROMPT_CHARACTERS_MAX, SYSTEM_CHARACTERS_MAX } from '@agent-executor/protocol'
import { NO_MATCH, namesIn } from '../documents/read-content.ts'
import { checkOverrides, checkVariables } from '../documents/schemas.ts'
import type { ProfileRun } from '../lifecycle/submission.ts'
import type { Refusal } from '../profiles/change.ts'
import { profileRunOf, type RenderedPrompt, runRefusal } from '../profiles/profile-run.ts'
import { type Resolved, resolve, secretValues, shownValues } from '../profiles/resolve.ts'
import type { Context } from './context.ts'
import { refuse, rendered } from './documents.ts'
import type { ApiError } from './errors.ts'

type Given = { overrides: unknown; variables: unknown }
/** Where in the request stands what the decisions call `/overrides/…` and `/variables/…`. */
type Place = (path: string) => string

const HERE: Place = (path) => path

export async function resolvedRequest(
  { documents, renderer, limits }: Context,
  name: string,
  given: Given,
  place: Place = HERE,
): Promise<Resolved> {
  const problems = [...checkOverrides(given.overrides, '/overrides'), ...checkVariables(given.variables, '/variables')]
  if (problems.length > 0) throw placed({ code: 'INVALID_REQUEST', details: problems }, place)
  const overrides = given.overrides as ProfileOverrides
  const namesOf = async (text: string | undefined, path: string): Promise<string[]> => {
    const read = await namesIn(renderer, text, path)
    if (!read.ok) throw placed(read.refusal, place)
    return read.content
  }
  const names = {
    text: await namesOf(overrides.prompt?.text, '/overrides/prompt/text'),
    system: await namesOf(overrides.prompt?.system, '/overrides/prompt/system'),
  }
  const request = { overrides, variables: given.variables as VariableValues, names }
  const answer = resolve(await documents.newest(), name, request, limits)
  if (!answer.ok) throw placed(answer.refusal, place)
  const { resolved } = answer
  const matches = rendered(await renderer.matches(resolved.patterns), 'a pattern of a variable')
  const unmatched = resolved.patterns.filter((_, index) => matches[index] !== true)
  if (unmatched.length > 0)
    throw placed(
      { code: 'INVALID_REQUEST', details: unmatched.map(({ path }) => ({ path, message: NO_MATCH })) },
      place,
    )
  return resolved
}

const placed = ({ details, ...refusal }: Refusal, place: Place): ApiError => {
  if (refusal.code === 'PROFILE_NOT_FOUND' && place !== HERE)
    return refuse({ ...refusal, details: [{ path: '/payload/profile', message: 'names no profile' }] })
  return refuse({
    ...refusal,
    ...(details && { details: details.map(({ path, message }) => ({ path: place(path), message })) }),
  })
}

/** Text and system prompt, with `[secret]` for every secret. */
export async function shownPrompt({ renderer }: Context, { prompt, variables }: Resolved) {
  const texts = [prompt.text ?? '', prompt.system ?? '']
  const [text = '', system = ''] = rendered(await renderer.render(texts, shownValues(variables)), 'the prompt')
  return { text: prompt.text === null ? null : text, system: prompt.system === null ? null : system }
}

/** What a submission that names a profile runs. */
export async function profileRun(
  context: Context,
  payload: RunAgentSubmission & { profile: string },
  timeoutMs: number | undefined,
): Promise<ProfileRun> {
  const { profile, promptVars: variables = {}, overrides = {} } = payload
  const isTimed = timeoutMs !== undefined
  if (isTimed && agentTimeoutOf(overrides) !== undefined)
    throw refuse({
      code: 'INVALID_REQUEST',
      details: [{ path: '/timeoutMs', message: 'stands beside overrides.agent.timeoutMs, which is the same' }],
    })
  const place: Place = (path) =>
    isTimed && path === '/overrides/agent/timeoutMs'
      ? '/timeoutMs'
      : path.replace(/^\/(overrides|variables)(?=\/|$)/, (_, part) =>
          part === 'overrides' ? '/payload/overrides' : '/payload/promptVars',
        )
  const asked = isTimed ? withTimeout(overrides as object, timeoutMs) : overrides
  const resolved = await resolvedRequest(context, profile, { overrides: asked, variables }, place)
  const refusal = runRefusal(resolved)
  if (refusal !== null) throw placed(refusal, place)
  const prompt = await renderedPrompt(context, resolved)
  const wrong = promptFault(prompt)
  if (wrong !== null)
    throw refuse({ code: 'INVALID_REQUEST', details: [{ path: '/payload/promptVars', message: wrong }] })
  return profileRunOf(payload, resolved, prompt)
}

async function renderedPrompt(context: Context, resolved: Resolved): Promise<RenderedPrompt> {
  const { prompt, variables } = resolved
  const shown = await shownPrompt(context, resolved)
  const secrets = secretValues(variables)
  const real = Object.keys(secrets).length === 0 ? shown : await realPrompt(context, prompt, { variables, secrets })
  const system = { shown: shown.system ?? '', real: real.system ?? '' }
  return { shown: shown.text ?? '', real: real.text ?? '', ...(system.real === '' ? {} : { system }) }
}

async function realPrompt(
  { renderer }: Context,
  { text, system }: Resolved['prompt'],
  { variables, secrets }: { variables: Resolved['variables']; secrets: Record<string, string> },
): Promise<Resolved['prompt']> {
  const answer = await renderer.render([text ?? '', system ?? ''], { ...shownValues(variables), ...secrets })
  if (answer.ok) return { text: answer.value[0] ?? '', system: answer.value[1] ?? '' }
  // Its own words may show the values.
  throw refuse({ code: answer.code, message: 'The prompt cannot be rendered with the values of its secrets.' })
}

const promptFault = ({ real, system }: RenderedPrompt): string | null => {
  if (real === '') return 'make an empty prompt'
  if (real.includes('\0')) return 'make a prompt with NUL'
  if (real.length > RUN_AGENT_PROMPT_CHARACTERS_MAX)
    return `make a prompt of more than ${RUN_AGENT_PROMPT_CHARACTERS_MAX} characters`
  if (system?.real.includes('\0')) return 'make a system prompt with NUL'
  return system !== undefined && system.real.length > SYSTEM_CHARACTERS_MAX
    ? `make a system prompt of more than ${SYSTEM_CHARACTERS_MAX} characters`
    : null
}

/** Of overrides that nothing has checked yet. */
const agentTimeoutOf = (overrides: unknown): unknown =>
  (overrides as { agent?: { timeoutMs?: unknown } | null }).agent?.timeoutMs

const withTimeout = (overrides: object, timeoutMs: number): unknown => {
  const { agent = {} } = overrides as { agent?: unknown }
  // What is no section stays as it is, for the schema to refuse.
  return typeof agent === 'object' && agent !== null && !Array.isArray(agent)
    ? { ...overrides, agent: { ...agent, timeoutMs } }
    : overrides
}
