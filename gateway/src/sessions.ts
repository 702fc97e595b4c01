/**
 * One folder and socket for each attempt that is let in. The folder goes into the sandbox, so it stays the same one while
 * the attempt lasts, whatever of the two processes dies meanwhile; the socket in it is made anew.
 */
import { createHash } from 'node:crypto'
import { chmodSync, closeSync, constants, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { UNITS } from './allowance.ts'
import type { EgressHost } from './egress.ts'
import type { Gateway, Session } from './gateway.ts'
import type { Ledger, Limit, Scope } from './ledger.ts'

export type SessionSpec = {
  attemptId: string
  agentId: string
  commandId: string
  profile: string | null
  limits: AmountLimits
  /** Of all runs of the profile together. */
  profileLimits: AmountLimits
  /** Models that may be asked for; empty: all. */
  models: readonly string[]
  egress: readonly EgressHost[]
}
export type AmountLimits = Partial<Record<(typeof UNITS)[number], number>>

export const SOCKET_NAME = 'gateway.sock'

type Open = { session: Session; folderFd: number }

export function createSessions({
  dir,
  gateway,
  ledger,
  nowMs,
}: {
  /** Absolute. */
  dir: string
  gateway: Gateway
  ledger: Ledger
  nowMs: () => number
}) {
  const open = new Map<string, Open>()
  const turns = new Map<string, Promise<unknown>>()
  mkdirSync(dir, { recursive: true })
  // Whoever gets to a socket in it may use it.
  chmodSync(dir, 0o700)
  const folderOf = (attemptId: string) => join(dir, createHash('sha256').update(attemptId).digest('hex').slice(0, 16))

  /** One after the other for each attempt. */
  const inTurn = <Result>(attemptId: string, body: () => Promise<Result>): Promise<Result> => {
    const before = turns.get(attemptId) ?? Promise.resolve()
    const turn = before.then(body, body)
    turns.set(attemptId, turn)
    const done = () => {
      if (turns.get(attemptId) === turn) turns.delete(attemptId)
    }
    turn.then(done, done)
    return turn
  }

  const listen = async (folder: string, options: Omit<Parameters<Gateway['open']>[0], 'socketPath'>): Promise<Open> => {
    mkdirSync(folder, { recursive: true })
    // Whatever the umask says: the sandbox is another user, and the folder above keeps everybody else out.
    chmodSync(folder, 0o755)
    rmSync(join(folder, SOCKET_NAME), { force: true })
    const folderFd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      // A path of a socket is cut after 107 bytes; this one is short, wherever the folder is.
      const socketPath =
        process.platform === 'linux' ? `/proc/self/fd/${folderFd}/${SOCKET_NAME}` : join(folder, SOCKET_NAME)
      return { session: await gateway.open({ ...options, socketPath }), folderFd }
    } catch (error) {
      closeSync(folderFd)
      throw error
    }
  }

  const shut = async (attemptId: string): Promise<void> => {
    const opened = open.get(attemptId)
    if (opened === undefined) return
    open.delete(attemptId)
    await opened.session.close()
    closeSync(opened.folderFd)
  }

  return {
    /** The same folder for every call with this attempt; what the attempt may do is as the last call says. */
    open: (spec: SessionSpec): Promise<{ directory: string }> =>
      inTurn(spec.attemptId, async () => {
        const { attemptId, agentId, commandId, profile, models, egress } = spec
        const directory = folderOf(attemptId)
        const options = { scopes: scopesOf(spec), limits: limitsOf(spec), models, egress }
        ledger.openSession({ attemptId, agentId, commandId, profile }, nowMs())
        const opened = open.get(attemptId)
        if (opened !== undefined) opened.session.change(options)
        else open.set(attemptId, await listen(directory, { attemptId, ...options }))
        return { directory }
      }),

    /** Breaks off what is under way, and books it. Nothing where it is not open. */
    close: (attemptId: string): Promise<void> =>
      inTurn(attemptId, async () => {
        await shut(attemptId)
        ledger.closeSession(attemptId, nowMs())
        rmSync(folderOf(attemptId), { recursive: true, force: true })
      }),

    /** Removes what is left of attempts that are over; those that are not may come again. */
    removeStale(): void {
      const live = new Set(ledger.openSessions().map(folderOf))
      for (const name of readdirSync(dir)) {
        const folder = join(dir, name)
        if (!live.has(folder)) rmSync(folder, { recursive: true, force: true })
      }
    },

    /** At the end of the process: the folders stay. */
    async stop(): Promise<void> {
      await Promise.all([...open.keys()].map((attemptId) => inTurn(attemptId, () => shut(attemptId))))
    },
  }
}

export type Sessions = ReturnType<typeof createSessions>

const scopesOf = ({ commandId, profile }: SessionSpec): Scope[] => [
  { scope: 'command', id: commandId },
  ...(profile === null ? [] : [{ scope: 'profile', id: profile } as const]),
]

function limitsOf({ commandId, profile, limits, profileLimits }: SessionSpec): Limit[] {
  const of = (scope: Scope, amounts: AmountLimits): Limit[] =>
    (Object.entries(amounts) as [Limit['unit'], number | undefined][]).flatMap(([unit, most]) =>
      most === undefined ? [] : [{ ...scope, unit, most }],
    )
  return [
    ...of({ scope: 'command', id: commandId }, limits),
    ...(profile === null ? [] : of({ scope: 'profile', id: profile }, profileLimits)),
  ]
}
