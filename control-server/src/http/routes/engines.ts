/** Engines: read, write, and which agents can run them. */
import { capabilitiesOf, EngineRecord, EngineSummary } from '@agent-executor/protocol'
import { readEngine } from '../../documents/read-content.ts'
import { engineAgents } from '../../lifecycle/engines.ts'
import { definitionIn, type LiveEngine } from '../../profiles/document.ts'
import type { App, Context } from '../context.ts'
import { headOf } from '../documents.ts'
import { tomlDocumentRoutes } from '../toml-documents.ts'

export function engineRoutes(app: App, context: Context): void {
  const { store, nowMs } = context

  const summaries = async (documents: readonly LiveEngine[]): Promise<EngineSummary[]> => {
    const agents = (await store.agents()).map(({ agent }) => agent)
    return documents.map((document) => ({
      ...engineSummary(document),
      ...engineAgents(document.name, agents, nowMs()),
    }))
  }

  tomlDocumentRoutes(app, context, {
    kind: 'engine',
    schemas: { record: EngineRecord, summary: EngineSummary },
    read: async (source, at) => readEngine(source, at),
    summaries,
    async record(document) {
      const [summary] = await summaries([document])
      return { ...summary, engine: document.content.engine, toml: document.content.toml }
    },
  })
}

function engineSummary(document: LiveEngine): Omit<EngineSummary, 'available' | 'agents'> {
  const definition = definitionIn(document)
  return {
    ...headOf(document),
    description: document.content.engine.description ?? null,
    ...{ adapter: definition.adapter, image: definition.image, providers: definition.providers },
    can: { ...capabilitiesOf(definition) },
  }
}
