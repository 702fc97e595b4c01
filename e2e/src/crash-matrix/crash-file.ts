/** Tells a process that runs, or is about to, where to die; to start one anew for that would cost most of a cell. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'

export function createCrashFile(file: string) {
  return {
    flags: ['--crash-at', `@${file}`],
    /** Whole or not at all: the process may look at any moment. Nowhere where the point is absent. */
    write(crashAt?: string): void {
      if (crashAt === undefined) rmSync(file, { force: true })
      else {
        writeFileSync(`${file}.new`, crashAt)
        renameSync(`${file}.new`, file)
      }
    },
  }
}
