/**
 * The server of the HTTP tests, asked without a socket so that the time goes into states. Its files lie in memory where
 * the machine has such a place: what a power cut would leave of them is not the question here.
 */
import assert from 'node:assert/strict'
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { API_ERRORS, type ApiErrorBody, type ApiErrorCode } from '@agent-executor/protocol'
import type { Test } from 'tap'
import { openSqliteStore } from '../../src/store/sqlite-store.ts'
import { startServer } from '../http/harness.ts'
import { policy } from '../lifecycle/builders.ts'

export type World = Awaited<ReturnType<typeof createWorld>>
export type Answer = { status: number; text: string; body: unknown; replayed: boolean }
type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

const folderInMemory = (): string => {
  try {
    accessSync('/dev/shm', constants.W_OK)
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}

export async function createWorld(t: Test) {
  const folder = mkdtempSync(join(folderInMemory(), 'api-model-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const standIn = {
    testdir: () => folder,
    teardown: (close: () => Promise<void>) => t.teardown(close),
    error: (error: unknown) => {
      throw error
    },
  }
  const server = await startServer(standIn as unknown as Test)
  const { app, clock, store } = server
  let runs = 0

  /** The routes keep the store that they were given, and its parts: their methods become those of the new one. */
  const open = (): void => {
    const opened = openSqliteStore({
      file: join(folder, `${runs}.db`),
      policy,
      nowMs: clock.nowMs,
      newEpoch: `epoch-number-${runs}`,
      onFatal: (error) => {
        throw error
      },
    })
    const { files, documents, logs, ...rest } = opened
    Object.assign(store.files, files)
    Object.assign(store.documents, documents)
    Object.assign(store.logs, logs)
    Object.assign(store, rest)
  }

  return {
    clock,
    sweep: server.sweep,

    /** An empty database, at the start of a second. */
    async begin(): Promise<void> {
      await store.close()
      for (const suffix of ['', '-wal', '-shm', '.lock']) rmSync(join(folder, `${runs}.db${suffix}`), { force: true })
      runs += 1
      clock.nowMs = Math.ceil(clock.nowMs / 1000) * 1000
      open()
    },

    /** As a restart of the server: the same file, every lease anew. */
    async reopen(): Promise<void> {
      await store.close()
      open()
      await store.rebaseLeases(clock.nowMs)
    },

    /** One request. Whatever the answer, it is none that a fault of the server would give. */
    async call(method: Method, path: string, body?: object, headers: Record<string, string> = {}): Promise<Answer> {
      const response = await app.inject({
        method,
        url: path,
        headers,
        ...(body === undefined ? {} : { payload: body }),
      })
      const text = response.body
      const answer: Answer = {
        status: response.statusCode,
        text,
        body: text === '' ? null : JSON.parse(text),
        replayed: response.headers['idempotent-replayed'] === 'true',
      }
      assert.ok(answer.status < 500, `${method} ${path} answered ${answer.status}: ${text}`)
      if (answer.status >= 400) {
        const { code, statusCode } = answer.body as ApiErrorBody
        assert.equal(statusCode, API_ERRORS[code as ApiErrorCode][0], `${method} ${path}: ${text}`)
        assert.equal(answer.status, statusCode)
      }
      return answer
    },
  }
}

export const refusedWith = (answer: Answer, code: ApiErrorCode, why: string): void =>
  assert.equal((answer.body as ApiErrorBody | null)?.code, code, `${why}: ${answer.status} ${answer.text}`)
