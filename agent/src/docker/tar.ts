/** Uncompressed tar, as much of it as the input of a container needs: folders and files, long paths by a pax record. */

export type TarEntry = { path: string; mode: number; uid: number; content: Buffer | null }

const BLOCK_BYTES = 512
const NAME_BYTES_MAX = 100

/** `content` null is a folder. */
export const tarOf = (entries: readonly TarEntry[]): Buffer =>
  Buffer.concat([...entries.flatMap(blocksOf), Buffer.alloc(2 * BLOCK_BYTES)])

const blocksOf = (entry: TarEntry): Buffer[] => {
  const isFolder = entry.content === null
  const name = isFolder ? `${entry.path}/` : entry.path
  const content = entry.content ?? Buffer.alloc(0)
  const own = [header(name, entry, content.length, isFolder ? '5' : '0'), ...padded(content)]
  if (Buffer.byteLength(name) <= NAME_BYTES_MAX) return own
  const record = Buffer.from(paxRecord('path', name))
  return [header('pax', { mode: 0o644, uid: 0 }, record.length, 'x'), ...padded(record), ...own]
}

const padded = (content: Buffer): Buffer[] => {
  const rest = content.length % BLOCK_BYTES
  return rest === 0 ? [content] : [content, Buffer.alloc(BLOCK_BYTES - rest)]
}

/** `<length> <name>=<value>\n`, where the length counts itself. */
const paxRecord = (name: string, value: string): string => {
  const rest = ` ${name}=${value}\n`
  const restBytes = Buffer.byteLength(rest)
  let length = restBytes + String(restBytes).length
  if (String(length).length > String(restBytes).length) length = restBytes + String(length).length
  return length + rest
}

function header(name: string, { mode, uid }: Pick<TarEntry, 'mode' | 'uid'>, bytes: number, type: string): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  const octal = (value: number, at: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1')
  Buffer.from(name).copy(block, 0, 0, NAME_BYTES_MAX)
  octal(mode, 100, 8)
  octal(uid, 108, 8)
  octal(uid, 116, 8)
  octal(bytes, 124, 12)
  octal(0, 136, 12)
  block.write('        ', 148, 'latin1')
  block.write(type, 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}
