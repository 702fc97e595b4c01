/** Files in SQLite, in the commits of everything else. */
import type { KeptArtifact, ListFacts } from '../lifecycle/files.ts'
import type { Blob, FileStore } from './files.ts'
import { type LogStatements, viewOf } from './sqlite-logs.ts'

type Row = Record<string, unknown>

export type SqliteFiles = {
  store: FileStore
  /** Within the transaction of whoever asks. */
  has: (sha256: string) => boolean
  use: (commandId: string, sha256: string) => void
}

export function createSqliteFiles(statements: LogStatements): SqliteFiles {
  const { all, get, run, write, command, attempt, agent, epoch } = statements
  const has = (sha256: string): boolean => get('blob-get', { sha256 }) !== undefined

  const kept = (commandId: string, number: number): KeptArtifact[] =>
    all('artifact-list', { commandId, attempt: number }).map((row) => ({
      name: row.name as string,
      bytes: row.bytes as number,
      sha256: row.sha256 as string,
      lost: row.lost === 1,
      stored: row.stored === 1,
    }))

  const factsOf = (commandId: string, number: number, agentId: string): ListFacts => {
    const known = attempt(commandId, number) ?? null
    return {
      epoch: epoch(),
      agent: agent(agentId),
      hasCommand: known !== null || command(commandId) !== undefined,
      attempt: known,
      kept: kept(commandId, number),
      has,
    }
  }

  const store: FileStore = {
    async blob(sha256) {
      const row = get('blob-get', { sha256 })
      return row && blobOfRow(row)
    },

    addBlob: ({ sha256, bytes }, keptUntilMs, nowMs) =>
      write(() => {
        run('blob-save', { sha256, bytes, lookAtMs: keptUntilMs, nowMs })
      }),

    async blobsDue(nowMs, limit) {
      return all('blob-due', { nowMs, limit }).map((row) => ({ sha256: row.sha256 as string, used: row.used === 1 }))
    },

    keepBlobs: (sha256s, nowMs) =>
      write(() => {
        for (const sha256 of sha256s) run('blob-used', { sha256, nowMs })
      }),

    dropBlob: (sha256, nowMs) => write(() => run('blob-drop', { sha256, nowMs }) > 0),

    async blobs(after, limit) {
      return all('blob-list', { after, limit }).map((row) => row.sha256 as string)
    },

    loseBlob: (sha256) =>
      write(() => {
        run('blob-gone', { sha256 })
        run('artifact-lost', { sha256 })
      }),

    async facts(commandId, number, agentId) {
      return factsOf(commandId, number, agentId)
    },

    change: (commandId, number, agentId, decide) =>
      write(() => {
        const decision = decide(factsOf(commandId, number, agentId))
        for (const { name, bytes, sha256, lost } of decision.save)
          run('artifact-save', { commandId, attempt: number, name, bytes, sha256, lost: Number(lost) })
        return decision
      }),

    async view(commandId, number) {
      const seen = viewOf(statements, commandId, number)
      return seen && { ...seen, artifacts: kept(commandId, seen.attempt?.number ?? 0) }
    },
  }

  return {
    store,
    has,
    use(commandId, sha256) {
      run('upload-use', { commandId, sha256 })
    },
  }
}

const blobOfRow = (row: Row): Blob => ({
  sha256: row.sha256 as string,
  bytes: row.bytes as number,
  lookAtMs: row.look_at_ms as number | null,
})
