/** Processes that the benchmark starts: watched, ended by their own handle, and none outlives it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const START_MS_MAX = 30_000
const STOP_MS_MAX = 15_000
/** The last of what a process said, for the error message. */
const OUTPUT_CHARS_MAX = 4_000

export type StartOptions = {
  env?: Record<string, string>
  cwd?: string
  /** PostgreSQL refuses to run as root. */
  uid?: number
  gid?: number
  /** With a channel for messages. */
  ipc?: boolean
}

export type Started = {
  pid: number
  child: ChildProcess
  /** Rejects, with the last of its output, when the process ends before it is told to. */
  failed: Promise<never>
  stop: (signal?: NodeJS.Signals) => Promise<void>
}

const running = new Set<ChildProcess>()
export const endAll = (): void => {
  for (const child of running) child.kill('SIGKILL')
}
process.once('exit', endAll)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

export function startProcess(program: string, flags: readonly string[], options: StartOptions = {}): Started {
  const child = spawn(program, flags, {
    env: { PATH: process.env.PATH ?? '', ...options.env },
    cwd: options.cwd ?? '/',
    stdio: ['ignore', 'pipe', 'pipe', ...(options.ipc ? ['ipc' as const] : [])],
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  running.add(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_CHARS_MAX)
    })
  let told = false
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve())
    child.once('close', () => resolve())
  }).then(() => void running.delete(child))
  const failed = new Promise<never>((_, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (!told)
        reject(new Error(`${basename(program)} ${basename(flags[0] ?? '')} ended (${code ?? signal}): ${output}`))
    })
  })
  // Whoever waits for the process sees it; nobody has to.
  failed.catch(() => {})
  return {
    pid: child.pid ?? 0,
    child,
    failed,
    stop: async (signal = 'SIGTERM') => {
      told = true
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill(signal)
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
      await ended
      clearTimeout(late)
    },
  }
}

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

/** Resolves when something listens; rejects when the process that should ended, or took too long. */
export async function listening({ failed }: Started, port: number): Promise<void> {
  const untilMs = performance.now() + START_MS_MAX
  const opened = async () => {
    while (!(await isOpen(port))) {
      if (performance.now() > untilMs) throw new Error(`nothing listens on port ${port} after ${START_MS_MAX} ms`)
      await sleep(20)
    }
  }
  await Promise.race([opened(), failed])
}
