/** What the run stood on. */
import { spawnSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import type { Machine } from './figures/results.ts'

const fileSystemOf = (folder: string): string =>
  spawnSync('df', ['--output=fstype', folder], { encoding: 'utf8' }).stdout?.trim().split('\n').at(-1) ?? 'unknown'

export const machineOf = (folder: string): Machine => ({
  processors: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`,
  memoryGb: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
  fileSystem: fileSystemOf(folder),
})
