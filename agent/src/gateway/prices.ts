/** Brings the prices that the server has to the gateway, whole, when either of the two has changed. */

export type PriceServer = {
  /** null: they have that tag still. Rejects where nothing is known. */
  prices: (etag: string | null, signal: AbortSignal) => Promise<{ etag: string | null; prices: unknown[] } | null>
}

export type PricesKeeper = ReturnType<typeof createPricesKeeper>

const LOOK_MS = 30_000
/** For a run that is about to begin: older prices are better than none. */
const FRESH_MS = 2000

export function createPricesKeeper(options: {
  server: PriceServer
  gateway: { setPrices: (prices: readonly unknown[]) => Promise<void> }
  /** Of the gateway that is there now: another one has other books. Null while it is not. */
  gatewayId: () => string | null
  warn: (facts: object, message: string) => void
}) {
  const stopping = new AbortController()
  let given: { etag: string | null; gatewayId: string } | null = null
  let looking: Promise<void> | null = null
  let failed = false

  const lookOnce = async (): Promise<void> => {
    const gatewayId = options.gatewayId()
    if (gatewayId === null || stopping.signal.aborted) return
    try {
      const known = given?.gatewayId === gatewayId ? given.etag : null
      const got = await options.server.prices(known, stopping.signal)
      if (got !== null) {
        await options.gateway.setPrices(got.prices)
        given = { etag: got.etag, gatewayId }
      }
      failed = false
    } catch (error) {
      if (!failed && !stopping.signal.aborted)
        options.warn({ err: error }, 'the prices of the server have not reached the gateway, those of before count')
      failed = true
    }
  }

  /** One at a time. */
  const look = (): Promise<void> => {
    looking ??= lookOnce().finally(() => {
      looking = null
    })
    return looking
  }
  const timer = setInterval(() => void look(), LOOK_MS)
  timer.unref()

  return {
    look,

    /** Before a run begins: what was set before it was submitted counts for it, where the server answers in time. */
    async fresh(): Promise<void> {
      let late: NodeJS.Timeout | undefined
      const patience = new Promise<void>((resolve) => {
        late = setTimeout(resolve, FRESH_MS)
      })
      // One that is under way may have been answered before.
      await Promise.race([(looking ?? Promise.resolve()).then(look), patience])
      clearTimeout(late)
    },

    stop(): void {
      clearInterval(timer)
      stopping.abort()
    },
  }
}
