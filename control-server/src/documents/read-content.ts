/**
 * From what an operator wrote to what is stored: TOML or JSON is read, held against the schema and the limits of this
 * server, and its templates and patterns are tried out.
 */
import { type Engine, type Profile, TEXT_CHARACTERS_MAX } from '@agent-executor/protocol'
import { checkJson } from '@agent-executor/runtime'
import { parse, stringify, TomlError } from 'smol-toml'
import type { Refusal } from '../profiles/change.ts'
import type { EngineContent, Problem, ProfileContent, TemplateContent } from '../profiles/document.ts'
import { engineProblems } from '../profiles/engine.ts'
import { defaultsToMatch, type Maxima, profileProblems } from '../profiles/profile.ts'
import type { Renderer } from '../templates/renderer.ts'
import { checkEngine, checkProfile } from './schemas.ts'

export type Read<Content> = { ok: true; content: Content } | { ok: false; refusal: Refusal }

const DEPTH_MAX = 16
const KEYS_MAX = 10_000

/** `at` is where the profile stands in what the caller sent: paths of problems begin there. */
export async function readProfile(
  source: Source,
  at: string,
  { renderer, maxima }: { renderer: Renderer; maxima: Maxima },
): Promise<Read<ProfileContent>> {
  const read = readSource<Profile>(source, at, {
    check: checkProfile,
    problems: (profile) => profileProblems(profile, maxima),
  })
  if (!read.ok) return read
  const { value: profile, toml } = read.content
  const { text, system } = profile.prompt ?? {}
  const textNames = await namesIn(renderer, text, `${at}/prompt/text`)
  if (!textNames.ok) return textNames
  const systemNames = await namesIn(renderer, system, `${at}/prompt/system`)
  if (!systemNames.ok) return systemNames
  const checks = defaultsToMatch(profile)
  const matched = await renderer.matches(checks)
  if (!matched.ok) return { ok: false, refusal: matched }
  const unmatched = checks.filter((_, index) => matched.value[index] !== true)
  if (unmatched.length > 0)
    return refused(
      'INVALID_REQUEST',
      under(
        at,
        unmatched.map(({ path }) => ({ path, message: NO_MATCH })),
      ),
    )
  return {
    ok: true,
    content: { profile, toml, names: { text: textNames.content, system: systemNames.content } },
  }
}

export function readEngine(source: Source, at: string): Read<EngineContent> {
  const read = readSource<Engine>(source, at, { check: checkEngine, problems: engineProblems })
  return read.ok ? { ok: true, content: { engine: read.content.value, toml: read.content.toml } } : read
}

type Source = { toml: string } | { json: unknown }

/** By schema and rules, as a value and as text. */
function readSource<Value>(
  source: Source,
  at: string,
  {
    check,
    problems,
  }: { check: (value: unknown, at: string) => Problem[]; problems: (value: Value) => readonly Problem[] },
): Read<{ value: Value; toml: string }> {
  const read = 'toml' in source ? parsedToml(source.toml, at) : { ok: true as const, value: source.json }
  if (!read.ok) return read
  const odd = checkJson(read.value, { depthMax: DEPTH_MAX, keysMax: KEYS_MAX })
  if (odd !== null) return refused('INVALID_REQUEST', [{ path: at + odd.path, message: odd.message }])
  const schemaFaults = check(read.value, at)
  if (schemaFaults.length > 0) return refused('INVALID_REQUEST', schemaFaults)
  // Plain objects: the TOML reader makes some without a prototype.
  const value = JSON.parse(JSON.stringify(read.value)) as Value & object
  const faults = problems(value)
  if (faults.length > 0) return refused('INVALID_REQUEST', under(at, faults))
  const toml = 'toml' in source ? source.toml : stringify(value)
  if (toml.length > TEXT_CHARACTERS_MAX)
    return refused('INVALID_REQUEST', [
      { path: at, message: `must be at most ${TEXT_CHARACTERS_MAX} characters of TOML` },
    ])
  return { ok: true, content: { value, toml } }
}

export async function readTemplate(text: string, renderer: Renderer): Promise<Read<TemplateContent>> {
  const names = await namesIn(renderer, text, '/text')
  return names.ok ? { ok: true, content: { text, names: names.content } } : names
}

export const NO_MATCH = 'does not match the pattern of the variable'

/** The variables that a template names; a template that cannot be read is a fault of the field that holds it. */
export async function namesIn(renderer: Renderer, text: string | undefined, path: string): Promise<Read<string[]>> {
  if (text === undefined) return { ok: true, content: [] }
  const answer = await renderer.names([text])
  if (answer.ok) return { ok: true, content: answer.value[0] ?? [] }
  const { code, message } = answer
  return code === 'TEMPLATE_FAILED'
    ? refused('INVALID_REQUEST', [{ path, message: `is not a template: ${message}` }])
    : refused(code, [{ path, message }])
}

const refused = (code: Refusal['code'], details: Problem[]): { ok: false; refusal: Refusal } => ({
  ok: false,
  refusal: { code, details },
})

const under = (at: string, problems: readonly Problem[]): Problem[] =>
  problems.map(({ path, message }) => ({ path: at + path, message }))

function parsedToml(toml: string, at: string): { ok: true; value: unknown } | { ok: false; refusal: Refusal } {
  try {
    return { ok: true, value: parse(toml, { maxDepth: DEPTH_MAX, unsafeKeyBehaviour: 'throw' }) }
  } catch (error) {
    if (!(error instanceof TomlError)) return refused('MALFORMED_TOML', [{ path: at, message: 'cannot be read' }])
    // The rest of the message shows the lines around it.
    const [what = ''] = error.message.replace('Invalid TOML document: ', '').split('\n')
    return refused('MALFORMED_TOML', [{ path: at, message: `line ${error.line}, column ${error.column}: ${what}` }])
  }
}
