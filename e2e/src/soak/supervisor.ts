/** Keeps a process running while somebody kills and suspends it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Process } from '../processes.ts'
import type { Random } from '../random.ts'

/** The pauses are short enough that a few seconds see some of each, and longer than the lease now and then. */
const CALM_MS = [1000, 10_000] as const
const DOWN_MS = [0, 1000] as const
const SUSPENDED_MS = [100, 6000] as const

export function supervise(name: string, random: Random, launch: () => Process) {
  const counts = { kills: 0, suspensions: 0, deaths: [] as string[] }
  const calm = new AbortController()
  const pause = ([min, max]: readonly [number, number]) =>
    sleep(random.between(min, max), undefined, { signal: calm.signal }).catch(() => {})
  let current = launch()

  /** Whoever dies by himself is started again as well, but should not have. */
  const survived = async (life: Process): Promise<void> => {
    const { code, signal } = await life.ended
    if (signal !== 'SIGKILL') counts.deaths.push(`${name} ended by itself (${code ?? signal}): ${life.errors()}`)
  }

  const torment = async (): Promise<void> => {
    let watched = survived(current)
    while (!calm.signal.aborted) {
      await Promise.race([pause(CALM_MS), watched])
      if (calm.signal.aborted) return
      if (random.chance(0.4)) {
        counts.suspensions += 1
        current.signal('SIGSTOP')
        await pause(SUSPENDED_MS)
        current.signal('SIGCONT')
      } else {
        counts.kills += 1
        await current.kill()
        await watched
        await pause(DOWN_MS)
        current = launch()
        watched = survived(current)
      }
    }
  }
  const tormented = torment()

  return {
    name,
    counts,
    current: (): Process => current,
    /** No more faults: resolves when the process runs and is left alone. */
    async leave(): Promise<void> {
      calm.abort()
      await tormented
    },
    async kill(): Promise<void> {
      calm.abort()
      await tormented
      await current.kill()
    },
  }
}
