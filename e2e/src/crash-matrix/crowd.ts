/** Others who submit at the same time, so that operations share a commit. Nobody can take what they submit. */
import type { Api } from '../api.ts'

const SUBMITTERS = 8
/** Later than any answer: what has expired cannot be submitted again. */
const EXPIRES_MS = 120_000

export function createCrowd(api: Api, name: string) {
  const acknowledged: string[] = []
  let stopped = false
  let ended: Promise<unknown> = Promise.resolve()

  const submitOn = async (submitter: number): Promise<void> => {
    for (let number = 0; !stopped; number++) {
      const expiresAt = new Date(Date.now() + EXPIRES_MS).toISOString()
      const submission = { type: 'DELAY', payload: { ms: 0 }, agentId: 'nobody', expiresAt }
      acknowledged.push((await api.submit(submission, `${name}-${submitter}-${number}`)).commandId)
    }
  }
  return {
    start(): void {
      ended = Promise.all(Array.from({ length: SUBMITTERS }, (_, submitter) => submitOn(submitter)))
      // For `gone` to reject with.
      ended.catch(() => {})
    },
    stop(): void {
      stopped = true
    },
    /** Once it was stopped: the acknowledged submissions that are not there. */
    async gone(): Promise<string[]> {
      await ended
      const gone: string[] = []
      for (const commandId of acknowledged)
        if ((await api.call('GET', `/commands/${commandId}`)).status !== 200) gone.push(commandId)
      return gone
    },
  }
}
