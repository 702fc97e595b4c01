/**
 * The pool: containers that are started and wait for a program on their standard input. What there is, Docker knows and
 * nobody else; so a life of the agent finds what an earlier one has left, and keeps it or removes it by the same plan as
 * its own. A container leaves the pool by its name: whoever renames it has it, once and for ever.
 */
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Resources } from '@agent-executor/protocol'
import { INPUT, poolOptions } from '../../docker/create-options.ts'
import type { Docker } from '../../docker/docker.ts'
import { loosenings, strayMounts } from '../../docker/policy.ts'
import { poolTar } from './input.ts'
import { type Member, planPool } from './pool-plan.ts'

export type PoolOptions = {
  docker: Docker
  agentId: string
  image: string
  resources: Resources
  maxima: Resources
  runtime: string
  size: number
  /** One that has waited for so long is replaced. */
  idleMs: number
  warn: (facts: object, message: string) => void
}

export type Pool = ReturnType<typeof createPool>

/** How often what Docker shows is held against what there should be. */
const LOOK_MS = 5000
/** After one was taken: to make a container takes processor time that the attempt needs in its first moments. */
const REFILL_MS = 200
const BACKOFF_MS_MIN = 1000
const BACKOFF_MS_MAX = 60_000
/** For the removal of what is left, at the end. */
const CLOSE_MS = 5000

export function createPool(options: PoolOptions) {
  const { docker, agentId, image, size, idleMs, warn } = options
  const { resources, maxima, runtime } = options
  const made = (name: string, configuration: string) =>
    poolOptions({ name, configuration, agentId, image, resources, runtime })
  const configuration = createHash('sha256')
    .update(JSON.stringify(made('', '')))
    .digest('hex')
    .slice(0, 16)

  let ready: Member[] = []
  /** By name: under way to the pool, or out of it. Nobody else may touch them. */
  const making = new Set<string>()
  const taking = new Set<string>()
  let failures = 0
  let notBeforeMs = 0
  let closing: Promise<void> | null = null
  let looking: Promise<void> | null = null
  let again = false
  let timer: NodeJS.Timeout | undefined

  const failed = (reason: string): void => {
    if (failures === 0) warn({ image, reason }, 'a warm container could not be kept, it is tried again')
    const pauseMs = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** failures)
    notBeforeMs = performance.now() + pauseMs
    failures += 1
    setTimeout(look, pauseMs + 1).unref()
  }

  const make = async (): Promise<void> => {
    const name = `agent-executor-pool-${randomBytes(8).toString('hex')}`
    making.add(name)
    try {
      const options = made(name, configuration)
      const loose = loosenings(options, maxima, { for: 'pool' })
      if (loose.length > 0) throw new Error(`The sandbox would be loose: ${loose}.`)
      await docker.create(options)
      const stray = strayMounts((await docker.inspect(name))?.mounts ?? [])
      if (stray.length > 0) throw new Error(`The image declares volumes, whose size nothing bounds: ${stray}.`)
      await docker.put(name, INPUT, poolTar())
      await docker.start(name)
    } catch (error) {
      failed(error instanceof Error ? error.message : String(error))
      await docker.remove(name).catch(() => {})
    } finally {
      making.delete(name)
      look()
    }
  }

  const waiting = async (): Promise<Member[]> => {
    const imageId = size === 0 ? null : await docker.imageId(image)
    if (imageId === null && size > 0 && performance.now() >= notBeforeMs)
      failed(`Docker does not have the image ${image}, and agents do not pull.`)
    return (await docker.list(agentId)).flatMap((each) =>
      each.configuration === null || each.attemptId !== null || making.has(each.name) || taking.has(each.name)
        ? []
        : [{ ...each, isCurrent: each.configuration === configuration && each.imageId === imageId }],
    )
  }

  const lookOnce = async (): Promise<void> => {
    const members = await waiting()
    const nowMs = Date.now()
    // While it was asked, one may have been taken: its name is gone, or about to be.
    const free = members.filter(({ name }) => !taking.has(name))
    const plan = planPool({ members: free, making: making.size, size: closing === null ? size : 0, idleMs, nowMs })
    ready = plan.ready
    if (plan.dead > 0 && closing === null) failed('it ended while it waited')
    else if (ready.length >= size) failures = 0
    if (performance.now() >= notBeforeMs) for (let left = plan.make; left > 0; left--) void make()
    await Promise.all(plan.remove.map(({ name }) => docker.remove(name)))
  }

  /** One at a time; asked for meanwhile, once more. While Docker is away there is nothing to see. */
  const look = (): void => {
    again = looking !== null
    if (looking !== null || closing !== null || !docker.up()) return
    looking = lookOnce()
      .catch(() => {})
      .finally(() => {
        looking = null
        if (again) look()
      })
  }

  return {
    /** From now on there are as many as there should be, as far as Docker allows. */
    open(): void {
      look()
      timer = setInterval(look, LOOK_MS)
      timer.unref()
    },

    /** Docker has changed: it is there now, or not any more. */
    look,

    /** How many can be taken, as far as is known. */
    ready: (): number => ready.length,

    /** Gives one of them this name. False where there is none to be had; somebody may have the name then. */
    async take(name: string): Promise<boolean> {
      for (;;) {
        const member = closing === null ? ready.shift() : undefined
        if (member === undefined) return false
        taking.add(member.name)
        try {
          const renamed = await docker.rename(member.name, name)
          if (renamed !== 'gone') return renamed === 'renamed'
        } finally {
          taking.delete(member.name)
          setTimeout(look, REFILL_MS).unref()
        }
      }
    },

    /** No more are made, and those that wait are removed. */
    close(): Promise<void> {
      clearInterval(timer)
      const emptied = async (): Promise<void> => {
        await looking
        while (making.size > 0) await sleep(50)
        if (docker.up()) await lookOnce()
      }
      closing ??= Promise.race([emptied().catch(() => {}), sleep(CLOSE_MS, undefined, { ref: false })])
      return closing
    },
  }
}
