/**
 * The sessions of the attempts of this agent, and whether their gateway is there. A gateway that dies has forgotten its
 * sessions: so each is opened again and again for as long as its attempt runs, which changes nothing where it is open.
 */
import type { ProviderName } from '@agent-executor/protocol'
import {
  type GatewayClient,
  type GatewayHealth,
  GatewayUnavailable,
  type SessionBody,
  type SessionUsage,
} from './client.ts'

export type GatewaySessions = ReturnType<typeof createGatewaySessions>

/** How long an engine may find its gateway gone, after a new life of it has begun. */
const LOOK_MS = 500
const START_MS = 5000
/** For calls that broke off with their session to be booked. */
const BOOKED_MS = 5000
const BOOKED_EACH_MS = 50

export function createGatewaySessions(options: {
  client: GatewayClient
  /** It answers now, or no more, or has other keys. */
  onChange: (up: boolean, reason: string) => void
  warn: (facts: object, message: string) => void
}) {
  const { client } = options
  const open = new Map<string, SessionBody>()
  let health: GatewayHealth | null = null
  let told: string | null = null
  let reason = 'it was not asked yet'
  let timer: NodeJS.Timeout | undefined
  let unwatched = false
  const missedAtMs = performance.now() + START_MS

  const look = async (): Promise<void> => {
    try {
      health = await client.health()
      reason = 'it answers'
    } catch (error) {
      health = null
      reason = error instanceof Error ? error.message : String(error)
    }
    const now = JSON.stringify(health)
    // One that has been started just now is not missed.
    if (health === null && told === null && performance.now() < missedAtMs) return
    if (told !== now) options.onChange(health !== null, reason)
    told = now
    if (health === null) return
    for (const [attemptId, body] of [...open]) {
      // Ended meanwhile.
      if (!open.has(attemptId)) continue
      await client.open(attemptId, body).catch((error: unknown) => {
        if (!(error instanceof GatewayUnavailable) && open.delete(attemptId))
          options.warn({ attemptId, err: error }, 'the gateway does not open the session of an attempt any more')
      })
    }
  }

  const watch = (): void => {
    void look().finally(() => {
      if (unwatched) return
      timer = setTimeout(watch, LOOK_MS)
      timer.unref()
    })
  }

  return {
    /** Asks whether it is there, from now on again and again. */
    watch,
    unwatch(): void {
      unwatched = true
      clearTimeout(timer)
    },

    up: (): boolean => health !== null,
    reason: (): string => reason,
    gatewayId: (): string | null => health?.gatewayId ?? null,
    /** Whose keys it has; none while it is not there. */
    has: (provider: ProviderName): boolean => health?.providers[provider] === true,

    /** The folder of the socket of the attempt, once it is open. Rejects with what the client rejects with. */
    async open(attemptId: string, body: SessionBody): Promise<string> {
      const folder = await client.open(attemptId, body)
      open.set(attemptId, body)
      return folder
    },

    /** Of an attempt that runs already, in another life of the agent or before the gateway died. */
    keepOpen(attemptId: string, body: SessionBody): void {
      if (open.has(attemptId)) return
      open.set(attemptId, body)
      void look()
    },

    /** This life has no more for it; it stays as it is. */
    leave: (attemptId: string): void => void open.delete(attemptId),

    /** Nothing can be asked for any more, and what was under way is booked: all that the attempt has used. */
    async end(attemptId: string): Promise<SessionUsage> {
      open.delete(attemptId)
      await client.close(attemptId)
      const untilMs = performance.now() + BOOKED_MS
      for (;;) {
        const usage = await client.usage(attemptId)
        if (usage.started === 0 || performance.now() > untilMs) return usage
        await new Promise((resolve) => setTimeout(resolve, BOOKED_EACH_MS))
      }
    },

    /** Of one that runs. */
    usage: (attemptId: string): Promise<SessionUsage> => client.usage(attemptId),

    /** Of an attempt that is over: whoever ended it may not have got so far. */
    close: (attemptId: string): Promise<void> => client.close(attemptId),
  }
}
