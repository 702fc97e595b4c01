/**
 * The commands that agents have (OFFERED, RUNNING, LOST), as they are in the database: an agent's call looks at all of
 * its own, and nobody else writes the file. To be forgotten whenever a write is undone; they are then read anew.
 */
import { type Command, newestAttempt, type Phase, phaseOf } from '../lifecycle/command.ts'

const LIVE: ReadonlySet<Phase> = new Set(['OFFERED', 'RUNNING', 'LOST'])

/** `command` is null where it is too large to be kept. */
type Entry = { agentId: string; command: Command | null }

export function createLiveCommands(options: {
  readAll: () => Command[]
  readOne: (commandId: string) => Command
  isSmall: (command: Command) => boolean
}) {
  let live: { entries: Map<string, Entry>; byAgent: Map<string, Set<string>> } | null = null

  const known = (): NonNullable<typeof live> => {
    if (live === null) {
      live = { entries: new Map(), byAgent: new Map() }
      for (const command of options.readAll()) add(live, command)
    }
    return live
  }

  const get = (commandId: string): Command | undefined => {
    const entry = known().entries.get(commandId)
    return entry && (entry.command ?? options.readOne(commandId))
  }

  return {
    get,

    /** In the order of their ids. */
    of: (agentId: string): Command[] =>
      [...(known().byAgent.get(agentId) ?? [])].sort().map((commandId) => get(commandId) as Command),

    /** As it was written just now. */
    put(command: Command): void {
      if (live === null) return
      remove(live, command.commandId)
      if (LIVE.has(phaseOf(command))) add(live, command)
    },

    forget(): void {
      live = null
    },
  }

  function add({ entries, byAgent }: NonNullable<typeof live>, command: Command): void {
    const agentId = newestAttempt(command)?.agentId as string
    entries.set(command.commandId, { agentId, command: options.isSmall(command) ? command : null })
    const ids = byAgent.get(agentId)
    if (ids === undefined) byAgent.set(agentId, new Set([command.commandId]))
    else ids.add(command.commandId)
  }

  function remove({ entries, byAgent }: NonNullable<typeof live>, commandId: string): void {
    const before = entries.get(commandId)
    if (before === undefined) return
    entries.delete(commandId)
    const ids = byAgent.get(before.agentId)
    ids?.delete(commandId)
    if (ids?.size === 0) byAgent.delete(before.agentId)
  }
}
