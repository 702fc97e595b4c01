/**
 * Asks the template process, one question at a time, each with a limit on time, memory and what it makes. The event loop
 * never waits for it. A process and not a thread: one large allocation that passes the limit of a thread aborts the
 * process around it (`{{ range(100000000) }}` is enough).
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export type Question = { timeMs: number } & (
  | { ask: 'names'; texts: readonly string[] }
  | { ask: 'matches'; checks: readonly { pattern: string; text: string }[] }
  | { ask: 'render'; texts: readonly string[]; values: Readonly<Record<string, unknown>>; charactersMax: number }
)
export type Answer = { ok: true; value: unknown } | { ok: false; limit: boolean; message: string }

/** Why there is none: what it was asked failed by itself, passed a limit, or too many wait. */
export type RenderFailure = { ok: false; code: 'TEMPLATE_FAILED' | 'TEMPLATE_LIMIT' | 'OVERLOADED'; message: string }
export type Rendered<Value> = { ok: true; value: Value } | RenderFailure

export type Renderer = {
  /** For each text the variables that it names. */
  names(texts: readonly string[]): Promise<Rendered<string[][]>>
  /** For each check whether the pattern matches the whole text. */
  matches(checks: readonly { pattern: string; text: string }[]): Promise<Rendered<boolean[]>>
  /** Each text rendered with the values. */
  render(texts: readonly string[], values: Readonly<Record<string, unknown>>): Promise<Rendered<string[]>>
  close(): Promise<void>
}

type Waiting = { question: Question; answer: (answer: Rendered<unknown>) => void }

const PROGRAM = fileURLToPath(new URL('./template-process.js', import.meta.url))
/** A machine that needs longer to start a process has other troubles. */
const START_MS_MAX = 20_000
/** After its own limit on time, which does not reach into every built-in function. */
const GRACE_MS = 1000
const WAITING_MAX = 32
/** A process that nobody needs holds memory for nothing. */
const IDLE_MS = 30_000

export function createRenderer({
  timeMs = 1000,
  charactersMax = 262_144,
  heapMb = 64,
  idleMs = IDLE_MS,
}: {
  timeMs?: number
  charactersMax?: number
  heapMb?: number
  idleMs?: number
} = {}): Renderer {
  const waiting: Waiting[] = []
  let child: ChildProcess | undefined
  let isReady = false
  let current: Waiting | undefined
  let timer: NodeJS.Timeout | undefined
  let isClosed = false

  const failure = (code: RenderFailure['code'], message: string): RenderFailure => ({ ok: false, code, message })

  const startTimer = (ms: number, over: () => void): void => {
    clearTimeout(timer)
    timer = setTimeout(over, ms)
    timer.unref()
  }

  /** The process is given up; who asked it is told why. */
  const giveUp = (why: string): void => {
    const asked = current
    const gone = child
    clearTimeout(timer)
    current = undefined
    child = undefined
    isReady = false
    gone?.kill('SIGKILL')
    asked?.answer(failure('TEMPLATE_LIMIT', why))
    next()
  }

  const heard = (from: ChildProcess, message: Answer | 'ready'): void => {
    // A last word of a process that was given up.
    if (from !== child) return
    clearTimeout(timer)
    if (message === 'ready') {
      isReady = true
      if (current !== undefined) ask(from, current)
      return
    }
    const asked = current
    current = undefined
    asked?.answer(message.ok ? message : failure(message.limit ? 'TEMPLATE_LIMIT' : 'TEMPLATE_FAILED', message.message))
    next()
  }

  const start = (): ChildProcess => {
    const started = fork(PROGRAM, [], {
      env: {},
      execArgv: [`--max-old-space-size=${heapMb}`, '--max-semi-space-size=8'],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    started.on('message', (message) => heard(started, message as Answer | 'ready'))
    const ended = (): void => {
      if (started === child) giveUp('takes more memory than it may')
    }
    // What cannot be sent is told by the end of the process as well.
    started.on('error', ended)
    started.on('exit', ended)
    startTimer(START_MS_MAX, () => giveUp('did not begin in time'))
    return started
  }

  const ask = (to: ChildProcess, asked: Waiting): void => {
    // The answer may be there already, and unread because this process was busy.
    startTimer(timeMs + GRACE_MS, () =>
      setImmediate(() => {
        if (current === asked) giveUp(`takes longer than ${timeMs} ms`)
      }),
    )
    to.send(asked.question)
  }

  function next(): void {
    if (isClosed || current !== undefined) return
    current = waiting.shift()
    if (current === undefined) {
      child?.unref()
      child?.channel?.unref()
      if (child !== undefined) startTimer(idleMs, () => giveUp(''))
      return
    }
    child ??= start()
    // While somebody waits for its answer this process does not end.
    child.ref()
    child.channel?.ref()
    if (isReady) ask(child, current)
  }

  const asked = <Value>(question: Question): Promise<Rendered<Value>> =>
    new Promise((resolve) => {
      if (isClosed || waiting.length >= WAITING_MAX) {
        resolve(failure('OVERLOADED', 'Too many templates are waiting.'))
        return
      }
      waiting.push({ question, answer: resolve as (answer: Rendered<unknown>) => void })
      next()
    })
  const nothing = <Value>(): Promise<Rendered<Value[]>> => Promise.resolve({ ok: true, value: [] })

  return {
    names: (texts) => (texts.length === 0 ? nothing() : asked({ ask: 'names', timeMs, texts })),
    matches: (checks) => (checks.length === 0 ? nothing() : asked({ ask: 'matches', timeMs, checks })),
    render: (texts, values) =>
      texts.length === 0 ? nothing() : asked({ ask: 'render', timeMs, texts, values, charactersMax }),
    async close() {
      isClosed = true
      clearTimeout(timer)
      const stopping = failure('OVERLOADED', 'The server is stopping.')
      for (const { answer } of waiting.splice(0)) answer(stopping)
      current?.answer(stopping)
      const gone = child
      child = undefined
      current = undefined
      if (gone === undefined || gone.exitCode !== null || gone.signalCode !== null) return
      await new Promise((resolve) => {
        gone.once('exit', resolve)
        gone.ref()
        gone.kill('SIGKILL')
      })
    },
  }
}
