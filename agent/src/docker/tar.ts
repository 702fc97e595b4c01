/** Uncompressed tar, as much of it as the input of a container needs: folders and files, long paths by a pax record. */

export type TarEntry = { path: string; mode: number; uid: number; content: Buffer | null }

const BLOCK_BYTES = 512
const NAME_BYTES_MAX = 100

/** `content` null is a folder. */
export const tarOf = (entries: readonly TarEntry[]): Buffer =>
  Buffer.concat([...entries.flatMap(blocksOf), Buffer.alloc(2 * BLOCK_BYTES)])

/** A file that is too large for memory. */
export type TarFile = Omit<TarEntry, 'content'> & { bytes: number; content: () => AsyncIterable<Buffer> }

/** The same, as it is read. Throws where a file does not have the bytes that it should. */
export async function* tarStream(entries: readonly TarEntry[], files: readonly TarFile[]): AsyncGenerator<Buffer> {
  yield* entries.flatMap(blocksOf)
  for (const file of files) {
    yield* headersOf(file.path, file, file.bytes, '0')
    let bytes = 0
    for await (const chunk of file.content()) {
      bytes += chunk.length
      yield chunk
    }
    if (bytes !== file.bytes) throw new Error(`${file.path} has ${bytes} bytes, not ${file.bytes}`)
    yield padding(bytes)
  }
  yield Buffer.alloc(2 * BLOCK_BYTES)
}

const blocksOf = (entry: TarEntry): Buffer[] => {
  const isFolder = entry.content === null
  const content = entry.content ?? Buffer.alloc(0)
  const name = isFolder ? `${entry.path}/` : entry.path
  return [...headersOf(name, entry, content.length, isFolder ? '5' : '0'), ...padded(content)]
}

const headersOf = (name: string, entry: Pick<TarEntry, 'mode' | 'uid'>, bytes: number, type: string): Buffer[] => {
  const own = header(name, entry, bytes, type)
  if (Buffer.byteLength(name) <= NAME_BYTES_MAX) return [own]
  const record = Buffer.from(paxRecord('path', name))
  return [header('pax', { mode: 0o644, uid: 0 }, record.length, 'x'), ...padded(record), own]
}

const padding = (bytes: number): Buffer => Buffer.alloc((BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES)

const padded = (content: Buffer): Buffer[] => [content, padding(content.length)]

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
