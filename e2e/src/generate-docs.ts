/** `npm run docs:generate`: writes what the code says of itself into the documents. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readText, repository, withBlocks } from './documents.ts'
import { GENERATED_BLOCKS } from './generated-blocks.ts'

for (const [path, blocks] of Object.entries(GENERATED_BLOCKS)) {
  const text = readText(path)
  const generated = withBlocks(text, blocks)
  if (generated === text) continue
  writeFileSync(join(repository, path), generated)
  process.stdout.write(`${path} written\n`)
}
