/** Prices as the database knows them; the promises of `store.ts` hold here too. */
import type { Price } from '../lifecycle/prices.ts'

export interface PriceStore {
  /** By provider, model and time. */
  list(): Promise<readonly Price[]>

  /** Shows all to `decide`; in one transaction stores what it saves, in place of what has the same time, and forgets what it removes. */
  change<Decision extends { saved?: readonly Price[]; removed?: readonly Price[] }>(
    decide: (prices: readonly Price[]) => Decision,
  ): Promise<Decision>
}
