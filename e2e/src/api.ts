/** The control server's API as a client of it sees it, patient with a server that is being killed. */
import { setTimeout as sleep } from 'node:timers/promises'

export type Json = Record<string, unknown>
export type CommandView = Json & {
  commandId: string
  status: string
  result: Json | null
  error: { code: string } | null
  finishedAt: string | null
  attempts: { attempt: number; state: string; agentId: string; grantedAt: string | null }[]
}

const FINAL = new Set(['COMPLETED', 'FAILED', 'CANCELLED'])
const RETRY_MS = 20

export function createApi(port: number, retryMs = RETRY_MS) {
  const base = `http://127.0.0.1:${port}`

  /** Repeats until the server answers at all; `deadlineMs` bounds it. */
  const patiently = async <Answer>(what: string, call: () => Promise<Answer>, deadlineMs = 30_000): Promise<Answer> => {
    const untilMs = performance.now() + deadlineMs
    for (;;)
      try {
        return await call()
      } catch (error) {
        if (performance.now() > untilMs) throw new Error(`${what}: no answer in ${deadlineMs} ms`, { cause: error })
        await sleep(retryMs)
      }
  }

  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(base + path, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, body: (text === '' ? null : JSON.parse(text)) as Json }
  }

  return {
    call,
    patiently,

    /** Resolves when `holds`; rejects after `deadlineMs`. */
    eventually: (what: string, holds: () => boolean | Promise<boolean>, deadlineMs?: number): Promise<void> =>
      patiently(
        what,
        async () => {
          if (!(await holds())) throw new Error('not yet')
        },
        deadlineMs,
      ),

    /** With a key, so that a submission whose answer was lost can be repeated. */
    submit: (submission: Json, key: string): Promise<CommandView> =>
      patiently('submit', async () => {
        const { status, body } = await call('POST', '/commands', submission, { 'idempotency-key': key })
        if (status !== 201) throw new Error(`submit answered ${status}: ${JSON.stringify(body)}`)
        return body as CommandView
      }),

    get: (commandId: string): Promise<CommandView> =>
      patiently('get', async () => {
        const { status, body } = await call('GET', `/commands/${commandId}`)
        if (status !== 200) throw new Error(`get answered ${status}`)
        return body as CommandView
      }),

    /** The command as it is when `holds`; rejects after `deadlineMs`, saying how it was. */
    async until(
      commandId: string,
      holds: (command: CommandView) => boolean,
      deadlineMs = 30_000,
    ): Promise<CommandView> {
      const untilMs = performance.now() + deadlineMs
      for (;;) {
        const command = await this.get(commandId)
        if (holds(command)) return command
        if (performance.now() > untilMs) throw new Error(`after ${deadlineMs} ms: ${JSON.stringify(command)}`)
        await sleep(retryMs)
      }
    },

    final(commandId: string, deadlineMs?: number): Promise<CommandView> {
      return this.until(commandId, ({ status }) => FINAL.has(status), deadlineMs)
    },
  }
}

export type Api = ReturnType<typeof createApi>
