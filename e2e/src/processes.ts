/** Real server and agent processes for whole-system tests: started, watched through their logs, killed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const repository = join(dirname(fileURLToPath(import.meta.url)), '../../..')

type LogLine = { level: number; msg: string; [fact: string]: unknown }

export type Process = {
  pid: number
  running: () => boolean
  /** Log lines so far. */
  lines: LogLine[]
  /** What was written to standard error. */
  errors: () => string
  /** Resolves with the first line, past or to come, that satisfies; rejects when the process ends without it. */
  logged: (satisfies: (line: LogLine) => boolean) => Promise<LogLine>
  /** Resolves when the process has ended. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  signal: (signal: NodeJS.Signals) => void
  /** kill -9; resolves when the process is gone. */
  kill: () => Promise<void>
}

/** None outlives this process, however it ends; a stopped one would stay for ever. */
const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

/**
 * `/usr/bin/env` replaces itself by node, so the pid is the process's own, and the test runner's loader stays out.
 * `under` comes between the two: NAME=VALUE, or a program that replaces itself as well.
 */
export function start(
  script: string,
  flags: readonly string[],
  env: Record<string, string> = {},
  under: readonly string[] = [],
): Process {
  const child: ChildProcess = spawn(
    '/usr/bin/env',
    ['-u', 'NODE_OPTIONS', ...under, process.execPath, join(repository, script), ...flags],
    { env: { PATH: process.env.PATH ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' },
  )
  children.add(child)
  child.once('exit', () => children.delete(child))
  const lines: LogLine[] = []
  const listeners = new Set<() => void>()
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (text) => {
    try {
      lines.push(JSON.parse(text) as LogLine)
    } catch {
      lines.push({ level: 0, msg: text })
    }
    for (const listener of listeners) listener()
  })
  // Not `exit`: the last lines may still be on their way then.
  const ended = once(child, 'close').then(([code, signal]) => {
    for (const listener of listeners) listener()
    return { code: code as number | null, signal: signal as NodeJS.Signals | null }
  })
  const gone = () => child.exitCode !== null || child.signalCode !== null
  return {
    pid: child.pid as number,
    running: () => !gone(),
    lines,
    errors: () => stderr,
    ended,
    logged: (satisfies) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const line = lines.find(satisfies)
          if (line !== undefined) resolve(line)
          else if (gone())
            reject(new Error(`${script} ended (${child.exitCode ?? child.signalCode}): ${stderr || lines.at(-1)?.msg}`))
          else return
          listeners.delete(look)
        }
        listeners.add(look)
        look()
      }),
    signal: (signal) => void child.kill(signal),
    kill: async () => {
      if (!gone()) child.kill('SIGKILL')
      await ended
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

/** A server that is listening. `SWEEP_MS` is short, so that leases end when they end. */
export async function startServer(
  dataDir: string,
  port: number,
  flags: readonly string[] = [],
  under: readonly string[] = [],
): Promise<Process> {
  const own = ['--data-dir', dataDir, '--port', String(port), '--sweep-ms', '50']
  const server = start('control-server/dist/src/server.js', [...own, ...flags], {}, under)
  await server.logged((line) => line.msg === 'listening')
  return server
}

/** One that takes no RUN_AGENT, and does not look at Docker: its client is a third of what a start costs. */
export const startAgent = (
  dataDir: string,
  port: number,
  flags: readonly string[] = [],
  under: readonly string[] = [],
): Process => startDockerAgent(dataDir, port, ['--max-concurrent-agents', '0', ...flags], under)

export const startDockerAgent = (
  dataDir: string,
  port: number,
  flags: readonly string[] = [],
  under: readonly string[] = [],
): Process => {
  const own = ['--data-dir', dataDir, '--server-url', `http://127.0.0.1:${port}`, '--poll-interval', '100']
  return start('agent/dist/src/main.js', [...own, ...flags], {}, under)
}

/** Options of a test that needs something of the machine: skipped, and why, where it is missing; never in CI. */
export const needs = (what: string, isThere: boolean): { skip: string | false } => ({
  skip: isThere || process.env.CI === 'true' ? false : `needs ${what}`,
})
