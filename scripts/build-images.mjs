// `npm run images -- [ENGINE…]`: the images of the engines, all or those named, under the names that the engines have.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readEngine } from '../control-server/dist/src/documents/read-content.js'

const folder = fileURLToPath(new URL('../engines/images', import.meta.url))
const fileOf = (name) => `${folder}/${name}.Dockerfile`
const definitions = new URL('../control-server/seeds/engines/', import.meta.url)
const built = readdirSync(definitions)
  .map((file) => ({ file, name: file.replace('.toml', '') }))
  .filter(({ name }) => existsSync(fileOf(name)))
  .map(({ file, name }) => {
    const read = readEngine({ toml: readFileSync(new URL(file, definitions), 'utf8') }, '')
    if (!read.ok) throw new Error(`${file}: ${JSON.stringify(read.refusal)}`)
    return { name, image: read.content.engine.image }
  })

const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !built.some((engine) => engine.name === name))
if (unknown.length > 0) {
  process.stderr.write(`No image for ${unknown.join(', ')}; there are ${built.map(({ name }) => name).join(', ')}\n`)
  process.exit(64)
}

for (const { name, image } of built.filter((engine) => asked.length === 0 || asked.includes(engine.name))) {
  const { status, error } = spawnSync('docker', ['build', '--file', fileOf(name), '--tag', image, folder], {
    stdio: 'inherit',
  })
  if (error !== undefined) process.stderr.write(`docker: ${error.message}\n`)
  if (status !== 0) process.exit(status ?? 1)
  process.stdout.write(`${image}\n`)
}
