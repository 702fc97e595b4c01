/** The engines as agents have to know them, made anew only when a document has changed: every sync may ask. */
import type { EngineDefinitions } from '@agent-executor/protocol'
import { canonicalJson, sha256 } from '@agent-executor/runtime'
import { type Documents, definitionIn, enginesIn } from '../profiles/document.ts'
import type { DocumentStore } from '../store/documents.ts'

export function createEngineDefinitions(documents: Pick<DocumentStore, 'changeCount' | 'newest'>) {
  let known: { changeCount: number; definitions: EngineDefinitions } | null = null
  return {
    /** For an agent that has `seen` others; null for one that has seen these, or does not ask. */
    async unseen(seen: string | undefined): Promise<EngineDefinitions | null> {
      if (seen === undefined) return null
      const changeCount = documents.changeCount()
      if (known?.changeCount !== changeCount)
        known = { changeCount, definitions: definitionsOf(await documents.newest()) }
      return known.definitions.fingerprint === seen ? null : known.definitions
    },
  }
}

function definitionsOf(documents: Documents): EngineDefinitions {
  const engines = enginesIn(documents).map(definitionIn)
  return { fingerprint: sha256(canonicalJson(engines)), engines }
}
