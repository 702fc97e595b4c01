/** What a process told others, and therefore must know after a power cut; and what its database knows. */
import type { SqliteDatabase } from '@agent-executor/runtime'

/** Of a command where the server has acknowledged its submission, otherwise of an attempt. */
export type Fact = { what: 'submitted' | 'granted' | 'accepted' | 'started' | 'finished'; id: string }

type Side = {
  file: string
  /** Relative to the repository. */
  migrations: string
  factsIn: (told: string) => Fact[]
  /** Answers whether the database knows it. */
  knows: (db: SqliteDatabase) => (fact: Fact) => boolean
}

type Items = { attemptId: string; phase?: string; outcome?: unknown }[]

const bodyOf = (message: string): unknown => {
  try {
    return JSON.parse(message.slice(message.indexOf('\r\n\r\n') + 4))
  } catch {
    return null
  }
}

const idsOf = (db: SqliteDatabase, query: string): Set<unknown> => new Set(db.prepare(query).pluck().all())

const server: Side = {
  file: 'commands.db',
  migrations: 'control-server/sql/sqlite/migrations',
  factsIn(told) {
    if (told.startsWith('HTTP/1.1 201 ')) {
      const { commandId } = bodyOf(told) as { commandId: string }
      return [{ what: 'submitted', id: commandId }]
    }
    const { grants, acks } = ((told.startsWith('HTTP/1.1 200 ') ? bodyOf(told) : null) ?? {}) as {
      grants?: string[]
      acks?: Items
    }
    return [
      ...(grants ?? []).map((id): Fact => ({ what: 'granted', id })),
      ...(acks ?? []).map(({ attemptId }): Fact => ({ what: 'finished', id: attemptId })),
    ]
  },
  knows(db) {
    const attempts = (where: string) => idsOf(db, `SELECT command_id || '.' || number FROM attempts WHERE ${where}`)
    const known = {
      submitted: idsOf(db, 'SELECT command_id FROM commands'),
      granted: attempts('granted_at_ms IS NOT NULL'),
      finished: attempts('outcome_sha256 IS NOT NULL'),
    }
    return ({ what, id }) => (known as Partial<Record<Fact['what'], Set<unknown>>>)[what]?.has(id) === true
  },
}

const agent: Side = {
  file: 'idempotency.db',
  migrations: 'agent/sql/sqlite/migrations',
  factsIn(told) {
    // The effect begins with the request to the outside.
    const [, commandId] = /^GET .*^idempotency-key: (\S+)\r$/ims.exec(told) ?? []
    const [, attempt] = /^x-attempt: (\d+)\r$/im.exec(told) ?? []
    if (commandId !== undefined) return [{ what: 'started', id: `${commandId}.${attempt}` }]
    const logged = told.split('\n').filter((line) => line.startsWith('{') && line.endsWith('"msg":"started"}'))
    if (logged.length > 0)
      return logged.map((line): Fact => {
        const begun = JSON.parse(line) as { commandId: string; attempt: number }
        return { what: 'started', id: `${begun.commandId}.${begun.attempt}` }
      })
    if (!/^POST \S+\/sync /.test(told)) return []
    const { held } = bodyOf(told) as { held: Items }
    return held.map(({ attemptId, phase, outcome }): Fact => {
      if (outcome !== undefined) return { what: 'finished', id: attemptId }
      return { what: phase === 'accepted' ? 'accepted' : 'started', id: attemptId }
    })
  },
  knows(db) {
    const entries = (where: string) => idsOf(db, `SELECT attempt_id FROM entries WHERE ${where}`)
    const known = {
      accepted: entries('true'),
      started: entries('started_at_ms IS NOT NULL'),
      finished: entries('outcome IS NOT NULL'),
    }
    return ({ what, id }) => (known as Partial<Record<Fact['what'], Set<unknown>>>)[what]?.has(id) === true
  },
}

export const SIDES = { server, agent } as const
export type SideName = keyof typeof SIDES
