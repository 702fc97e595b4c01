/** Where the server has the conversation of a command: a file among those that its attempt has left. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CommandArtifacts } from '@agent-executor/protocol'
import { backoffMs } from '../decide/backoff.ts'

type Found = { type: 'found'; sha256: string } | { type: 'none' }

export function createConversations(options: {
  /** Rejects where nothing is known; with a `code` of the server's where it refuses. */
  artifacts: (commandId: string, signal: AbortSignal) => Promise<CommandArtifacts>
  /** The name of the file. */
  name: string
  random: () => number
  /** How long the server may be silent, or the file on its way. */
  patienceMs: number
}) {
  return {
    async find(commandId: string, signal: AbortSignal): Promise<Found> {
      const giveUpAtMs = performance.now() + options.patienceMs
      for (let failures = 0; !signal.aborted; failures++) {
        try {
          const { artifacts } = await options.artifacts(commandId, signal)
          const file = artifacts.find(({ name }) => name === options.name)
          if (file === undefined || file.state === 'lost') return { type: 'none' }
          if (file.state === 'stored') return { type: 'found', sha256: file.sha256 }
        } catch (error) {
          if ((error as { code?: string }).code === 'COMMAND_NOT_FOUND') return { type: 'none' }
        }
        if (performance.now() > giveUpAtMs) return { type: 'none' }
        await sleep(backoffMs(failures, options.random()), undefined, { signal }).catch(() => {})
      }
      return { type: 'none' }
    },
  }
}
