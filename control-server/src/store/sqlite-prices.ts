/** Prices in SQLite. */
import type { Price } from '../lifecycle/prices.ts'
import type { PriceStore } from './prices.ts'
import type { DocumentStatements } from './sqlite-documents.ts'

type Row = Record<string, unknown>

export function createSqlitePrices({ all, run, write }: Pick<DocumentStatements, 'all' | 'run' | 'write'>): PriceStore {
  const list = (): Price[] => all('price-list').map(priceOf)
  return {
    async list() {
      return list()
    },

    change: (decide) =>
      write(() => {
        const decision = decide(list())
        for (const price of decision.saved ?? []) run('price-save', { ...price })
        for (const { provider, model, effectiveFromMs } of decision.removed ?? [])
          run('price-delete', { provider, model, effectiveFromMs })
        return decision
      }),
  }
}

const priceOf = (row: Row): Price => ({
  provider: row.provider as Price['provider'],
  model: row.model as string,
  effectiveFromMs: row.effective_from_ms as number,
  input: row.input as number,
  output: row.output as number,
  cacheRead: row.cache_read as number | null,
  cacheWrite: row.cache_write as number | null,
  cacheWrite1h: row.cache_write_1h as number | null,
})
