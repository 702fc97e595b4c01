/** Profiles, templates and engines in SQLite. The newest versions are kept in memory; nobody else writes the file. */
import { type DocumentKind, type Documents, type DocumentVersion, documentKey } from '../profiles/document.ts'
import type { DocumentStore } from './documents.ts'

type Row = Record<string, unknown>

export type DocumentStatements = {
  all: (name: string, parameters?: Row) => Row[]
  get: (name: string, parameters?: Row) => Row | undefined
  run: (name: string, parameters: Row) => number
  /** In a transaction that it shares with whatever else waits to be written. */
  write: <Result>(body: () => Result) => Promise<Result>
}

export function createSqliteDocuments({ all, get, run, write }: DocumentStatements) {
  let newest: Map<string, DocumentVersion> | null = null
  let changeCount = 0

  const known = (): Map<string, DocumentVersion> => {
    newest ??= new Map(all('document-newest').map((row) => [keyOf(row), documentOfRow(row)]))
    return newest
  }

  const store: DocumentStore = {
    changeCount: () => changeCount,

    async newest() {
      // A copy: what was read together stays together, whatever is written meanwhile.
      return new Map(known())
    },

    async version(kind, name, version) {
      const row = get('document-get', { kind, name, version })
      return row && documentOfRow(row)
    },

    change: (decide) =>
      write(() => {
        const { answer, added } = decide(known() as Documents)
        if (added.length > 0) changeCount += 1
        for (const document of added) {
          run('document-insert', rowOfDocument(document))
          known().set(documentKey(document.kind, document.name), document)
        }
        return answer
      }),
  }

  return {
    store,
    /** After a write that was undone. */
    forget(): void {
      newest = null
      changeCount += 1
    },
  }
}

const keyOf = (row: Row): string => documentKey(row.kind as DocumentKind, row.name as string)

const rowOfDocument = (document: DocumentVersion): Row => ({
  ...document,
  content: document.content === null ? null : JSON.stringify(document.content),
})

const documentOfRow = (row: Row): DocumentVersion =>
  ({
    kind: row.kind,
    name: row.name,
    version: row.version,
    content: row.content === null ? null : JSON.parse(row.content as string),
    origin: row.origin,
    seedSha256: row.seed_sha256,
    createdAtMs: row.created_at_ms,
  }) as DocumentVersion
