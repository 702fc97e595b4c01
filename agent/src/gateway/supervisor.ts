/**
 * The gateway as a child of the agent: started, and started again when it ends. It ends with its standard input, which
 * ends with this process however that dies; so none outlives its agent, and the next life starts its own.
 */
import { type ChildProcess, spawn } from 'node:child_process'

export type Supervisor = ReturnType<typeof superviseGateway>

const AGAIN_MS_MIN = 200
const AGAIN_MS_MAX = 30_000
/** One that lived for so long has not failed to start. */
const LIVED_MS = 10_000
/** For what is under way to be booked. */
const CLOSE_MS = 5000

export function superviseGateway(options: {
  script: string
  args: readonly string[]
  /** All that it gets: the keys among it, and nothing of this agent. */
  env: Readonly<Record<string, string>>
  warn: (facts: object, message: string) => void
}) {
  let child: ChildProcess | null = null
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  let ended: () => void = () => {}

  const begin = (): void => {
    const begunMs = performance.now()
    child = spawn(process.execPath, [options.script, ...options.args], {
      env: options.env,
      // Its log is the agent's.
      stdio: ['pipe', 'inherit', 'inherit'],
    })
    child.stdin?.on('error', () => {})
    let isOver = false
    const over = (why: object): void => {
      if (isOver) return
      isOver = true
      child = null
      ended()
      if (stopped) return
      failures = performance.now() - begunMs > LIVED_MS ? 0 : failures + 1
      const againMs = Math.min(AGAIN_MS_MAX, AGAIN_MS_MIN * 2 ** Math.max(0, failures - 1))
      options.warn({ ...why, againMs }, 'the gateway has ended, it is started again')
      timer = setTimeout(begin, againMs)
    }
    child.once('error', (error) => over({ err: error }))
    child.once('exit', (code, signal) => over({ code, signal }))
  }
  begin()

  return {
    /** Of the child that runs now; null between two. */
    pid: (): number | null => child?.pid ?? null,

    /** It books what is under way, and ends. */
    async stop(): Promise<void> {
      stopped = true
      clearTimeout(timer)
      const last = child
      if (last === null) return
      const gone = new Promise<void>((resolve) => {
        ended = resolve
      })
      last.stdin?.end()
      const killing = setTimeout(() => last.kill('SIGKILL'), CLOSE_MS)
      await gone
      clearTimeout(killing)
    },
  }
}
