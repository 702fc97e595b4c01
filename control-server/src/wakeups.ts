/**
 * Who is told that something changed. A hint and nothing else: an agent that misses it finds the same work with its next
 * sync. A ready command wakes one waiting agent with a free slot for it, not all of them, and at a cost that does not
 * grow with the number of agents: those that wait stand in a line for each type, and one for each of their labels.
 *
 * What nobody in the lines can take is counted by lane until an agent that can comes to wait, or a sync has shown that
 * the lane is empty. So no line ever holds an agent that could take something untold.
 */
import type { Agent, Change } from './lifecycle/agent.ts'
import { type Lane, laneOf, mayTake, parseLane } from './lifecycle/matching.ts'
import { isReady } from './lifecycle/transition.ts'

type Presence = {
  agent: Agent | null
  /** Free slots by type as of its last sync, less those that a wake-up was sent for. */
  want: Record<string, number>
  /** Syncs that are under way: what it can take after them is not known yet. */
  syncs: number
  /** When its last answered sync began, in `moments`: what changed until then was part of the answer. */
  syncedAt: number
  /** When it was last told that something changed; later than `syncedAt` until a sync has told what. */
  toldAt: number
  /** The lane it was woken for and has not been offered anything of. */
  errand: string | null
  /** The lines it stands in. */
  lines: string[]
  wake: ((changed: boolean) => void) | null
}

/**
 * Who came first is first. `next` goes through the line once: looking for the first from the start each time would pass
 * over all who have left, which a Set keeps for a while.
 */
type Line = { waiting: Set<Presence>; next: Iterator<Presence> }

/** Ready commands of a lane that nobody was told of, and when the newest came. May be more than there are, never fewer. */
type Untold = { text: string; lane: Lane; count: number; newestAt: number }

/** Lanes are made of what clients send, so they are not remembered without end. */
const UNTOLD_LANES_MAX = 100

/** `leave` is for a connection that is gone. */
export type Wait = { changed: Promise<boolean>; leave: () => void }

export type Wakeups = ReturnType<typeof createWakeups>

export function createWakeups() {
  const presences = new Map<string, Presence>()
  /** Who waits with a free slot for a type, or for a type and has a label; who waits longest comes first. */
  const lines = new Map<string, Line>()
  const untold = new Map<string, Untold>()
  let moments = 0
  /** There were too many untold lanes: whoever has not synced since is told once. */
  let forgottenAt = 0
  let closed = false

  const presenceOf = (agentId: string): Presence => {
    const known = presences.get(agentId)
    if (known !== undefined) return known
    const blank = { agent: null, want: {}, syncs: 0, syncedAt: 0, toldAt: 0, errand: null, lines: [], wake: null }
    presences.set(agentId, blank)
    return blank
  }

  /** Who never synced and waits no more: names that somebody makes up must not be remembered for ever. */
  const forgetStranger = (agentId: string): void => {
    const presence = presences.get(agentId)
    if (presence?.agent === null && presence.wake === null && presence.syncs === 0) presences.delete(agentId)
  }

  const canTake = ({ agent, want }: Presence, lane: Lane): boolean =>
    agent !== null && (want[lane.type] ?? 0) > 0 && mayTake(agent, lane)

  const isTold = ({ toldAt, syncedAt }: Presence): boolean => toldAt > syncedAt

  const tell = (presence: Presence): void => {
    presence.toldAt = ++moments
    presence.wake?.(true)
  }

  const sendFor = (presence: Presence, { text, lane }: { text: string; lane: Lane }): void => {
    presence.want[lane.type] = (presence.want[lane.type] ?? 0) - 1
    presence.errand = text
    tell(presence)
  }

  const leaveLines = (presence: Presence): void => {
    for (const name of presence.lines) {
      const line = lines.get(name)
      line?.waiting.delete(presence)
      if (sizeOf(line) === 0) lines.delete(name)
    }
    presence.lines = []
  }

  /** Who waits is told at once of what nobody was told of, or stands at the back of its lines. */
  const lineUp = (presence: Presence): void => {
    const { agent, want } = presence
    if (presence.wake === null || presence.syncs > 0 || agent === null) return
    const types = agent.types.filter((type) => (want[type] ?? 0) > 0)
    const news = untoldFor(presence)
    if (news !== undefined) {
      news.count -= 1
      if (news.count === 0) untold.delete(news.text)
      sendFor(presence, news)
    } else if (types.length > 0 && presence.syncedAt < forgottenAt) tell(presence)
    else {
      presence.lines = types.flatMap((type) => [type, ...agent.labels.map((label) => `${type} ${label}`)])
      for (const name of presence.lines) {
        const line = lines.get(name) ?? newLine()
        line.waiting.add(presence)
        lines.set(name, line)
      }
    }
  }

  const untoldFor = (presence: Presence): Untold | undefined => {
    for (const news of untold.values()) if (canTake(presence, news.lane)) return news
    return undefined
  }

  const firstInLine = ({ type, labels }: Lane): Presence | undefined => {
    const [name = type, ...more] = labels.map((label) => `${type} ${label}`)
    if (more.length === 0) return head(lines.get(name))
    const shortest = [name, ...more].map((each) => lines.get(each)).sort((a, b) => sizeOf(a) - sizeOf(b))[0]
    for (const presence of shortest?.waiting ?? [])
      if (labels.every((label) => presence.agent?.labels.includes(label))) return presence
    return undefined
  }

  const remember = (text: string, lane: Lane): void => {
    if (untold.size === UNTOLD_LANES_MAX) {
      untold.clear()
      forgottenAt = ++moments
    }
    untold.set(text, { text, lane, count: 1, newestAt: ++moments })
  }

  /** A command of this lane is ready. */
  const offer = (text: string): void => {
    const news = untold.get(text)
    if (news !== undefined) {
      news.count += 1
      news.newestAt = ++moments
      return
    }
    const lane = parseLane(text)
    if (lane.pinnedTo !== null) {
      const presence = presences.get(lane.pinnedTo)
      if (presence !== undefined && (presence.syncs > 0 || canTake(presence, lane))) tell(presence)
      return
    }
    const first = firstInLine(lane)
    if (first === undefined) remember(text, lane)
    else sendFor(first, { text, lane })
  }

  return {
    /** A sync of this agent begins; answers what `synced` has to be told. */
    syncing(agentId: string): number {
      const presence = presenceOf(agentId)
      presence.syncs += 1
      leaveLines(presence)
      return moments
    },

    /** The sync was refused, or failed. */
    refused(agentId: string): void {
      const presence = presenceOf(agentId)
      presence.syncs -= 1
      lineUp(presence)
      forgetStranger(agentId)
    },

    /** The agent was answered; `want` is what it can still take, and nothing of that was there. */
    synced(agent: Agent, want: Readonly<Record<string, number>>, begunAt: number): void {
      const presence = presenceOf(agent.agentId)
      presence.syncs -= 1
      Object.assign(presence, { agent, want: { ...want }, syncedAt: Math.max(presence.syncedAt, begunAt) })
      for (const [text, { lane, newestAt }] of untold)
        if (newestAt <= begunAt && canTake(presence, lane)) untold.delete(text)
      const { errand } = presence
      if (errand !== null && !isTold(presence)) {
        presence.errand = null
        // It took something else and is full: what it was woken for may still be there.
        if (!canTake(presence, parseLane(errand))) offer(errand)
      }
      lineUp(presence)
    },

    /** A commit changed these commands. */
    changed(changes: readonly Change[]): void {
      const latest = new Map(changes.map(({ command }) => [command.commandId, command]))
      for (const { command, entry } of changes) {
        const presence = entry.agentId === null ? undefined : presences.get(entry.agentId)
        if (presence === undefined) continue
        if (entry.type === 'cancelRequested') tell(presence)
        else if (entry.type === 'offered' && presence.errand !== null && presence.errand === laneOf(command))
          presence.errand = null
      }
      for (const command of latest.values()) if (isReady(command)) offer(laneOf(command))
    },

    /** Something changed that concerns every agent. */
    changedForAll(): void {
      for (const presence of presences.values()) tell(presence)
    },

    /** `changed` resolves with true as soon as something changed for the agent, with false after `waitMs`, or by `leave`. */
    wait(agentId: string, waitMs: number): Wait {
      presences.get(agentId)?.wake?.(false)
      const presence = presenceOf(agentId)
      if (isTold(presence) || closed) {
        forgetStranger(agentId)
        return { changed: Promise.resolve(isTold(presence)), leave() {} }
      }
      let leave = () => {}
      const changed = new Promise<boolean>((resolve) => {
        const done = (changed: boolean) => {
          if (presence.wake !== done) return
          clearTimeout(timer)
          presence.wake = null
          leaveLines(presence)
          forgetStranger(agentId)
          resolve(changed)
        }
        const timer = setTimeout(done, waitMs, false)
        leave = () => done(false)
        presence.wake = done
        lineUp(presence)
      })
      return { changed, leave }
    },

    /** Lets every waiting agent go; later waits answer at once. */
    close(): void {
      closed = true
      for (const presence of presences.values()) presence.wake?.(false)
    },
  }
}

const newLine = (): Line => {
  const waiting = new Set<Presence>()
  return { waiting, next: waiting.values() }
}

const sizeOf = (line: Line | undefined): number => line?.waiting.size ?? 0

/** Takes the place of the first, who has to leave the line. */
const head = (line: Line | undefined): Presence | undefined => {
  if (line === undefined) return undefined
  const first = line.next.next()
  if (!first.done) return first.value
  // An iterator that has come to the end stays there.
  line.next = line.waiting.values()
  return line.next.next().value
}
