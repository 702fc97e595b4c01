/**
 * What a container of the pool reads from its standard input: one compound command, which a shell begins only when it has
 * read all of it. So one that is cut on its way never begins, and one that comes twice runs once: the first ends in
 * `exec`, and what a shell has left unread goes with it. Pure.
 *
 * It may also come behind a part of itself, where Docker has lost a connection in the middle. Then nothing runs, because
 * the outer brace stays open. Where the part ends within quotes, what was quoted is read as code and the reverse: hence
 * nothing between quotes here has a brace, a quote, a comment or the end of a line.
 */
import type { RunAgentPayload } from '@agent-executor/protocol'
import { POOL_INPUT, WORKSPACE } from '../../docker/create-options.ts'
import { contentOf, engineScript, foldersOf, GUARD, type Input, NOT_BEGUN_EXIT_CODE } from './input.ts'

/** A larger input goes in as an archive, which is quicker by then. */
export const PROGRAM_INPUT_BYTES_MAX = 65_536
/** Of an argument: where `printf` is no command of the shell, the kernel limits it. */
const PIECE_BYTES = 4096

/** How much there is to write, prompt, scripts, environment and files together. */
export const inputBytes = ({ prompt, files, hooks, env }: Input): number =>
  [prompt, env ?? '', ...Object.values(hooks).map(({ script }) => script)].reduce(
    (sum, text) => sum + Buffer.byteLength(text),
    files.reduce((sum, file) => sum + contentOf(file).length, 0),
  )

export function program(
  payload: RunAgentPayload & { endsAfterMs: number },
  { prompt, files, hooks, env }: Input,
): Buffer {
  const scripts = Object.entries(hooks)
  const texts: [string, string][] = [
    [`${POOL_INPUT}/run`, engineScript(payload, POOL_INPUT)],
    [`${POOL_INPUT}/prompt`, prompt],
    ...(env === null ? [] : [[`${POOL_INPUT}/env`, env] as [string, string]]),
    ...scripts.map(([name, { script }]): [string, string] => [`${POOL_INPUT}/hooks/${name}`, script]),
  ]
  const folders = new Set([
    ...(scripts.length === 0 ? [] : [`${POOL_INPUT}/hooks`]),
    ...files.flatMap(({ path }) => foldersOf(path)).map((path) => `${WORKSPACE}/${path}`),
  ])
  const lines = [
    // On a line of its own, whatever came before.
    '',
    '{',
    ...GUARD,
    // A path in a variable is one word.
    'IFS=; set -f',
    ...[...folders].map((path) => step(path, 'mkdir -p $path')),
    ...texts.map(([path, text]) => written(path, Buffer.from(text))),
    ...files.map((file) => written(`${WORKSPACE}/${file.path}`, contentOf(file))),
    ...files.filter(({ mode }) => mode === '0755').map(({ path }) => step(`${WORKSPACE}/${path}`, 'chmod 755 $path')),
    `exec /bin/sh ${POOL_INPUT}/run </dev/null`,
    '}',
    '',
  ]
  return Buffer.from(lines.join('\n'))
}

const step = (path: string, command: string): string =>
  `path=$(${printed(Buffer.from(path))}) && ${command} || exit ${NOT_BEGUN_EXIT_CODE}`

const written = (path: string, content: Buffer): string =>
  step(path, content.length <= PIECE_BYTES ? `${printed(content)} >$path` : `{ ${pieces(content)}; } >$path`)

const pieces = (content: Buffer): string =>
  Array.from({ length: Math.ceil(content.length / PIECE_BYTES) }, (_, index) =>
    printed(content.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES)),
  ).join(' && ')

const printed = (bytes: Buffer): string => `printf %b '${encoded(bytes)}'`

/** All but these characters as `\0` and three octal digits. */
const encoded = (bytes: Buffer): string =>
  bytes
    .toString('latin1')
    .replace(/[^A-Za-z0-9 _.,:/=+@-]/g, (byte) => `\\0${byte.charCodeAt(0).toString(8).padStart(3, '0')}`)
