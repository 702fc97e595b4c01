/** What strace wrote about a process, as the steps that matter to a disk: what it wrote, synced, and told others. */
import { readFileSync } from 'node:fs'

export type Step =
  | { type: 'write'; file: string; offset: number; bytes: Buffer }
  | { type: 'truncate'; file: string; size: number }
  | { type: 'create'; file: string }
  | { type: 'unlink'; file: string }
  /** A file or a folder. */
  | { type: 'sync'; path: string }
  /** To a socket or a pipe. */
  | { type: 'tell'; text: string }

/** A program that becomes the traced one: `-D` makes strace the grandchild, so the pid is the process's own. */
export const underStrace = (trace: string): string[] => [
  ...['strace', '-D', '-f', '--seccomp-bpf', '-ttt', '-xx', '-s', '10000000', '-o', trace],
  ...['-e', `trace=${['openat', 'close', 'unlink', ...WRITING].join(',')}`],
]

/** A writing call that is not understood below would be a write that the images miss: `stepsOf` refuses it. */
const WRITING = [
  ...['pwrite64', 'write', 'writev', 'sendto', 'sendmsg', 'fsync', 'fdatasync', 'ftruncate'],
  ...['pwritev', 'pwritev2', 'truncate', 'rename', 'renameat', 'renameat2', 'unlinkat', 'fallocate', 'sync_file_range'],
]

const STRING = '"((?:\\\\x[0-9a-f]{2})*)"'
const CALLS: Readonly<Record<string, RegExp>> = {
  openat: new RegExp(`^AT_FDCWD, ${STRING}, ([A-Z_|]+).*\\) += (\\d+)$`),
  close: /^(\d+)\) += 0$/,
  unlink: new RegExp(`^${STRING}\\) += 0$`),
  pwrite64: new RegExp(`^(\\d+), ${STRING}, \\d+, (\\d+)\\) += (\\d+)$`),
  fsync: /^(\d+)\) += 0$/,
  fdatasync: /^(\d+)\) += 0$/,
  ftruncate: /^(\d+), (\d+)\) += 0$/,
}
const TELLING = new Set(['write', 'writev', 'sendto', 'sendmsg'])

const bytesOf = (hex: string | undefined): Buffer => Buffer.from((hex ?? '').replaceAll('\\x', ''), 'hex')

/** Calls by line, each where it returned; a call that another thread interrupted stands on two lines. */
function* callsOf(trace: string): Generator<{ name: string; rest: string }> {
  const begun = new Map<string, string>()
  for (const line of readFileSync(trace, 'latin1').split('\n')) {
    const [, thread = '', said = ''] = /^(\d+) +[\d.]+ (.*)$/.exec(line) ?? []
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(said)
    const interrupted = /^(.*) <unfinished \.\.\.>$/.exec(said)
    if (interrupted !== null) {
      begun.set(thread, interrupted[1] as string)
      continue
    }
    const [, name = '', rest = ''] = /^(\w+)\((.*)$/.exec(resumed ? (begun.get(thread) ?? '') + resumed[1] : said) ?? []
    if (name !== '' && !/\) += -1 E/.test(rest)) yield { name, rest }
  }
}

/** Steps on the files of one folder, and on the folder itself. Indexes of shared memory and lock files hold no data. */
export function stepsOf(trace: string, folder: string): Step[] {
  const steps: Step[] = []
  const paths = new Map<number, string>()
  const existing = new Set<string>()
  const isData = (path: string | undefined): path is string =>
    path?.startsWith(`${folder}/`) === true && !/(-shm|\.lock|\.lock-journal)$/.test(path)

  for (const { name, rest } of callsOf(trace)) {
    if (TELLING.has(name)) {
      const fd = Number.parseInt(rest, 10)
      if (isData(paths.get(fd))) throw new Error(`${name} on ${paths.get(fd)} is not understood`)
      const text = [...rest.matchAll(new RegExp(STRING, 'g'))].map(([, hex]) => bytesOf(hex).toString()).join('')
      if (!paths.has(fd)) steps.push({ type: 'tell', text })
      continue
    }
    const [, first, second, third] = CALLS[name]?.exec(rest) ?? []
    if (name === 'openat') {
      const path = bytesOf(first).toString()
      paths.set(Number(third), path)
      if (isData(path) && second?.includes('O_CREAT') && !existing.has(path)) {
        existing.add(path)
        steps.push({ type: 'create', file: path })
      }
    } else if (name === 'unlink') {
      const path = bytesOf(first).toString()
      if (existing.delete(path)) steps.push({ type: 'unlink', file: path })
    } else if (name === 'close') paths.delete(Number(first))
    else {
      const path = paths.get(Number(first))
      if (path === folder && name === 'fsync') steps.push({ type: 'sync', path })
      else if (!isData(path)) continue
      else if (name === 'pwrite64')
        steps.push({ type: 'write', file: path, offset: Number(third), bytes: bytesOf(second) })
      else if (name === 'fsync' || name === 'fdatasync') steps.push({ type: 'sync', path })
      else if (name === 'ftruncate') steps.push({ type: 'truncate', file: path, size: Number(second) })
      else throw new Error(`${name} on ${path} is not understood`)
    }
  }
  return steps
}
