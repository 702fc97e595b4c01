/**
 * Tells a process where to kill itself: when it is about to be started, and while it runs, because to start it anew for
 * that would cost most of a cell.
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Process } from '../processes.ts'

export function createCrashFile(file: string) {
  let told = ''
  const forget = (): void => rmSync(file, { force: true })
  return {
    flags: ['--crash-at', `@${file}`],
    forget,
    /** `point` is `name:n`. Written whole or not at all: the process may look at any moment. */
    tell(point: string): void {
      told = point
      writeFileSync(`${file}.new`, point)
      renameSync(`${file}.new`, file)
    },
    /** Resolves with the time when the process has killed itself there; rejects where it ended otherwise. */
    async died(process: Process | undefined): Promise<number> {
      await process?.ended
      forget()
      const line = process?.lines.find(({ crashPoint }) => crashPoint !== undefined)
      if (`${line?.crashPoint}:${line?.hit}` !== told)
        throw new Error(`nobody died at ${told}: ${process?.errors() ?? 'not started'}`)
      return Date.now()
    },
  }
}
