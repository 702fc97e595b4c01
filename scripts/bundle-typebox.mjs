// Puts typebox into one file, in the place of `protocol/dist/src/typebox.js`: a process then opens 700 files less at its
// start. Does nothing where that is done already, or where esbuild is not installed.
import { readFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const file = join(root, 'protocol/dist/src/typebox.js')
const BANNER = '// typebox, in one file: scripts/bundle-typebox.mjs\n'

if (!readFileSync(file, 'utf8').startsWith(BANNER)) {
  const { build } = await import('esbuild').catch(() => ({ build: null }))
  if (build !== null) {
    await build({
      entryPoints: [join(root, 'protocol/src/typebox.ts')],
      outfile: `${file}.new`,
      ...{ bundle: true, format: 'esm', platform: 'node', target: 'node20', logLevel: 'error' },
      banner: { js: BANNER },
    })
    renameSync(`${file}.new`, file)
  }
}
