export { createGateway, type Gateway, type Session, type SessionOptions } from './gateway.ts'
export { type Call, type Ledger, type Limit, openLedger, type Scope } from './ledger.ts'
export { createPrices, type PriceRow } from './prices.ts'
export type { Provider, Providers } from './providers.ts'
