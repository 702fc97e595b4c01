/** The documents of the repository: where they are, and the parts of them that are written by the code. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's folder, from `dist/src`. */
export const repository = join(dirname(fileURLToPath(import.meta.url)), '../../..')

export const readText = (path: string): string => readFileSync(join(repository, path), 'utf8')

const NOT_OURS = new Set(['node_modules', 'dist', '.git', '.tap', 'data', 'coverage'])

/** Paths of all files with this ending below a folder, from the repository's folder on; `''` is everything of ours. */
export const filesBelow = (folder: string, ending: string): string[] =>
  readdirSync(join(repository, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return NOT_OURS.has(entry.name) ? [] : filesBelow(path, ending)
    return entry.isFile() && path.endsWith(ending) ? [path] : []
  })

const markersOf = (name: string) => ({ begin: `<!-- generated:${name} -->`, end: `<!-- /generated:${name} -->` })

/** The document with the text between the two markers of each block replaced. Throws where a marker is missing. */
export const withBlocks = (document: string, blocks: Readonly<Record<string, string>>): string =>
  Object.entries(blocks).reduce((text, [name, content]) => {
    const { begin, end } = markersOf(name)
    const from = text.indexOf(begin)
    const to = text.indexOf(end, from)
    if (from === -1 || to === -1) throw new Error(`the markers ${begin} and ${end} are missing`)
    return `${text.slice(0, from + begin.length)}\n\n${content.trim()}\n\n${text.slice(to)}`
  }, document)

/** The rows of every Markdown table in the text, a row as its trimmed cells; header and rule included. */
export const tableRows = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )

export const markdownTable = (header: readonly string[], rows: readonly (readonly string[])[]): string =>
  [header, header.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n')
