/** What the soak asks for: every way a command can go, and what may become of each. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Api, CommandView, Json } from '../api.ts'
import type { Random } from '../random.ts'

/** One acknowledged submission. */
export type Submitted = { kind: Kind; commandId: string; maxAttempts: number; submittedMs: number }

type Wish = { submission: Json; cancelAfterMs?: number }
type Kind = keyof typeof KINDS

const SIMPLE_CLIENT = 'simple'
/** Keeps the simple client, which has no labels, from what only an agent can do. */
export const AGENT_LABEL = 'agent'
/** Whatever is not over by then ends: at once, or when it is known to be LOST. */
export const TOTAL_TIMEOUT_MS = 30_000
const USUAL = { labels: [AGENT_LABEL], totalTimeoutMs: TOTAL_TIMEOUT_MS, lostAfterMs: 3000 }

/** Of a client with a server that is away. */
const PATIENCE_MS = 60_000

const retry = { maxAttempts: 4, backoff: { initialMs: 50, maxMs: 500 } }
const delay = (ms: number) => ({ type: 'DELAY', payload: { ms } })
const inMs = (ms: number) => new Date(Date.now() + ms).toISOString()

/** What can go wrong with a command that something has to run. */
const UNKNOWN = ['FAILED INTERRUPTED', 'FAILED LOST', 'FAILED TIMED_OUT', 'FAILED POISONED']

const KINDS = {
  delay: {
    weight: 5,
    wish: (random: Random): Wish => ({ submission: delay(random.between(0, 1500)) }),
    ends: ['COMPLETED', 'FAILED LOST', 'FAILED TIMED_OUT'],
  },
  delayWithTakeover: {
    weight: 2,
    wish: (random: Random): Wish => ({ submission: { ...delay(random.between(0, 1500)), retry, takeover: 'auto' } }),
    ends: ['COMPLETED', ...UNKNOWN],
  },
  get: {
    weight: 5,
    wish: (random: Random, url: string): Wish => ({ submission: get(random, url) }),
    ends: ['COMPLETED', ...UNKNOWN],
  },
  getWithRetries: {
    weight: 2,
    wish: (random: Random, url: string): Wish => ({ submission: { ...get(random, url), retry } }),
    ends: ['COMPLETED', ...UNKNOWN],
  },
  getWithTakeover: {
    weight: 2,
    wish: (random: Random, url: string): Wish => ({ submission: { ...get(random, url), retry, takeover: 'auto' } }),
    ends: ['COMPLETED', ...UNKNOWN],
  },
  expiring: {
    weight: 1,
    wish: (random: Random): Wish => ({
      submission: { ...delay(1), labels: ['nobody'], expiresAt: inMs(random.between(2000, 5000)) },
    }),
    ends: ['FAILED EXPIRED'],
  },
  cancelled: {
    weight: 2,
    wish: (random: Random): Wish => ({ submission: delay(60_000), cancelAfterMs: random.between(0, 2000) }),
    ends: ['CANCELLED CANCELLED', 'FAILED LOST', 'FAILED TIMED_OUT'],
  },
  simple: {
    weight: 2,
    wish: (): Wish => ({ submission: { ...delay(1), labels: [], agentId: SIMPLE_CLIENT, timeoutMs: 3000 } }),
    ends: ['COMPLETED', 'FAILED LOST', 'FAILED TIMED_OUT'],
  },
} as const satisfies Record<
  string,
  { weight: number; wish: (random: Random, url: string) => Wish; ends: readonly string[] }
>

const get = (random: Random, url: string): Json => ({
  type: 'HTTP_GET_JSON',
  payload: { url: `${url}/visit/${random.between(0, 1500)}` },
})

const HAT = (Object.keys(KINDS) as Kind[]).flatMap((kind) => Array<Kind>(KINDS[kind].weight).fill(kind))

/** Whether the command came to an end that its kind may have. */
export const mayEndSo = (kind: Kind, { status, error }: CommandView): boolean =>
  (KINDS[kind].ends as readonly string[]).includes(error === null ? status : `${status} ${error.code}`)

/** A client: submits, and cancels what it said it would, until `stopped`; pushes what was acknowledged. */
export async function submitting(options: {
  api: Api
  name: string
  random: Random
  targetUrl: string
  pauseMs: number
  acknowledged: Submitted[]
  stopped: AbortSignal
}): Promise<void> {
  const { api, random, stopped } = options
  const cancels: Promise<unknown>[] = []
  for (let number = 0; !stopped.aborted; number += 1) {
    const kind = random.pick(HAT)
    const { submission, cancelAfterMs } = KINDS[kind].wish(random, options.targetUrl) as Wish
    const key = { 'idempotency-key': `${options.name}-${number}` }
    const { status, body } = await api.patiently(
      'submit',
      async () => {
        const answer = await api.call('POST', '/commands', { ...USUAL, ...submission }, key)
        if (answer.status >= 500) throw new Error(`submit answered ${answer.status}`)
        return answer
      },
      PATIENCE_MS,
    )
    // Expired while the server was away.
    if (kind === 'expiring' && status === 400) continue
    if (status !== 201) throw new Error(`submit answered ${status}: ${JSON.stringify(body)}`)
    const { commandId } = body as CommandView
    const maxAttempts = 'retry' in submission ? retry.maxAttempts : 1
    options.acknowledged.push({ kind, commandId, maxAttempts, submittedMs: Date.now() })
    if (cancelAfterMs !== undefined) cancels.push(sleep(cancelAfterMs).then(() => cancel(api, commandId)))
    await sleep(random.between(0, 2 * options.pauseMs))
  }
  await Promise.all(cancels)
}

const cancel = (api: Api, commandId: string): Promise<void> =>
  api.eventually(
    'cancel',
    async () => [200, 202, 409].includes((await api.call('POST', `/commands/${commandId}/cancel`)).status),
    PATIENCE_MS,
  )

/** A client of the simple API that forgets a command now and then. Counts what it was handed, by command. */
export async function takingSimply(options: {
  api: Api
  random: Random
  stopped: AbortSignal
  handedOut: Map<string, number>
}): Promise<void> {
  const { api, random, stopped, handedOut } = options
  while (!stopped.aborted) {
    const next = await api.call('GET', `/commands/next?agentId=${SIMPLE_CLIENT}`).catch(() => undefined)
    if (next?.status !== 200) {
      await sleep(200)
      continue
    }
    const { commandId } = next.body as CommandView
    handedOut.set(commandId, (handedOut.get(commandId) ?? 0) + 1)
    if (random.chance(0.1)) continue
    const report = { agentId: SIMPLE_CLIENT, result: { ok: true } }
    // 400: it took so long that the command was given up.
    await api.eventually(
      'report',
      async () => [200, 400].includes((await api.call('PUT', `/commands/${commandId}/result`, report)).status),
      PATIENCE_MS,
    )
  }
}
