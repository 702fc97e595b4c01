/**
 * Asks the template thread, one question at a time, each with a limit on time, memory and what it makes. A question that
 * passes a limit costs the thread its life, and the next question gets a new one; the event loop never waits for either.
 */
import { Worker } from 'node:worker_threads'

export type ThreadQuestion =
  | { ask: 'names'; texts: readonly string[] }
  | { ask: 'matches'; checks: readonly { pattern: string; text: string }[] }
  | { ask: 'render'; texts: readonly string[]; values: string; charactersMax: number }
export type ThreadAnswer = { ok: true; value: unknown } | { ok: false; limit: boolean; message: string }

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

type Waiting = { question: ThreadQuestion; answer: (answer: Rendered<unknown>) => void }

/** A machine that needs longer to start a thread has other troubles. */
const START_MS_MAX = 20_000
const WAITING_MAX = 32
/** A thread that nobody needs holds memory for nothing. */
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
  let thread: Worker | undefined
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

  /** The thread is given up; who asked it is told why. */
  const giveUp = (why: string): void => {
    const asked = current
    const gone = thread
    clearTimeout(timer)
    current = undefined
    thread = undefined
    isReady = false
    void gone?.terminate()
    asked?.answer(failure('TEMPLATE_LIMIT', why))
    next()
  }

  const heard = (from: Worker, message: ThreadAnswer | 'ready'): void => {
    // A last word of a thread that was given up.
    if (from !== thread) return
    clearTimeout(timer)
    if (message === 'ready') {
      isReady = true
      if (current !== undefined) ask(from, current)
      return
    }
    const asked = current
    current = undefined
    if (asked !== undefined)
      asked.answer(
        message.ok ? message : failure(message.limit ? 'TEMPLATE_LIMIT' : 'TEMPLATE_FAILED', message.message),
      )
    next()
  }

  const start = (): Worker => {
    const started = new Worker(new URL('./template-thread.js', import.meta.url), {
      execArgv: [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: 16 },
    })
    started.on('message', (message: ThreadAnswer | 'ready') => heard(started, message))
    started.on('error', (error) => {
      if (started === thread)
        giveUp(isOutOfMemory(error) ? 'takes more memory than it may' : 'ended the thread it ran in')
    })
    started.on('exit', () => {
      if (started === thread) giveUp('ended the thread it ran in')
    })
    startTimer(START_MS_MAX, () => giveUp('did not begin in time'))
    return started
  }

  const ask = (to: Worker, asked: Waiting): void => {
    // The answer may be there already, and unread because this thread was busy.
    startTimer(timeMs, () =>
      setImmediate(() => {
        if (current === asked) giveUp(`takes longer than ${timeMs} ms`)
      }),
    )
    to.postMessage(asked.question)
  }

  function next(): void {
    if (isClosed || current !== undefined) return
    current = waiting.shift()
    if (current === undefined) {
      thread?.unref()
      if (thread !== undefined) startTimer(idleMs, () => giveUp(''))
      return
    }
    thread ??= start()
    // While somebody waits for its answer the process does not end.
    thread.ref()
    if (isReady) ask(thread, current)
  }

  const asked = <Value>(question: ThreadQuestion): Promise<Rendered<Value>> =>
    new Promise((resolve) => {
      if (isClosed || waiting.length >= WAITING_MAX) {
        resolve(failure('OVERLOADED', 'Too many templates are waiting.'))
        return
      }
      waiting.push({ question, answer: resolve as (answer: Rendered<unknown>) => void })
      next()
    })

  return {
    names: (texts) => (texts.length === 0 ? Promise.resolve({ ok: true, value: [] }) : asked({ ask: 'names', texts })),
    matches: (checks) =>
      checks.length === 0 ? Promise.resolve({ ok: true, value: [] }) : asked({ ask: 'matches', checks }),
    render: (texts, values) =>
      texts.length === 0
        ? Promise.resolve({ ok: true, value: [] })
        : asked({ ask: 'render', texts, values: JSON.stringify(values), charactersMax }),
    async close() {
      isClosed = true
      clearTimeout(timer)
      for (const { answer } of waiting.splice(0)) answer(failure('OVERLOADED', 'The server is stopping.'))
      current?.answer(failure('OVERLOADED', 'The server is stopping.'))
      const gone = thread
      thread = undefined
      await gone?.terminate()
    },
  }
}

const isOutOfMemory = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY'
