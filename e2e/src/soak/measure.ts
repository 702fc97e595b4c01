/** What the processes take of the machine, over time. */
import { existsSync, readFileSync, statSync } from 'node:fs'

export type Series = { name: string; unit: 'MB' | 'KB'; bound: number; samples: { atMs: number; value: number }[] }

/** Resident memory in megabytes; undefined where the process is gone. */
export function residentMb(pid: number): number | undefined {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kilobytes === undefined ? undefined : Math.round(Number(kilobytes) / 1024)
  } catch {
    return undefined
  }
}

export const sizeKb = (file: string): number => (existsSync(file) ? Math.round(statSync(file).size / 1024) : 0)

export const highest = ({ samples }: Series): number => Math.max(0, ...samples.map(({ value }) => value))

/** Growth a minute by least squares; 0 before there are two samples. */
export function slopeAMinute({ samples }: Series): number {
  const mean = (of: (sample: { atMs: number; value: number }) => number) =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length
  const [meanMs, meanValue] = [mean(({ atMs }) => atMs), mean(({ value }) => value)]
  const spread = samples.reduce((sum, { atMs }) => sum + (atMs - meanMs) ** 2, 0)
  if (samples.length < 2 || spread === 0) return 0
  const together = samples.reduce((sum, { atMs, value }) => sum + (atMs - meanMs) * (value - meanValue), 0)
  return Math.round((together / spread) * 60_000 * 10) / 10
}
