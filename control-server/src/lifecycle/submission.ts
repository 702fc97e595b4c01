/** From what a client submitted to a command: the rules that a schema cannot say, and every default. */
import {
  type Capability,
  capabilitiesOf,
  type EngineDefinition,
  HTTP_TIMEOUT_MS_DEFAULT,
  type JsonValue,
  type Offer,
  RUN_AGENT_TIMEOUT_MS_DEFAULT,
  type RunAgentPayload,
  type RunAgentSecrets,
  type RunAgentSubmission,
  type Submission,
} from '@agent-executor/protocol'
import type { Command, CommandSpec } from './command.ts'

export type Problem = { path: string; message: string }

/** Added to what a type needs by itself where `timeoutMs` is not given, so that a slow machine is not a failure. */
export const TIMEOUT_MARGIN_MS = 60_000

const BACKOFF = { initialMs: 1000, maxMs: 60_000, factor: 2 }

/**
 * What a command gets that was not asked for; the same objects each time. Commands are stored without it, so a value may
 * change only with a migration that writes the old one into those that have it.
 */
export const SPEC_DEFAULTS: Readonly<Omit<CommandSpec, 'payload' | 'timeoutMs'>> = {
  labels: [],
  pinnedTo: null,
  totalTimeoutMs: null,
  expiresAtMs: null,
  notBeforeMs: null,
  retry: { maxAttempts: 1, backoff: BACKOFF, retryOn: null },
  takeover: 'manual',
  lostAfterMs: null,
  metadata: {},
}

/** Set by the connection itself; a client that could set them could smuggle a second request. */
const HEADERS_RESERVED = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** What no RUN_AGENT exceeds on this server, whatever an agent would give. */
export type RunMaxima = {
  runTimeoutMsMax: number
  runMemoryBytesMax: number
  runCpusMax: number
  runPidsMax: number
  runWorkspaceBytesMax: number
  /** What one run may cost, and what it may where nobody says; 0 = no maximum. */
  runCostMicroUsdMax: number
}

/** All that is wrong with a submission beyond its schema; empty where nothing is. `engine`: the one it names; null where there is none. */
export function submissionProblems(
  submission: Submission,
  nowMs: number,
  { maxima, engine }: { maxima: RunMaxima; engine: EngineDefinition | null },
): Problem[] {
  const problems: Problem[] = []
  const refuse = (path: string, message: string) => problems.push({ path, message })

  const expiresAtMs = instantMs(submission.expiresAt)
  const notBeforeMs = instantMs(submission.notBefore)
  if (Number.isNaN(expiresAtMs)) refuse('/expiresAt', 'must be a date that exists')
  if (Number.isNaN(notBeforeMs)) refuse('/notBefore', 'must be a date that exists')
  if (expiresAtMs !== null && expiresAtMs <= nowMs) refuse('/expiresAt', 'must be in the future')
  if (expiresAtMs !== null && notBeforeMs !== null && expiresAtMs <= notBeforeMs)
    refuse('/expiresAt', 'must be later than notBefore')
  if (submission.takeover === 'auto' && (submission.retry?.maxAttempts ?? 1) < 2)
    refuse('/takeover', 'auto needs retry.maxAttempts of 2 or more: a takeover is another attempt')
  const backoff = { ...BACKOFF, ...submission.retry?.backoff }
  if (submission.retry?.backoff !== undefined && backoff.maxMs < backoff.initialMs)
    refuse('/retry/backoff/maxMs', `must be at least initialMs (${backoff.initialMs})`)

  if (submission.type === 'HTTP_GET_JSON') {
    const url = parsedUrl(submission.payload.url)
    if (url === null) refuse('/payload/url', 'must be an absolute http or https URL')
    else if (url.username !== '' || url.password !== '')
      refuse('/payload/url', 'must not contain a user name or password: use a header')
    for (const name of Object.keys(submission.payload.headers ?? {}))
      if (HEADERS_RESERVED.has(name.toLowerCase()) || name.toLowerCase().startsWith('proxy-'))
        refuse(`/payload/headers/${name}`, 'is set by the connection itself')
  }
  if (submission.type === 'RUN_AGENT') {
    // A container goes on while its agent is dead: nobody could end it before another attempt begins.
    if (submission.takeover === 'auto')
      refuse('/takeover', 'must be manual for RUN_AGENT: a container outlives its agent')
    problems.push(...runAgentProblems(submission.payload, engine), ...maximumProblems(submission, maxima))
  }
  return problems
}

type RunAgentCommand = Extract<Submission, { type: 'RUN_AGENT' }>

/** What a profile says, and a request that names one says in its overrides. */
const OF_PROFILES = [
  ...(['engine', 'prompt', 'image', 'model', 'system', 'tools', 'limits', 'idleTimeoutMs', 'resources'] as const),
]
/** What a submission without a profile may say that not every engine can honour. */
const OF_ENGINES = ['model', 'system', 'tools', 'limits', 'resume'] as const satisfies Capability[]
/** Names in the environment that runs of profiles have by themselves. */
const RESERVED_ENV = ['JOB_', 'VAR_']

function runAgentProblems(payload: RunAgentSubmission, engine: EngineDefinition | null): Problem[] {
  const { profile, prompt, system, env = {}, files = [] } = payload
  const problems: Problem[] = []
  const refuse = (path: string, message: string) => problems.push({ path, message })
  if (profile === undefined) {
    for (const field of ['engine', 'prompt'] as const)
      if (payload[field] === undefined) refuse(`/payload/${field}`, 'is required')
    for (const field of ['promptVars', 'overrides'] as const)
      if (payload[field] !== undefined) refuse(`/payload/${field}`, 'needs profile')
    if (payload.engine !== undefined && engine === null)
      refuse('/payload/engine', `names an engine that does not exist: ${payload.engine}`)
    for (const field of OF_ENGINES)
      if (engine !== null && payload[field] !== undefined && !capabilitiesOf(engine)[field])
        refuse(`/payload/${field}`, meaningless(engine, field))
  } else
    for (const field of OF_PROFILES)
      if (payload[field] !== undefined) refuse(`/payload/${field}`, 'stands beside profile: overrides may say it')
  if (prompt?.includes('\0')) refuse('/payload/prompt', 'must not contain NUL')
  if (system?.includes('\0')) refuse('/payload/system', 'must not contain NUL')
  for (const [name, value] of Object.entries(env)) {
    if (value.includes('\0')) refuse(`/payload/env/${name}`, 'must not contain NUL')
    if (profile !== undefined && RESERVED_ENV.some((begin) => name.startsWith(begin)))
      refuse(`/payload/env/${name}`, 'begins as the names do that a run has by itself')
  }

  const known = new Set<string>()
  for (const [index, { path, content, contentBase64, upload }] of files.entries()) {
    const wrong = wrongPath(path)
    if (wrong !== null) refuse(`/payload/files/${index}/path`, wrong)
    else if (known.has(path)) refuse(`/payload/files/${index}/path`, 'is there twice')
    known.add(path)
    if ([content, contentBase64, upload].filter((each) => each !== undefined).length !== 1)
      refuse(`/payload/files/${index}`, 'must have exactly one of content, contentBase64 and upload')
    if (contentBase64 !== undefined && !isBase64(contentBase64))
      refuse(`/payload/files/${index}/contentBase64`, 'must be base64 with padding')
  }
  for (const [index, { path }] of files.entries()) {
    const folder = foldersOf(path).find((each) => known.has(each))
    if (folder !== undefined) refuse(`/payload/files/${index}/path`, `needs a folder where ${folder} is a file`)
  }
  for (const [index, pattern] of (payload.artifacts ?? []).entries()) {
    const wrong = wrongPattern(pattern)
    if (wrong !== null) refuse(`/payload/artifacts/${index}`, wrong)
  }
  return problems
}

export const meaningless = ({ name }: EngineDefinition, capability: Capability): string =>
  `means nothing to the engine ${name}, which has no ${capability}`

/** Of a submission without a profile; those of profiles and their overrides are looked at where they are resolved. */
function maximumProblems({ payload, timeoutMs }: RunAgentCommand, maxima: RunMaxima): Problem[] {
  const { idleTimeoutMs, resources = {}, limits = {}, profile } = payload
  const costMax = maxima.runCostMicroUsdMax
  if (profile !== undefined) return []
  const asked = [
    ['/timeoutMs', timeoutMs, maxima.runTimeoutMsMax],
    ['/payload/idleTimeoutMs', idleTimeoutMs, maxima.runTimeoutMsMax],
    ['/payload/resources/memoryBytes', resources.memoryBytes, maxima.runMemoryBytesMax],
    ['/payload/resources/cpus', resources.cpus, maxima.runCpusMax],
    ['/payload/resources/pidsMax', resources.pidsMax, maxima.runPidsMax],
    ['/payload/resources/workspaceBytes', resources.workspaceBytes, maxima.runWorkspaceBytesMax],
    ['/payload/limits/costMicroUsd', limits.costMicroUsd, costMax === 0 ? Number.POSITIVE_INFINITY : costMax],
  ] as const
  return asked.flatMap(([path, value, most]) =>
    value !== undefined && value > most ? [{ path, message: `must be <= ${most}, the maximum of this server` }] : [],
  )
}

/** What is wrong with a pattern of artifacts, or null. */
function wrongPattern(pattern: string): string | null {
  if (/\p{Cc}/u.test(pattern)) return 'must not contain control characters'
  if (pattern.startsWith('/') && !/^\/(workspace|output)\/./.test(pattern))
    return 'must be relative to /workspace, or begin with /workspace/ or /output/'
  if (
    pattern
      .replace(/^\//, '')
      .split('/')
      .some((part) => part === '' || part === '.' || part === '..')
  )
    return 'must not have a part that is empty, . or ..'
  return null
}

/** What is wrong with the path of a file below the workspace, or null. */
function wrongPath(path: string): string | null {
  // Control characters, NUL among them: no shell, archive or log may read them as anything else.
  if (/\p{Cc}/u.test(path)) return 'must not contain control characters'
  if (path.startsWith('/')) return 'must be relative to the workspace'
  const parts = path.split('/')
  if (parts.some((part) => part === '' || part === '.' || part === '..'))
    return 'must not have a part that is empty, . or ..'
  if (parts.some((part) => new TextEncoder().encode(part).length > 255))
    return 'must not have a part of more than 255 bytes'
  return null
}

const foldersOf = (path: string): string[] => {
  const parts = path.split('/')
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
}

const isBase64 = (text: string): boolean =>
  text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text) && !text.startsWith('=')

/** What a profile has come to for a submission. */
export type ProfileRun = { payload: RunAgentPayload; secrets: RunAgentSecrets | null; timeoutMs: number }
/** What has been looked up for a submission. `engine`: of one without a profile; `resume`: the conversation that goes on. */
export type LookedUp = {
  engine: EngineDefinition | null
  run: ProfileRun | null
  resume: NonNullable<RunAgentPayload['resume']> | null
}
const NOTHING: LookedUp = { engine: null, run: null, resume: null }

type DefaultMaxima = Pick<RunMaxima, 'runTimeoutMsMax' | 'runCostMicroUsdMax'>
const NO_MAXIMA: DefaultMaxima = { runTimeoutMsMax: Number.POSITIVE_INFINITY, runCostMicroUsdMax: 0 }

/** The command that a valid submission becomes; `run` where it names a profile. No default goes beyond a maximum. */
export function commandOf(
  submission: Submission,
  commandId: string,
  nowMs: number,
  found: LookedUp = NOTHING,
  maxima: DefaultMaxima = NO_MAXIMA,
): Command {
  const { retry } = submission
  const { run } = found
  const notBeforeMs = instantMs(submission.notBefore)
  const spec: CommandSpec = {
    payload: payloadOf(submission, found, maxima) as JsonValue,
    labels: submission.labels ?? SPEC_DEFAULTS.labels,
    pinnedTo: submission.agentId ?? null,
    timeoutMs: run?.timeoutMs ?? submission.timeoutMs ?? timeoutMsOf(submission, maxima.runTimeoutMsMax),
    totalTimeoutMs: submission.totalTimeoutMs ?? null,
    expiresAtMs: instantMs(submission.expiresAt),
    notBeforeMs,
    retry:
      retry === undefined
        ? SPEC_DEFAULTS.retry
        : {
            maxAttempts: retry.maxAttempts ?? 1,
            backoff: { ...BACKOFF, ...retry.backoff },
            retryOn: retry.retryOn ?? null,
          },
    takeover: submission.takeover ?? SPEC_DEFAULTS.takeover,
    lostAfterMs: submission.lostAfterMs ?? null,
    metadata: submission.metadata ?? SPEC_DEFAULTS.metadata,
  }
  return {
    ...blank(commandId, submission.type, spec, nowMs),
    secrets: run?.secrets ?? null,
    priority: submission.priority ?? 0,
    availableAtMs: notBeforeMs !== null && notBeforeMs > nowMs ? notBeforeMs : null,
  }
}

/** What an agent gets of a submission. */
function payloadOf(
  submission: Submission,
  { engine, run, resume }: LookedUp,
  { runCostMicroUsdMax }: DefaultMaxima,
): unknown {
  if (submission.type !== 'RUN_AGENT') return submission.payload
  const { resume: _, ...own } = submission.payload
  const isLimited = runCostMicroUsdMax > 0 && engine !== null && capabilitiesOf(engine).limits
  const plain = {
    ...own,
    ...(engine === null ? {} : { engineDefinition: engine }),
    ...(isLimited ? { limits: { costMicroUsd: runCostMicroUsdMax, ...own.limits } } : {}),
  }
  return { ...(run?.payload ?? plain), ...(resume === null ? {} : { resume }) }
}

/** A command that only an agent's journal remembers, after a restore: what the offer says, the rest by default. */
export function commandOfOffer({ commandId, type, payload, timeoutMs, createdAtMs }: Offer): Command {
  const { secrets, ...open } = ((type === 'RUN_AGENT' && payload) || {}) as { secrets?: RunAgentSecrets }
  const isSecret = secrets !== undefined
  const spec = { ...SPEC_DEFAULTS, payload: isSecret ? (open as JsonValue) : payload, timeoutMs }
  return { ...blank(commandId, type, spec, createdAtMs), secrets: isSecret ? secrets : null }
}

/** What an agent is given: the payload, and the secrets with it. */
export const offeredPayload = ({ spec, secrets }: Command): JsonValue =>
  secrets === null ? spec.payload : { ...(spec.payload as Record<string, JsonValue>), secrets: secrets as JsonValue }

const blank = (commandId: string, type: Command['type'], spec: CommandSpec, createdAtMs: number): Command => ({
  commandId,
  type,
  priority: 0,
  spec,
  secrets: null,
  status: 'PENDING',
  availableAtMs: null,
  result: null,
  resultTruncated: false,
  error: null,
  cancel: null,
  grantedCount: 0,
  crashCount: 0,
  createdAtMs,
  startedAtMs: null,
  finishedAtMs: null,
  attempts: [],
})

/** Where the submission does not say. */
const timeoutMsOf = (submission: Submission, runTimeoutMsMax: number): number => {
  switch (submission.type) {
    case 'DELAY':
      return submission.payload.ms + TIMEOUT_MARGIN_MS
    case 'HTTP_GET_JSON':
      return (submission.payload.timeoutMs ?? HTTP_TIMEOUT_MS_DEFAULT) + TIMEOUT_MARGIN_MS
    case 'RUN_AGENT':
      return Math.min(RUN_AGENT_TIMEOUT_MS_DEFAULT, runTimeoutMsMax)
  }
}

const instantMs = (text: string | undefined): number | null => (text === undefined ? null : Date.parse(text))

const parsedUrl = (text: string): URL | null => {
  try {
    const url = new URL(text)
    return (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname !== '' ? url : null
  } catch {
    return null
  }
}
