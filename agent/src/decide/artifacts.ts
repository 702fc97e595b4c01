/**
 * Which files of a container are kept, entry by entry of an archive that the sandbox has made: nothing in it is believed.
 * Pure.
 */
import {
  ARTIFACT_LIST_BYTES_MAX,
  ARTIFACT_NAME_CHARACTERS_MAX,
  type ArtifactSkipReason,
  type Changes,
} from '@agent-executor/protocol'
import { absolute, globOf } from './glob.ts'

export type ArtifactLimits = {
  countMax: number
  /** Of one file, and of all that are kept. */
  fileBytesMax: number
  bytesMax: number
}

export type Entry = { name: string; type: string | null | undefined; bytes: number | undefined }

export type Verdict =
  | { type: 'take'; name: string; bytes: number }
  | { type: 'skip'; name: string; reason: ArtifactSkipReason }
  /** Nobody asked for it. */
  | { type: 'pass' }

/** What stands beside the name of a file in the list: its size, its hash, and what they are called. */
const ITEM_BYTES = 150
const encoder = new TextEncoder()
const ROOTS = ['output/', 'workspace/']

/** Remembers what was taken. */
export function createSieve(patterns: readonly string[], limits: ArtifactLimits) {
  const globs = patterns.map((pattern) => globOf(absolute(pattern)))
  const isWanted = (name: string): boolean =>
    ROOTS.some((root) => name.startsWith(root)) && globs.some(({ matches }) => matches(`/${name}`))
  const seen = new Set<string>()
  let count = 0
  let keptBytes = 0
  /** Of the list as it goes to the server. */
  let listBytes = 1000

  return {
    verdict({ name: path, type, bytes }: Entry): Verdict {
      if (type === 'directory') return { type: 'pass' }
      const name = path.startsWith('./') ? path.slice(2) : path
      const skip = (reason: ArtifactSkipReason): Verdict => ({ type: 'skip', name: shortened(name), reason })
      if (isBad(name)) return skip('badName')
      if (!isWanted(name)) return { type: 'pass' }
      if (type !== 'file' && type !== 'contiguous-file') return skip('notAFile')
      if (seen.has(name)) return skip('duplicate')
      seen.add(name)
      if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes < 0 || bytes > limits.fileBytesMax)
        return skip('tooLarge')
      if (count >= limits.countMax) return skip('tooMany')
      const itemBytes = encoder.encode(JSON.stringify(name)).length + ITEM_BYTES
      if (keptBytes + bytes > limits.bytesMax || listBytes + itemBytes > ARTIFACT_LIST_BYTES_MAX) return skip('tooMuch')
      listBytes += itemBytes
      count += 1
      keptBytes += bytes
      return { type: 'take', name, bytes }
    },
  }
}

/** No path of a file, or one that could be another on its way: absolute, climbing, not of characters. */
function isBad(name: string): boolean {
  if (name.length > ARTIFACT_NAME_CHARACTERS_MAX || /[\0\uFFFD]|\p{Surrogate}/u.test(name)) return true
  return name.split('/').some((part) => part === '' || part === '.' || part === '..')
}

const SHOWN_CHARACTERS_MAX = 200
const shortened = (name: string): string => [...name].slice(0, SHOWN_CHARACTERS_MAX).join('')

/** Named in the result; the patch has all. */
const CHANGED_FILES_SHOWN_MAX = 200
const GIT_STATUS = { A: 'added', D: 'deleted', M: 'modified', T: 'modified' } as const

type Notes = {
  tooLarge: string[]
  /** Null where the workspace is no git checkout. */
  changes: Changes | null
  end: 'packed' | 'none' | 'noTar' | null
}

/**
 * What the container says of its packing, each part ended by NUL: what git says has changed, files that are left out for
 * their size, and its end.
 */
export function notesOf(text: string): Notes {
  const all = text.split('\0')
  const gitEnd = all[0] === 'git:' ? all.indexOf(':git') : -1
  const parts = all.slice(gitEnd + 1)
  const end = parts.findLast((part) => part.startsWith('end:'))?.slice(4)
  return {
    tooLarge: parts.flatMap((part) => (part.startsWith('./') ? [part] : [])),
    changes: gitEnd === -1 ? null : changesOf(all.slice(1, gitEnd)),
    end: end === 'packed' || end === 'none' || end === 'noTar' ? end : null,
  }
}

/** Pairs of a letter and a path. */
function changesOf(told: readonly string[]): Changes {
  const files = told.flatMap((path, index): Changes['files'] => {
    const status = GIT_STATUS[told[index - 1] as keyof typeof GIT_STATUS]
    return index % 2 === 0 || status === undefined ? [] : [{ path: shortened(path), status }]
  })
  return { count: files.length, files: files.slice(0, CHANGED_FILES_SHOWN_MAX) }
}
