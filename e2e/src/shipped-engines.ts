/** The engines that the product brings, as a server with nothing else has them. */
import { readdirSync, readFileSync } from 'node:fs'
import { readEngine } from '@agent-executor/control-server/documents/read-content'
import { definitionOf, type EngineDefinition } from '@agent-executor/protocol'

const FOLDER = new URL('../../../control-server/seeds/engines/', import.meta.url)

export const SHIPPED_ENGINES: readonly EngineDefinition[] = readdirSync(FOLDER)
  .sort()
  .map((file) => {
    const read = readEngine({ toml: readFileSync(new URL(file, FOLDER), 'utf8') }, '')
    if (!read.ok) throw new Error(`${file}: ${JSON.stringify(read.refusal)}`)
    return definitionOf(file.replace('.toml', ''), 1, read.content.engine)
  })

export function shippedEngine(name: string): EngineDefinition {
  const found = SHIPPED_ENGINES.find((engine) => engine.name === name)
  if (found === undefined) throw new Error(`no engine ${name}`)
  return found
}
