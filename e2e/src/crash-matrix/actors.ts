/** Who works on a cell's command: an agent process, or a client of the simple API. Both can die and come back. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Exchange, FaultyProxy } from '../faulty-proxy.ts'
import { type Process, startAgent, startDockerAgent } from '../processes.ts'
import type { Cell } from './cells.ts'
import { createCrashFile } from './crash-file.ts'

/** An attempt on one agent, from the start of its effect to its end, or to the end of the agent. */
export type Run = { agentId: string; attempt: number; fromMs: number; toMs: number }

export type Actor = {
  start: () => void
  /** Where it is to kill itself, in this life or the next; only an agent can. */
  crashAt: (point: string) => void
  /** Resolves with the time when it has. */
  crashed: () => Promise<number>
  /** Resolves when also what it had sent has been answered, so that nothing of it comes later. */
  kill: () => Promise<void>
  alive: () => boolean
  /** Lets it do nothing until it is resumed, and ends its connections. */
  pause: () => Promise<void>
  resume: () => void
  /** Resolves when it has begun with the command. */
  begun: (commandId: string) => Promise<void>
  runs: (commandId: string) => Run[]
  /** What it said last, for people. */
  lines: () => string[]
}

/** Long enough that a sync at `POLL_MS` is not the one that reports, short enough to be waited for. */
const POLL_MS = 700
const LOOK_MS = 10
const SETTLE_MS = 60_000
const CALL_MS = 10_000

export function createAgentActor(dataDir: string, agentId: string, proxy: FaultyProxy, hasDocker: boolean): Actor {
  const lives: { process: Process; endedMs: number }[] = []
  const crashFile = createCrashFile(`${dataDir}-crash-at`)
  const newest = (): Process | undefined => lives.at(-1)?.process
  return {
    start() {
      const flags = ['--agent-id', agentId, '--poll-interval', String(POLL_MS), ...crashFile.flags]
      const process = (hasDocker ? startDockerAgent : startAgent)(dataDir, proxy.port, flags)
      const life = { process, endedMs: Number.POSITIVE_INFINITY }
      lives.push(life)
      void process.ended.then(() => {
        life.endedMs = Date.now()
      })
    },
    crashAt: crashFile.tell,
    crashed: () => crashFile.died(newest()),
    async kill() {
      await newest()?.kill()
      await proxy.quiet()
    },
    alive: () => newest()?.running() ?? false,
    async pause() {
      newest()?.signal('SIGSTOP')
      await proxy.quiet()
      proxy.disconnect()
    },
    resume: () => newest()?.signal('SIGCONT'),
    begun: async (commandId) =>
      void (await newest()?.logged((line) => line.msg === 'started' && line.commandId === commandId)),
    runs: (commandId) =>
      lives.flatMap(({ process, endedMs }) => {
        const runs: Run[] = []
        for (const line of process.lines) {
          const atMs = Date.parse(String(line.time))
          const ofCommand = line.commandId === commandId || String(line.attemptId).startsWith(`${commandId}.`)
          const open = runs.findLast(({ toMs }) => toMs === endedMs)
          if (ofCommand && line.msg === 'started')
            runs.push({ agentId, attempt: Number(line.attempt), fromMs: atMs, toMs: endedMs })
          else if (ofCommand && (line.msg === 'finished' || line.msg === 'dropped') && open !== undefined)
            open.toMs = atMs
        }
        return runs
      }),
    lines: () => lives.flatMap(({ process }) => process.lines.map((line) => JSON.stringify(line))),
  }
}

type Handed = {
  commandId: string
  type: string
  payload: { ms: number; url: string }
  takeover: string
  timeoutMs: number
  attempt: number
}

/**
 * A client as the original simple API expects it: polls, works, reports until it is answered, and forgets everything when
 * it dies. It knows its time: what may be taken over it does not begin when the answer took as long as the attempt may.
 */
export function createSimpleActor(agentId: string, proxy: FaultyProxy): Actor {
  const base = `http://127.0.0.1:${proxy.port}`
  const runs: (Run & { commandId: string })[] = []
  const lines: string[] = []
  let life = new AbortController()
  let lastCall: Promise<unknown> = Promise.resolve()

  /** Not cut off when the client dies: bytes that are on their way may still reach the server. */
  const exchange = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(base + path, {
      method,
      signal: AbortSignal.timeout(CALL_MS),
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    })
    const text = await response.text()
    lines.push(`${method} ${path} ${response.status} ${text}`)
    return { status: response.status, body: text === '' ? null : (JSON.parse(text) as Record<string, unknown>) }
  }
  const call = (...request: Parameters<typeof exchange>): ReturnType<typeof exchange> => {
    const answer = exchange(...request)
    lastCall = answer.catch(() => {})
    return answer
  }
  /** Until an answer can be believed; what comes of an error in between is another question. */
  const patiently = async <Answer>(signal: AbortSignal, ask: () => Promise<Answer | undefined>): Promise<Answer> => {
    for (;;) {
      const answer = await ask().catch(() => undefined)
      signal.throwIfAborted()
      if (answer !== undefined) return answer
      await sleep(100, undefined, { signal })
    }
  }
  const work = async (signal: AbortSignal, command: Handed): Promise<unknown> => {
    const run = {
      commandId: command.commandId,
      agentId,
      attempt: command.attempt,
      fromMs: Date.now(),
      toMs: Number.POSITIVE_INFINITY,
    }
    runs.push(run)
    try {
      if (command.type === 'DELAY') {
        await sleep(command.payload.ms, undefined, { signal })
        return { ok: true, tookMs: command.payload.ms }
      }
      const headers = { 'idempotency-key': command.commandId, 'x-attempt': String(command.attempt) }
      return { body: await (await fetch(command.payload.url, { headers, signal })).json() }
    } finally {
      run.toMs = Date.now()
    }
  }
  const live = async (signal: AbortSignal): Promise<void> => {
    for (;;) {
      let sentMs = 0
      const command = await patiently(signal, async () => {
        sentMs = Date.now()
        const { status, body } = await call('GET', `/commands/next?agentId=${agentId}`)
        return status === 200 && body !== null ? (body as Handed) : undefined
      })
      if (command.takeover === 'auto' && Date.now() - sentMs >= command.timeoutMs) continue
      const result = await work(signal, command)
      await patiently(signal, async () => {
        const { body } = await call('PUT', `/commands/${command.commandId}/result`, { agentId, result })
        return body?.success === true || typeof body?.code === 'string' ? true : undefined
      })
    }
  }
  const actor: Actor = {
    start() {
      life = new AbortController()
      void live(life.signal).catch((error: unknown) => lines.push(String(error)))
    },
    crashAt: () => {},
    crashed: () => Promise.reject(new Error('a simple client has no crash points')),
    async kill() {
      life.abort()
      await lastCall
      await proxy.quiet()
    },
    alive: () => !life.signal.aborted,
    pause: () => actor.kill(),
    resume: () => actor.start(),
    async begun(commandId) {
      while (!runs.some((run) => run.commandId === commandId)) await sleep(LOOK_MS, undefined, { signal: life.signal })
    },
    runs: (commandId) => runs.filter((run) => run.commandId === commandId),
    lines: () => lines,
  }
  return actor
}

/**
 * Resolves when whoever lives has nothing left to report, as it says in a message sent after `sinceMs`: an agent that it
 * holds nothing, a simple client that it asks for more.
 */
export function hasNothingLeft(proxy: FaultyProxy, client: Cell['client'], sinceMs: number): Promise<void> {
  const saysSo = ({ message, request, status }: Exchange): boolean =>
    client === 'agent'
      ? message === 'sync' && status === 200 && request.includes('"held":[]')
      : message === 'next' && status === 204
  return proxy.until((log) => log.some((exchange) => exchange.atMs >= sinceMs && saysSo(exchange)), SETTLE_MS)
}
