/**
 * How a container packs what it leaves, since its folders are memory and go with it: into a file of the input volume,
 * which is there after the container, Docker and the agent have been away. Needs `tar` and `find` of the image, and
 * neither where there is nothing to pack. Pure.
 */

import { absolute, findPattern } from '../../decide/glob.ts'
import { INPUT, OUTPUT, WORKSPACE } from '../../docker/create-options.ts'
import { quoted } from './environment.ts'

/** In the input volume. */
export const PACKED_FOLDER = 'out'
export const PACKED_FILE = 'out/tar'
/** What the container says of it: names of files that are too large, then how it ended, each followed by NUL. */
export const NOTES_FILE = 'out/notes'

/** Of one file. Larger ones are named, and not packed. */
export const ARTIFACT_FILE_BYTES_MAX = 64 * 2 ** 20

const NOTES = `${INPUT}/${NOTES_FILE}`

/**
 * What the engine has changed in a git checkout, against its commit when the engine began: a patch in /output, and the
 * names for the result. With an index of its own, so that the one of the checkout stays. Everything of it runs in the
 * container, where the configuration of the checkout can do no more than the engine could.
 */
export const CHANGES = [
  'git_here() { git -c core.fsmonitor=false -c core.hooksPath=/dev/null -C /workspace "$@" 2>/dev/null; }',
  'base_of() { git_here rev-parse -q --verify HEAD || git_here hash-object -t tree /dev/null; }',
  'changes() {',
  '  GIT_INDEX_FILE=/tmp/.changes GIT_CONFIG_NOSYSTEM=1; export GIT_INDEX_FILE GIT_CONFIG_NOSYSTEM',
  '  git_here read-tree "$base" && git_here add -A . || return',
  `  { printf 'git:\\0'; git_here diff --cached --no-ext-diff --no-renames --name-status -z "$base"; printf ':git\\0'; } >>${NOTES}`,
  '  if git_here diff --cached --quiet --no-ext-diff "$base" || [ -e /output/changes.patch ]; then return; fi',
  '  git_here diff --cached --no-ext-diff --no-textconv --no-renames --binary --full-index "$base" >/output/changes.patch',
  '}',
] as const

/** `pack` is told the folders to look at, then what `find` gets besides. */
export const PACK = [
  // Without a process, for the most are empty.
  'is_empty() {',
  '  for each in "$1"/* "$1"/.[!.]* "$1"/..?*; do if [ -e "$each" ] || [ -L "$each" ]; then return 1; fi; done',
  '}',
  'pack() {',
  '  if ! command -v tar >/dev/null 2>&1 || ! command -v find >/dev/null 2>&1; then',
  `    printf 'end:noTar\\0' >>${NOTES}; return`,
  '  fi',
  '  cd /',
  // Of links, devices and the like the names alone are in the archive.
  `  find "$@" \\( -type f -size +${ARTIFACT_FILE_BYTES_MAX}c -print0 -o -exec /bin/sh -c 'exec tar -cf - "$@" >&3' sh {} + \\) \\`,
  `    3>${INPUT}/${PACKED_FILE} >>${NOTES} 2>/dev/null`,
  `  printf 'end:packed\\0' >>${NOTES}`,
  '}',
] as const

/** The call of it for these patterns. */
export function packing(patterns: readonly string[], before: readonly string[] = []): string[] {
  const paths = patterns.map(absolute)
  const roots = [OUTPUT, WORKSPACE].filter((root) => paths.some((path) => path.startsWith(`${root}/`)))
  if (roots.length === 0) return []
  const tests = paths.map((path) => `-path ${quoted(`.${findPattern(path)}`)}`).join(' -o ')
  const found = roots.map((root) => `.${root}`).join(' ')
  return [
    // What the engine has left running would write while it is read.
    'end_others',
    ...before,
    'if [ -n "$base" ]; then changes; fi',
    `if ${roots.map((root) => `is_empty ${root}`).join(' && ')}; then printf 'end:none\\0' >>${NOTES}`,
    `else pack ${found} ! -type d \\( ${tests} \\); fi`,
  ]
}
