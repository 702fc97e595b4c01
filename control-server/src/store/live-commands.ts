/**
 * The commands that agents have (OFFERED, RUNNING, LOST), as they are in the database: an agent's call looks at all of
 * its own, and nobody else writes the file. To be forgotten whenever a write is undone; `read` then tells them anew.
 */
import { type Command, newestAttempt, type Phase, phaseOf } from '../lifecycle/command.ts'

const LIVE: ReadonlySet<Phase> = new Set(['OFFERED', 'RUNNING', 'LOST'])

export function createLiveCommands(read: () => Command[]) {
  let live: { commands: Map<string, Command>; byAgent: Map<string, Set<string>> } | null = null

  const known = (): NonNullable<typeof live> => {
    if (live === null) {
      live = { commands: new Map(), byAgent: new Map() }
      for (const command of read()) add(live, command)
    }
    return live
  }

  return {
    get: (commandId: string): Command | undefined => known().commands.get(commandId),

    /** In the order of their ids. */
    of: (agentId: string): Command[] => {
      const { commands, byAgent } = known()
      return [...(byAgent.get(agentId) ?? [])].sort().map((commandId) => commands.get(commandId) as Command)
    },

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

  function add({ commands, byAgent }: NonNullable<typeof live>, command: Command): void {
    const agentId = agentOf(command)
    commands.set(command.commandId, command)
    const ids = byAgent.get(agentId)
    if (ids === undefined) byAgent.set(agentId, new Set([command.commandId]))
    else ids.add(command.commandId)
  }

  function remove({ commands, byAgent }: NonNullable<typeof live>, commandId: string): void {
    const before = commands.get(commandId)
    if (before === undefined) return
    const agentId = agentOf(before)
    commands.delete(commandId)
    const ids = byAgent.get(agentId)
    ids?.delete(commandId)
    if (ids?.size === 0) byAgent.delete(agentId)
  }
}

const agentOf = (command: Command): string => newestAttempt(command)?.agentId as string
