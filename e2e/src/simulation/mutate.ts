/** A loader hook that takes a guard out of the modules it passes, for this process only: nothing on the disk changes. */
import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import type { Mutant } from './mutants.ts'

type Edits = NonNullable<Mutant['edits']>
type Loaded = { format: string; source?: string | Uint8Array | null; shortCircuit?: boolean }

let edits: Edits = []

/** Called on the loader's thread with what `mutate` gave. */
export const initialize = (data: Edits): void => {
  edits = data
}

export const load = async (
  url: string,
  context: object,
  next: (url: string, context: object) => Promise<Loaded>,
): Promise<Loaded> => {
  const loaded = await next(url, context)
  const here = edits.filter(({ module }) => url.endsWith(module))
  if (here.length === 0) return loaded
  let source = loaded.source instanceof Uint8Array ? new TextDecoder().decode(loaded.source) : String(loaded.source)
  for (const { find, put } of here) {
    const parts = source.split(find)
    if (parts.length !== 2) throw new Error(`a mutant is out of date: ${parts.length - 1} times in ${url}: ${find}`)
    source = parts.join(put)
  }
  return { ...loaded, source }
}

/** Before the modules are loaded for the first time. */
export function mutate(mutant: Mutant): void {
  if (!isMainThread) throw new Error('a worker would load the code as it is')
  register(import.meta.url, { data: mutant.edits ?? [] })
}
