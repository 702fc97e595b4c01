/**
 * What engine and hooks find in their environment besides what every container has: what the command says, who they are,
 * and the variables of the profile. It goes in as a file, because `docker inspect` shows what a container is given
 * otherwise. Pure.
 */
import type { RunAgentPayload } from '@agent-executor/protocol'

/** A longer value is only in the prompt: the kernel refuses to start a program with much more. */
export const ENV_VALUE_BYTES_MAX = 8192

type Attempt = { commandId: string; attempt: number }

/** In the order in which it is set. */
export function environment(
  { env = {}, resolvedFrom, secrets }: RunAgentPayload,
  { commandId, attempt }: Attempt,
): [string, string][] {
  if (resolvedFrom === undefined) return Object.entries(env)
  const variables = Object.entries({ ...resolvedFrom.promptVars, ...secrets?.promptVars })
  return [
    ...Object.entries(env),
    ['JOB_COMMAND_ID', commandId],
    ['JOB_ATTEMPT', String(attempt)],
    ['JOB_PROFILE', resolvedFrom.profile],
    ...variables
      .map(([name, value]): [string, string] => [
        `VAR_${name}`,
        Array.isArray(value) ? value.join('\n') : String(value),
      ])
      .filter(([, value]) => Buffer.byteLength(value) <= ENV_VALUE_BYTES_MAX),
  ]
}

/** A text that a POSIX shell reads as it is. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** What a shell keeps for itself. One that does not like a value of its own ends: it is asked in a process of its own. */
const KEPT = /^(BASH|DIRSTACK|EPOCH|EUID|FUNCNAME|GROUPS|HIST|LINENO|OPTIND|PPID|RANDOM|SECONDS|SHELLOPTS|SRANDOM|UID)/

const exported = ([name, value]: readonly [string, string]): string => {
  const line = `export ${name}=${quoted(value)}`
  return KEPT.test(name) ? `(${line}) 2>/dev/null && ${line}\n` : `${line}\n`
}

/** Lines that a shell reads; null where there are none. What separates words stays as it is for the shell that reads on. */
export const environmentFile = (values: readonly (readonly [string, string])[]): string | null =>
  values.length === 0 ? null : `${values.map(exported).join('')}unset IFS\n`
