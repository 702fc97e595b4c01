/** Rounds of an upload for as long as the process lives: at once where there is news or more to send, later where it fails. */
import { backoffMs } from './decide/backoff.ts'

/** Without news, in case that something was refused for now. */
const LOOK_MS = 2000

export function startUploadLoop(options: {
  /** True where something was sent: there may be more. Rejects where nothing is known. */
  round: () => Promise<boolean>
  /** Rung when there is something to send. */
  news: { heard: (ms: number) => Promise<void>; ring: () => void }
  stopping: AbortController
  random: () => number
  /** What waits where it fails. */
  what: 'logs are not taken, they wait' | 'files are not taken, they wait' | 'usage is not taken, it waits'
  warn: (facts: object, message: string) => void
}): { stop: () => Promise<void> } {
  const { round, news, stopping } = options
  let failures = 0

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        const again = await round()
        failures = 0
        if (!again) await news.heard(LOOK_MS)
      } catch (error) {
        if (failures === 0 && !stopping.signal.aborted) options.warn({ err: error }, `${options.what} on the disk`)
        await pause(backoffMs(failures++, options.random()))
      }
    }
  }

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(done, ms)
      stopping.signal.addEventListener('abort', done)
      function done(): void {
        clearTimeout(timer)
        stopping.signal.removeEventListener('abort', done)
        resolve()
      }
    })

  const running = loop()
  return {
    async stop(): Promise<void> {
      stopping.abort()
      news.ring()
      await running
    },
  }
}
