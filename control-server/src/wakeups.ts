/**
 * Who is told that something changed. A hint and nothing else: an agent that misses it finds the same work with its next
 * sync. A new command wakes one waiting agent with a free slot for it, not all of them.
 */
import type { Agent, Change } from './lifecycle/agent.ts'
import { newestAttempt } from './lifecycle/command.ts'
import { laneOf, mayTake, parseLane } from './lifecycle/matching.ts'
import { isReady } from './lifecycle/transition.ts'

type Presence = {
  agent: Agent | null
  /** Free slots by type as of its last sync, less those that a wake-up was sent for. */
  want: Record<string, number>
  /** Something changed that no sync has told it. */
  changed: boolean
  /** Whether something changed since the sync that is under way began; null where its last one was answered. */
  changedMeanwhile: boolean | null
  wake: ((changed: boolean) => void) | null
}

export type Wakeups = ReturnType<typeof createWakeups>

export function createWakeups() {
  const presences = new Map<string, Presence>()
  let closed = false

  const presenceOf = (agentId: string): Presence => {
    const known = presences.get(agentId)
    if (known !== undefined) return known
    const presence: Presence = { agent: null, want: {}, changed: false, changedMeanwhile: null, wake: null }
    presences.set(agentId, presence)
    return presence
  }

  /** Who never synced and waits no more: names that somebody makes up must not be remembered for ever. */
  const forgetStranger = (agentId: string): void => {
    const presence = presences.get(agentId)
    if (presence?.agent === null && presence.wake === null) presences.delete(agentId)
  }

  /** Answers whether the agent was waiting for just this. */
  const tell = (presence: Presence): boolean => {
    const idle = presence.changedMeanwhile === null && presence.wake !== null
    presence.changed = true
    if (presence.changedMeanwhile !== null) presence.changedMeanwhile = true
    presence.wake?.(true)
    return idle
  }

  /** Agents with a free slot that did not wait this very moment are marked too: they are about to. */
  const offer = (change: Change): void => {
    const lane = parseLane(laneOf(change.command))
    for (const [agentId, presence] of presences) {
      const free = presence.want[lane.type] ?? 0
      // What it can take after the sync that is under way is not known yet.
      const asking = presence.changedMeanwhile !== null
      if (!asking && (presence.agent === null || free <= 0 || !mayTake(presence.agent, lane))) continue
      if (!tell(presence)) continue
      presence.want[lane.type] = free - 1
      // To the back of the queue, so that equal agents take turns.
      presences.delete(agentId)
      presences.set(agentId, presence)
      return
    }
  }

  return {
    /** A sync of this agent begins: what changed until now will be part of its answer, unless it is refused. */
    syncing(agentId: string): void {
      presenceOf(agentId).changedMeanwhile = false
    },

    /** The sync was refused. */
    refused(agentId: string): void {
      forgetStranger(agentId)
    },

    /** The agent was answered; `want` is what it can still take. */
    synced(agent: Agent, want: Readonly<Record<string, number>>): void {
      const presence = presenceOf(agent.agentId)
      presence.changed = presence.changedMeanwhile ?? false
      Object.assign(presence, { agent, want: { ...want }, changedMeanwhile: null })
    },

    /** A commit changed these commands. */
    changed(changes: readonly Change[]): void {
      for (const change of changes)
        if (isReady(change.command)) offer(change)
        else if (change.entry.type === 'cancelRequested') {
          const agentId = newestAttempt(change.command)?.agentId
          const presence = agentId === undefined ? undefined : presences.get(agentId)
          if (presence !== undefined) tell(presence)
        }
    },

    /** Resolves with true as soon as something changed for the agent, with false after `waitMs` or when `signal` aborts. */
    wait(agentId: string, waitMs: number, signal: AbortSignal): Promise<boolean> {
      presences.get(agentId)?.wake?.(false)
      const presence = presenceOf(agentId)
      if (presence.changed || closed || signal.aborted) return Promise.resolve(presence.changed)
      return new Promise((resolve) => {
        const done = (changed: boolean) => {
          clearTimeout(timer)
          signal.removeEventListener('abort', aborted)
          if (presence.wake === done) presence.wake = null
          forgetStranger(agentId)
          resolve(changed)
        }
        const aborted = () => done(false)
        const timer = setTimeout(done, waitMs, false)
        signal.addEventListener('abort', aborted)
        presence.wake = done
      })
    },

    /** Lets every waiting agent go; later waits answer at once. */
    close(): void {
      closed = true
      for (const presence of presences.values()) presence.wake?.(false)
    },
  }
}
