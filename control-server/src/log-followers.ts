/** Who follows the log of which command. A hint, as `wakeups.ts`: whoever is woken reads what there is. */
export type LogFollower = {
  /** Resolves with true when there may be news since the last time, with false after `ms`. */
  heard: (ms: number) => Promise<boolean>
  leave: () => void
  /** It has left, or everybody was sent away. */
  hasLeft: () => boolean
}

export type LogFollowers = ReturnType<typeof createLogFollowers>

export function createLogFollowers(followersMax: number) {
  const rings = new Map<string, Set<() => void>>()
  const leavings = new Set<() => void>()
  let closed = false

  return {
    /** Null where there are as many as may be. */
    follow(commandId: string): LogFollower | null {
      if (leavings.size >= followersMax) return null
      let rung = closed
      let left = closed
      let wake: (() => void) | null = null
      const ring = (): void => {
        rung = true
        wake?.()
      }
      const leave = (): void => {
        if (left) return
        left = true
        leavings.delete(leave)
        const others = rings.get(commandId)
        others?.delete(ring)
        if (others?.size === 0) rings.delete(commandId)
        wake?.()
      }
      if (!closed) {
        leavings.add(leave)
        rings.set(commandId, (rings.get(commandId) ?? new Set()).add(ring))
      }
      return {
        async heard(ms) {
          if (!rung && !left)
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, ms)
              wake = () => {
                clearTimeout(timer)
                resolve()
              }
            })
          wake = null
          const isNews = rung
          rung = false
          return isNews
        },
        leave,
        hasLeft: () => left,
      }
    },

    changed(commandId: string): void {
      for (const ring of rings.get(commandId) ?? []) ring()
    },

    /** Sends everybody away; later ones leave at once. */
    close(): void {
      closed = true
      for (const leave of [...leavings]) leave()
    },
  }
}
