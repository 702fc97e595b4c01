/** The session of one attempt at the gateway: what it may use, and what it has used. Without a gateway there is nobody to ask. */
import type { EgressHost, ProviderName, RunAgentPayload, UsageLimits } from '@agent-executor/protocol'
import { GatewayRefused, GatewayUnavailable, type SessionBody, type SessionUsage } from '../../gateway/client.ts'

/** The gateway as an executor needs it; `gateway/sessions.ts` is one. */
export type Gateway = {
  /** Whether it has a key of this provider, and answers at all. */
  has: (provider: ProviderName) => boolean
  up: () => boolean
  reason: () => string
  open: (attemptId: string, body: SessionBody) => Promise<string>
  keepOpen: (attemptId: string, body: SessionBody) => void
  leave: (attemptId: string) => void
  end: (attemptId: string) => Promise<SessionUsage>
  usage: (attemptId: string) => Promise<SessionUsage>
  close: (attemptId: string) => Promise<void>
  /** The prices that the server has by now. */
  freshPrices: () => Promise<void>
  /** The program that brings a port in the sandbox to the socket. */
  forwarder: string
}

export type AttemptSession = ReturnType<typeof createAttemptSession>

/** How long the gateway may be silent when the container has ended, until the result says nothing of usage. */
const END_PATIENCE_MS = 30_000

export const sessionBody = (
  payload: Pick<RunAgentPayload, 'limits' | 'profileLimits' | 'egress' | 'resolvedFrom'>,
  { agentId, commandId }: { agentId: string; commandId: string },
): SessionBody => ({
  ...{ agentId, commandId, profile: payload.resolvedFrom?.profile ?? null },
  limits: payload.limits ?? ({} satisfies UsageLimits),
  profileLimits: payload.profileLimits ?? ({} satisfies UsageLimits),
  egress: payload.egress ?? ([] satisfies EgressHost[]),
})

export function createAttemptSession(gateway: Gateway, attemptId: string, body: SessionBody) {
  let silentSinceMs: number | null = null
  let usedCalls = 0

  return {
    /** The folder of its socket; again, also after a crash of either side. */
    async open(): Promise<string> {
      await gateway.freshPrices()
      return gateway.open(attemptId, body)
    },

    /** For what is read of a container that has ended; its folder is there again. */
    reopen: (): Promise<string> => gateway.open(attemptId, body),

    /** For a container that runs. */
    keepOpen: (): void => gateway.keepOpen(attemptId, body),

    /** The next life of the agent goes on with it. */
    leave: (): void => gateway.leave(attemptId),

    /** Whether a call is under way, or has ended since this was asked last. Where nobody knows, there may be one. */
    async isBusy(): Promise<boolean> {
      try {
        const { calls, started } = await gateway.usage(attemptId)
        const isNew = calls.length > usedCalls
        usedCalls = calls.length
        return isNew || started > 0
      } catch {
        return false
      }
    },

    /** All that it has used, of a container that has ended; null where the gateway cannot say. Rejects for a while before. */
    async end(): Promise<SessionUsage | null> {
      try {
        return await gateway.end(attemptId)
      } catch (error) {
        if (error instanceof GatewayRefused) return null
        if (!(error instanceof GatewayUnavailable)) throw error
        silentSinceMs ??= performance.now()
        if (performance.now() - silentSinceMs > END_PATIENCE_MS) return null
        throw error
      }
    },
  }
}
