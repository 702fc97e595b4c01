/** What goes into a container before its start, and the command that it begins with. */
import type { RunAgentFile } from '@agent-executor/protocol'
import { INPUT, UID, WORKSPACE } from '../../docker/create-options.ts'
import { type TarEntry, tarOf } from '../../docker/tar.ts'

/** What the container says when it is started a second time, as the last line of its standard error. */
export const RAN_BEFORE = 'agent-executor: this container has run before; nothing was run'
/** Of the lines below, where they do not get to the prompt. */
export const NOT_BEGUN_EXIT_CODE = 125

/**
 * The last guard against a second run. A start that Docker was asked for by a process that died may be carried out at any
 * later time, also after another start has come to its end; then `once` is not empty any more. It is the one file of
 * the input that the sandbox can write. Everything but `cp` is the shell's own.
 */
const SCRIPT = [
  `if [ -s ${INPUT}/once ]; then echo '${RAN_BEFORE}' >&2; exit ${NOT_BEGUN_EXIT_CODE}; fi`,
  `echo begun >${INPUT}/once || exit ${NOT_BEGUN_EXIT_CODE}`,
  `if [ -d ${INPUT}/files ]; then cp -R ${INPUT}/files/. ${WORKSPACE}/ || exit ${NOT_BEGUN_EXIT_CODE}; fi`,
  // A file, not an argument: whatever the prompt begins with, it is no option of anybody.
  `exec /bin/sh ${INPUT}/prompt`,
].join('\n')

export const SHELL_ENTRYPOINT = ['/bin/sh', '-c', SCRIPT] as const

const ROOT = 0

/** `first`: nothing was put there before. Later, `once` has to stay as it is. */
export function inputTar(prompt: string, files: readonly RunAgentFile[], first: boolean): Buffer {
  const folders = new Set(files.flatMap(({ path }) => foldersOf(`files/${path}`)))
  const entries: TarEntry[] = [{ path: 'prompt', mode: 0o644, uid: ROOT, content: Buffer.from(prompt) }]
  if (first) entries.push({ path: 'once', mode: 0o600, uid: UID, content: Buffer.alloc(0) })
  for (const path of folders) entries.push({ path, mode: 0o755, uid: ROOT, content: null })
  for (const { path, content, contentBase64 = '', mode = '0644' } of files)
    entries.push({
      path: `files/${path}`,
      mode: Number.parseInt(mode, 8),
      uid: ROOT,
      content: content === undefined ? Buffer.from(contentBase64, 'base64') : Buffer.from(content),
    })
  return tarOf(entries)
}

const foldersOf = (path: string): string[] => {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}
