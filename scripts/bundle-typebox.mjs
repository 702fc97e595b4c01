// Puts typebox into one file, in the place of `protocol/dist/src/typebox.js`: a process then opens 700 files less at its
// start. Does nothing where that is done already for this version, or where esbuild is not installed.
import { readFileSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const file = join(root, 'protocol/dist/src/typebox.js')
const { version } = JSON.parse(readFileSync(join(root, 'node_modules/typebox/package.json'), 'utf8'))
const BANNER = `// typebox ${version}, in one file: scripts/bundle-typebox.mjs\n`

if (!readFileSync(file, 'utf8').startsWith(BANNER)) {
  const { build } = await import('esbuild').catch(() => ({ build: null }))
  if (build !== null) {
    // Another build may be at it.
    const fresh = `${file}.${process.pid}`
    await build({
      entryPoints: [join(root, 'protocol/src/typebox.ts')],
      outfile: fresh,
      ...{ bundle: true, format: 'esm', platform: 'node', target: 'node20', logLevel: 'error' },
      banner: { js: BANNER },
    })
    renameSync(fresh, file)
  }
}
