/** A bell: `ring` ends the current `heard`, or the next one where nobody is listening. */
export function createTrigger() {
  let rung = false
  let listener: (() => void) | null = null
  return {
    ring(): void {
      rung = true
      listener?.()
    },
    /** Resolves when rung, after `ms` at the latest. */
    async heard(ms: number): Promise<void> {
      if (!rung)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms)
          listener = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      listener = null
      rung = false
    },
  }
}
