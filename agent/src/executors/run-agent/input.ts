/** What goes into a container before its start, and the command that it begins with. Pure. */
import {
  ARTIFACT_PATTERNS_DEFAULT,
  HOOK_NAMES,
  type Hook,
  type HookName,
  type RunAgentFile,
  type RunAgentPayload,
} from '@agent-executor/protocol'
import { INPUT, OUTPUT, UID, WORKSPACE } from '../../docker/create-options.ts'
import { type TarEntry, type TarFile, tarOf, tarStream } from '../../docker/tar.ts'
import { type Asked, callOf, type EngineFiles, isPlain, quarantine, sessionFilesOf } from './engine-call.ts'
import { quoted } from './environment.ts'
import { HOOK_FAILED_EXIT_CODE, STOPPED_EXIT_CODE, supervisor } from './hooks.ts'
import { CHANGES, NOTES_FILE, PACK, PACKED_FILE, PACKED_FOLDER, packing } from './pack.ts'

/** Empty until the prompt begins. */
export const ONCE = `${INPUT}/once`
/** What the container says when it is started a second time, as the last line of its standard error. */
export const RAN_BEFORE = 'agent-executor: this container has run before; nothing was run'
/** Of the lines below, where they do not get to the prompt. */
export const NOT_BEGUN_EXIT_CODE = 125

/**
 * The last guard against a second run. A start that Docker was asked for by a process that died may be carried out at any
 * later time, also after another start has come to its end; then `once` is not empty any more. It is one of the
 * three files of the input that the sandbox can write. Everything but `cp` is the shell's own.
 */
export const GUARD = [
  `if [ -s ${ONCE} ]; then echo '${RAN_BEFORE}' >&2; exit ${NOT_BEGUN_EXIT_CODE}; fi`,
  `echo begun >${ONCE} || exit ${NOT_BEGUN_EXIT_CODE}`,
]
/** The conversation that goes on, in the volume; and where one is left for a later run. */
export const SESSION_INPUT = 'session.tar'
export const SESSION_OUTPUT = `${OUTPUT}/.agent-executor-session.tar`
const FILES = [
  `if [ -d ${INPUT}/files ]; then cp -R ${INPUT}/files/. ${WORKSPACE}/ || exit ${NOT_BEGUN_EXIT_CODE}; fi`,
  // Before the engine's settings, which win.
  `if [ -f ${INPUT}/${SESSION_INPUT} ]; then tar -C "$HOME" -xf ${INPUT}/${SESSION_INPUT} || exit ${NOT_BEGUN_EXIT_CODE}; fi`,
  `if [ -d ${INPUT}/home ]; then cp -R ${INPUT}/home/. "$HOME"/ || exit ${NOT_BEGUN_EXIT_CODE}; fi`,
]

type Hooks = NonNullable<RunAgentPayload['hooks']>

type Wanted = Asked & Pick<RunAgentPayload, 'hooks' | 'artifacts'>
type Script = Wanted & {
  /** When the container ends by itself, counted from here. */
  endsAfterMs: number
}

/** Patterns of what is kept: with the conversation of an engine that can go on with one, unless nothing is to be kept. */
export function keptPatterns(wanted: Wanted): readonly string[] {
  const { artifacts = [...ARTIFACT_PATTERNS_DEFAULT] } = wanted
  return artifacts.length === 0 || sessionFilesOf(wanted).length === 0 ? artifacts : [...artifacts, SESSION_OUTPUT]
}

const keepingSession = (files: readonly string[]): string[] => [
  'keep_session() {',
  '  cd "$HOME" || return',
  '  set --',
  `  for each in ${files.map(quoted).join(' ')}; do if [ -e "$each" ]; then set -- "$@" "$each"; fi; done`,
  `  rm -rf ${SESSION_OUTPUT}`,
  `  if [ $# -gt 0 ]; then tar -cf ${SESSION_OUTPUT} -- "$@" 2>/dev/null; fi`,
  '}',
]

/** The first command of the container; nothing in it is of the prompt, of a script or secret. */
export const entryScript = (script: Script): string => [...GUARD, ...FILES, engineScript(script, INPUT)].join('\n')

/** What comes behind the guard, with its input in this folder. */
export function engineScript(script: Script, folder: string): string {
  const { hooks = {} } = script
  const artifacts = keptPatterns(script)
  // What the session is called has no part in what is said here.
  const aside = quarantine(callOf(script, '', folder) ?? { quarantine: [] })
  const command = commandOf(script, folder)
  const hasHooks = HOOK_NAMES.some((name) => hooks[name] !== undefined)
  // Nobody has to be there after the engine.
  const isAlone = !hasHooks && artifacts.length === 0 && aside.length === 0
  return [
    `if [ -f ${folder}/env ]; then . ${folder}/env; fi`,
    // An engine that is alone is all there is; a supervisor still packs what is there.
    deadline(script.endsAfterMs, isAlone ? 'kill -s KILL -- -1' : 'kill -s USR2 $$'),
    ...(isAlone
      ? [`exec ${command}`]
      : supervised(command, { hooks, artifacts, aside, sessionFiles: sessionFilesOf(script) }, folder)),
  ].join('\n')
}

export const entrypoint = (script: Script): string[] => ['/bin/sh', '-c', entryScript(script)]

/**
 * For a container whose agent does not come back: nobody else would end it. Under the init of a container, and nowhere
 * else. An engine can end it as well; it keeps nobody in.
 */
const deadline = (endsAfterMs: number, end: string): string =>
  `if [ "$PPID" = 1 ]; then { sleep ${Math.ceil(endsAfterMs / 1000)} && ${end}; } </dev/null >/dev/null 2>&1 & fi`

/** A file, not an argument: whatever the prompt begins with, it is no option of anybody. */
const commandOf = (script: Script, folder: string): string => {
  const call = callOf(script, '', folder)
  // Nobody offers it; a shell that says so is all that could run.
  if (call === null) return `/bin/sh -c ${quoted(`echo 'no adapter for ${script.engine}' >&2; exit 127`)}`
  return isPlain(script) ? call.argv.map(quoted).join(' ') : `/bin/sh ${folder}/engine`
}

type Around = {
  hooks: Hooks
  artifacts: readonly string[]
  aside: readonly string[]
  sessionFiles: readonly string[]
}

function supervised(command: string, { hooks, artifacts, aside, sessionFiles }: Around, folder: string): string[] {
  const run = (name: HookName): string => {
    const { timeoutMs } = hooks[name] as Hook
    return `hook ${name} ${(timeoutMs / 1000).toFixed(3)} || failed=\${failed:-${name}}`
  }
  const when = (name: HookName, condition: string): string[] =>
    hooks[name] === undefined ? [] : [`if ${condition}; then why; ${run(name)}; fi`]
  const hasHooks = HOOK_NAMES.some((name) => hooks[name] !== undefined)
  const keepsSession = sessionFiles.length > 0 && artifacts.length > 0
  return [
    ...supervisor(`${folder}/hooks`),
    ...(artifacts.length === 0 ? [] : [...CHANGES, ...PACK]),
    ...aside,
    ...(keepsSession ? keepingSession(sessionFiles) : []),
    ...(hooks.pre === undefined ? [] : [run('pre')]),
    `if [ -z "$failed$stopped" ]; then`,
    ...(artifacts.length === 0 ? [] : ['  if [ -e /workspace/.git ]; then base=$(base_of); fi']),
    // A hook may have brought it just now.
    ...(aside.length === 0 ? [] : [`  set_aside || { echo '${NOT_ASIDE}' >&2; exit ${NOT_BEGUN_EXIT_CODE}; }`]),
    `  ${command} </dev/null &`,
    // The signal may have come before there was anybody to forward it to.
    '  child=$! target=$!; forward; await',
    ...(aside.length === 0 ? [] : ['  put_back']),
    '  engine=$code JOB_EXIT_CODE=$code; ended="$ended engine=$code"',
    'fi',
    ...when('post', '[ "$engine" = 0 ] && [ -z "$stopped" ]'),
    ...when('onFailure', '[ "$engine" != 0 ] || [ -n "$failed$stopped" ]'),
    ...when('always', 'true'),
    ...packing(artifacts, keepsSession ? ['(keep_session)'] : []),
    // After whatever the engine has left running is gone, which could write after it.
    ...(hasHooks ? [`printf '\\nagent-executor: ended%s\\n' "$ended" >&2`] : []),
    'if [ -n "$engine" ] && [ "$engine" != 0 ]; then exit "$engine"; fi',
    `if [ -n "$failed" ]; then exit ${HOOK_FAILED_EXIT_CODE}; fi`,
    `if [ -n "$stopped" ]; then exit ${STOPPED_EXIT_CODE}; fi`,
    'exit 0',
  ]
}

const NOT_ASIDE = 'agent-executor: what the workspace configures could not be set aside; nothing was run'

const ROOT = 0

export type Input = {
  prompt: string
  files: readonly RunAgentFile[]
  hooks: Hooks
  /** Read by the shell before anything runs; null where there is nothing to read. */
  env: string | null
  /** Of an engine that is a program or has a way out, and what brings it there; null for a plain script. */
  engine: (EngineFiles & { forwarder: string }) | null
}

/**
 * What the sandbox may write in the volume: files that are there already, where nobody can make others. Without a time:
 * whoever writes there leaves one.
 */
const WRITABLE: readonly TarEntry[] = [
  { path: 'once', mode: 0o600, uid: UID, content: Buffer.alloc(0) },
  { path: PACKED_FOLDER, mode: 0o755, uid: ROOT, content: null },
  { path: PACKED_FILE, mode: 0o600, uid: UID, content: Buffer.alloc(0) },
  { path: NOTES_FILE, mode: 0o600, uid: UID, content: Buffer.alloc(0) },
]

/** What a container of the pool has in its volume. */
export const poolTar = (): Buffer => tarOf(WRITABLE)

/** `first`: nothing was put there before. Later, `once` has to stay as it is. */
export function inputTar({ prompt, files, hooks, env, engine }: Input, first: boolean): Buffer {
  const scripts = Object.entries(hooks).map(([name, { script }]) => ({ path: `hooks/${name}`, script }))
  if (engine !== null) {
    scripts.push({ path: 'engine', script: engine.script }, { path: 'forwarder.mjs', script: engine.forwarder })
    scripts.push(...engine.home.map(({ path, content }) => ({ path: `home/${path}`, script: content })))
  }
  const folders = new Set([
    ...files.flatMap(({ path }) => foldersOf(`files/${path}`)),
    ...scripts.flatMap(({ path }) => foldersOf(path)),
  ])
  const entries: TarEntry[] = [{ path: 'prompt', mode: 0o644, uid: ROOT, content: Buffer.from(prompt) }]
  if (first) entries.push(...WRITABLE)
  if (env !== null) entries.push({ path: 'env', mode: 0o444, uid: ROOT, content: Buffer.from(env) })
  for (const path of folders) entries.push({ path, mode: 0o755, uid: ROOT, content: null })
  for (const { path, script } of scripts) entries.push({ path, mode: 0o644, uid: ROOT, content: Buffer.from(script) })
  for (const file of files) {
    const { path, mode = '0644' } = file
    entries.push({ path: `files/${path}`, mode: Number.parseInt(mode, 8), uid: ROOT, content: contentOf(file) })
  }
  return tarOf(entries)
}

export const contentOf = ({ content, contentBase64 = '' }: RunAgentFile): Buffer =>
  content === undefined ? Buffer.from(contentBase64, 'base64') : Buffer.from(content)

/** Of a file that comes as it is read. */
export type UploadedFile = {
  /** In the volume. */
  path: string
  mode?: '0644' | '0755'
  bytes: number
  content: () => AsyncIterable<Buffer>
}

/** Beside what `inputTar` has put there. */
export function uploadsTar(files: readonly UploadedFile[]): AsyncGenerator<Buffer> {
  const folders = new Set(files.flatMap(({ path }) => foldersOf(path)))
  return tarStream(
    [...folders].map((path): TarEntry => ({ path, mode: 0o755, uid: ROOT, content: null })),
    files.map(
      ({ path, mode = '0644', bytes, content }): TarFile => ({
        ...{ path, mode: Number.parseInt(mode, 8), uid: ROOT, bytes, content },
      }),
    ),
  )
}

export const foldersOf = (path: string): string[] => {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}
